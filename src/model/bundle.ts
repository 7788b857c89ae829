import { createHash, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import { anyThat, listOf, object, optional, optionInvalid, string, type Read, type Reader } from '../options.ts'
import { base64, openObject, parseJson, readPart } from './read-part.ts'

/** The signer's certificate, and those that may lead from it to an authority. */
export type CertificateChain = readonly [X509Certificate, ...(readonly X509Certificate[])]

/** How the signer says who signed: a hint to a key, a certificate chain (leaf first), or a keyless certificate. */
export type VerificationMaterial =
  { readonly method: 'key', readonly hint: string } |
  { readonly method: 'certificate', readonly chain: CertificateChain } |
  { readonly method: 'keyless', readonly certificate: X509Certificate, readonly json: unknown }

/** A signature file that was read and believed in nothing yet. */
export interface SignedBundle {
  readonly material: VerificationMaterial
  /** The bytes that were signed for, once `encodeForSigning` has been over them. */
  readonly payload: Buffer
  readonly signature: Buffer
}

/** The type of every payload: an in-toto statement. */
export const payloadType = 'application/vnd.in-toto+json'

/** The media type of the bundles written here. */
export const bundleMediaType = 'application/vnd.dev.sigstore.bundle.v0.3+json'

/** The most certificates that are read of a chain. */
export const maxChain = 6

const mediaType = string(/^application\/vnd\.dev\.sigstore\.bundle(\.v0\.3\+json|\+json;version=0\.[123])$/, 'a Sigstore bundle of version 0.1 to 0.3')
const certificate = openObject({ rawBytes: readCertificate })
const anything = anyThat((value): value is unknown => value !== undefined, 'present')

const readMaterial = object({
  publicKey: optional(openObject({ hint: optional(string()), rawBytes: optional(base64) })),
  x509CertificateChain: optional(openObject({ certificates: readChain })),
  certificate: optional(certificate),
  tlogEntries: optional(listOf(anything)),
  timestampVerificationData: optional(anything)
})

const keyId: Reader<string | null> = (value, path) => {
  if (value !== null && typeof value !== 'string') throw optionInvalid(path, 'a string or null', value)
  return value
}

const readEnvelope = object({
  payload: base64,
  payloadType: string(),
  signatures: listOf(object({ sig: base64, keyid: optional(keyId) }))
})

const readEnvelopeOf = object({ mediaType, verificationMaterial: readMaterial, dsseEnvelope: readEnvelope })

/**
 * Reads a Sigstore bundle around a DSSE envelope (OpenSSF Model Signing v1.0 section 4). Nothing in it is verified by this.
 * @throws FMG_ERR_BUNDLE_INVALID when it is malformed, of another payload type, holds no or several signatures, or several kinds of verification material.
 */
export function readBundle (bytes: Uint8Array, path: string): SignedBundle {
  const json = parseJson(bytes, path)
  const { verificationMaterial, dsseEnvelope } = readPart(readEnvelopeOf, json, path)
  // Signed for as something else: another reader of the same key's signatures must not be made use of.
  if (dsseEnvelope.payloadType !== payloadType) throw invalid(`${path} is not of the type ${payloadType}`, 'payload-type')
  const [signature, ...others] = dsseEnvelope.signatures
  // With two signatures, who signed would depend on which one a reader looks at.
  if (signature === undefined || others.length > 0) throw invalid(`${path} must hold exactly one signature`, 'signature-count')
  return { material: materialOf(verificationMaterial, json, path), payload: dsseEnvelope.payload, signature: signature.sig }
}

function materialOf (material: Read<typeof readMaterial>, json: unknown, path: string): VerificationMaterial {
  const { publicKey, x509CertificateChain: chain, certificate: keyless } = material
  const kinds = [publicKey, chain, keyless].filter((kind) => kind !== undefined)
  if (kinds.length !== 1) throw invalid(`${path} must hold one kind of verification material`, 'verification-material')
  if (publicKey !== undefined) return { method: 'key', hint: publicKey.hint ?? hintOf(publicKey.rawBytes, path) }
  if (chain !== undefined) {
    const [leaf, ...others] = chain.certificates.map(({ rawBytes }) => rawBytes)
    if (leaf === undefined) throw invalid(`${path} holds an empty certificate chain`, 'verification-material')
    return { method: 'certificate', chain: [leaf, ...others] }
  }
  return keylessOf(material, json, path)
}

function keylessOf ({ certificate, tlogEntries = [] }: Read<typeof readMaterial>, json: unknown, path: string): VerificationMaterial {
  if (certificate === undefined || tlogEntries.length === 0) throw invalid(`${path} holds a keyless certificate without a log entry`, 'verification-material')
  return { method: 'keyless', certificate: certificate.rawBytes, json }
}

// Older bundles carry the key itself. It serves as a hint only: a signature that brings its own key proves nothing.
function hintOf (rawBytes: Buffer | undefined, path: string): string {
  try {
    return keyHint(createPublicKey(rawBytes ?? ''))
  } catch (cause) {
    throw invalid(`${path} names no public key`, 'verification-material', cause)
  }
}

/** What names a public key: SHA-256 over its SubjectPublicKeyInfo in PEM, in hexadecimal, as the reference tool counts it. */
export function keyHint (publicKey: KeyObject): string {
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'pem' })).digest('hex')
}

/** DSSE v1 pre-authentication encoding: what is signed in the payload's place. */
export function encodeForSigning (payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `), payload])
}

// Counted before they are parsed; and certificates that all issue one another could be tried in every order there is.
function readChain (value: unknown, path: string): readonly Read<typeof certificate>[] {
  if (Array.isArray(value) && value.length > maxChain) throw optionInvalid(path, `a list of at most ${maxChain}`, value)
  return listOf(certificate)(value, path)
}

function readCertificate (value: unknown, path: string): X509Certificate {
  const der = base64(value, path)
  try {
    const parsed = new X509Certificate(der)
    // A key of an unknown kind is found only when it is asked for.
    keyHint(parsed.publicKey)
    return parsed
  } catch {
    throw optionInvalid(path, 'a certificate in DER', value)
  }
}

function invalid (detail: string, reason: string, cause?: unknown): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail, reason, cause })
}
