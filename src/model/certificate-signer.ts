import { X509Certificate } from 'node:crypto'
import { guardError } from '../errors.ts'
import { verifySignature } from '../secrets/signer.ts'
import { encodeForSigning, type CertificateChain, type SignedBundle } from './bundle.ts'
import { findPath } from './certificate-chain.ts'
import { readCertificateFacts } from './certificate-facts.ts'
import type { IdentifiedSigner } from './key-signer.ts'
import { matchesText } from './matches-text.ts'
import { refuseRevokedCertificates } from './revoked-signers.ts'
import type { SignerConstraints, Trust, TrustedAuthority } from './trust.ts'

/**
 * Checks a signature that was made under a certificate.
 * @throws FMG_ERR_BUNDLE_INVALID for a malformed certificate.
 * @throws FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED
 */
export function identifyCertificate (bundle: SignedBundle, chain: CertificateChain, trust: Trust): IdentifiedSigner {
  const { authorities, revoked = {}, judgeValidityAt = 'now', clock = Date.now } = trust
  const [leaf] = chain
  if (!verifySignature(leaf.publicKey, encodeForSigning(bundle.payload), bundle.signature)) {
    throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: 'it was not made by the certificate it names', reason: 'signature' })
  }
  const entries = authorities.map(entryOf)
  const path = findPath(chain, entries.map(({ certificate }) => certificate), judgeValidityAt === 'now' ? clock() : judgeValidityAt)
  refuseRevokedCertificates(path, revoked)
  const fingerprint = path.at(-1)?.fingerprint256
  const meant = entries.filter((entry) => entry.certificate.fingerprint256 === fingerprint && isMeant(leaf, entry))
  if (meant.length === 0) throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: 'its certificate is of nobody who may sign', reason: 'certificate-subject' })
  return {
    signer: { method: 'certificate', fingerprint: leaf.fingerprint256, subject: leaf.subject, authority: String(fingerprint) },
    mayClaim: meant.map(({ mayClaim }) => mayClaim)
  }
}

function entryOf (trusted: X509Certificate | TrustedAuthority): TrustedAuthority {
  return trusted instanceof X509Certificate ? { certificate: trusted, mayClaim: {} } : trusted
}

function isMeant (leaf: X509Certificate, { subject = {}, names }: SignerConstraints): boolean {
  const facts = readCertificateFacts(leaf)
  const hasAttribute = ([name, wanted]: [string, string]): boolean => {
    const [only, ...others] = facts.subject.filter((attribute) => attribute.name === name)
    // Of two values, which one counts would depend on the reader.
    return only !== undefined && others.length === 0 && matchesText(wanted, only.value)
  }
  return Object.entries(subject).every(hasAttribute) && (names === undefined || facts.names.some((name) => names.some((wanted) => matchesText(wanted, name))))
}
