import { KeyObject, X509Certificate } from 'node:crypto'
import { guardError } from '../errors.ts'
import { optionInvalid } from '../options.ts'
import { signatureHash, verifySignature } from '../secrets/signer.ts'
import { encodeForSigning, keyHint, readBundle, type CertificateChain, type SignedBundle } from './bundle.ts'
import type { SignerClaims } from './signer-claims.ts'
import { readStatement, type Statement } from './statement.ts'

/** Who may sign models. With neither keys nor authorities, nobody. */
export interface Trust {
  /** Public keys: Ed25519, P-256, P-384, P-521. One alone may say anything of a model. */
  readonly keys: readonly (KeyObject | TrustedKey)[]
  /** Certificates of authorities whose certificates for signing may sign. */
  readonly authorities: readonly (X509Certificate | TrustedAuthority)[]
  /**
   * When certificates must be valid: `now` (the default), or at the beginning of the signer's own validity, which accepts what was
   * signed under a certificate that has run out since, and can not tell what was signed after it did.
   */
  readonly judgeValidityAt?: 'now' | 'leaf-not-before'
  /** Milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: () => number
}

/** A key that may say no more than this of a model. */
export interface TrustedKey {
  readonly key: KeyObject
  readonly mayClaim: SignerClaims
}

/** An authority whose signers may say no more than this of a model. */
export interface TrustedAuthority {
  readonly certificate: X509Certificate
  readonly mayClaim: SignerClaims
}

/** Who signed, once the signature and the trust in it were checked. */
export type ModelSigner =
  { readonly method: 'key', readonly hint: string } |
  {
    readonly method: 'certificate'
    /** SHA-256 of the certificate, as OpenSSL writes it. */
    readonly fingerprint: string
    /** For people to read: compare fingerprints, not names. */
    readonly subject: string
    /** SHA-256 of the trusted authority's certificate. */
    readonly authority: string
  }

/** A statement that somebody trusted has signed. */
export interface VerifiedStatement {
  readonly statement: Statement
  readonly signer: ModelSigner
  /** To be held against `model.json`, once that is read. */
  readonly mayClaim: SignerClaims
}

/**
 * Reads a signature file, checks the signature and that its signer is trusted, and only then reads what was signed.
 * Says nothing about any file of the model.
 * @throws FMG_ERR_BUNDLE_INVALID when it is malformed, or keyless (which is not verified here).
 * @throws FMG_ERR_SIGNATURE_INVALID when the signature is not by the key or certificate it names.
 * @throws FMG_ERR_SIGNER_UNTRUSTED when that key or certificate is not among the trusted.
 * @throws FMG_ERR_OPTION_INVALID when a trusted key is not public, or of a kind that signs nothing here.
 */
export async function verifyStatement (bytes: Uint8Array, trust: Trust, path: string): Promise<VerifiedStatement> {
  for (const trusted of trust.keys) requireKey(keyOf(trusted))
  const bundle = readBundle(bytes, path)
  const { signer, mayClaim } = await identifySigner(bundle, trust)
  return { statement: readStatement(bundle.payload, path), signer, mayClaim }
}

type Identified = Omit<VerifiedStatement, 'statement'>

const anything: SignerClaims = Object.freeze({})

function keyOf (trusted: KeyObject | TrustedKey): KeyObject {
  return trusted instanceof KeyObject ? trusted : trusted.key
}

function requireKey (key: KeyObject): void {
  if (key.type !== 'public' || signatureHash(key) === undefined) throw optionInvalid('trust.keys', 'public keys of Ed25519, P-256, P-384 or P-521', key)
}

async function identifySigner (bundle: SignedBundle, trust: Trust): Promise<Identified> {
  const { material } = bundle
  if (material.method === 'key') return byKey(bundle, material.hint, trust)
  if (material.method === 'certificate') return await byCertificate(bundle, material.chain, trust)
  throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: 'it is signed keyless, which is not verified here: sign with a key or a certificate', reason: 'keyless' })
}

function byKey (bundle: SignedBundle, hint: string, trust: Trust): Identified {
  const signed = encodeForSigning(bundle.payload)
  const named = trust.keys.find((trusted) => keyHint(keyOf(trusted)) === hint)
  // A hint is free text to other tools: any trusted key that fits will do.
  const candidates = named === undefined ? trust.keys : [named]
  const signedBy = candidates.find((trusted) => verifySignature(keyOf(trusted), signed, bundle.signature))
  if (signedBy !== undefined) return { signer: { method: 'key', hint: keyHint(keyOf(signedBy)) }, mayClaim: signedBy instanceof KeyObject ? anything : signedBy.mayClaim }
  if (named === undefined) throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: 'its key is not among the trusted', reason: 'unknown-key' })
  throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: 'it was not made by the key it names', reason: 'signature' })
}

async function byCertificate (bundle: SignedBundle, chain: CertificateChain, trust: Trust): Promise<Identified> {
  const [leaf] = chain
  if (!verifySignature(leaf.publicKey, encodeForSigning(bundle.payload), bundle.signature)) {
    throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: 'it was not made by the certificate it names', reason: 'signature' })
  }
  const { judgeValidityAt = 'now', clock = Date.now } = trust
  // Reading certificates takes a tenth of a second to load: not for those who sign with keys.
  const { findAuthority } = await import('./certificate-chain.ts')
  const limited = new Map(trust.authorities.flatMap((trusted) => trusted instanceof X509Certificate ? [] : [[trusted.certificate, trusted.mayClaim]]))
  const certificates = trust.authorities.map((trusted) => trusted instanceof X509Certificate ? trusted : trusted.certificate)
  const authority = findAuthority(chain, certificates, judgeValidityAt === 'now' ? clock() : judgeValidityAt)
  return {
    signer: { method: 'certificate', fingerprint: leaf.fingerprint256, subject: leaf.subject, authority: authority.fingerprint256 },
    mayClaim: limited.get(authority) ?? anything
  }
}
