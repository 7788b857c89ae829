import type { X509Certificate } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import type { CertificateChain } from './bundle.ts'
import { isLongEnough, readCertificateFacts, type CertificateFacts } from './certificate-facts.ts'

/** The moment at which certificates must be valid, in milliseconds since the epoch, or that at which the signer's own began to be. */
export type ValidityMoment = number | 'leaf-not-before'

/** The way from a signer's certificate, which comes first, to an authority, which comes last. */
export type CertificatePath = readonly [X509Certificate, ...(readonly X509Certificate[])]

/**
 * Finds a way from a signer's certificate to a trusted authority, through the certificates that came with it.
 * @param chain the signer's first.
 * @throws FMG_ERR_SIGNER_UNTRUSTED when there is none, or when the signer's certificate may not sign models, or not at that time.
 * @throws FMG_ERR_BUNDLE_INVALID for a malformed certificate.
 */
export function findPath ([leaf, ...intermediates]: CertificateChain, authorities: readonly X509Certificate[], when: ValidityMoment): CertificatePath {
  const facts = readCertificateFacts(leaf)
  const at = when === 'leaf-not-before' ? facts.notBefore : when
  requireSigning(facts, at)
  const above = climb({ certificate: leaf, facts, intermediates: 0 }, intermediates, authorities, at)
  if (above === undefined) throw untrusted('its certificate leads up to no configured authority', 'certificate-chain')
  return [leaf, ...above]
}

/**
 * Demands that a chain is one that could be believed, but for who is trusted: the signer's certificate is for signing, and each is issued
 * by the next.
 * @throws FMG_ERR_SIGNER_UNTRUSTED
 */
export function requireChain (chain: CertificateChain, at: number): void {
  requireSigning(readCertificateFacts(chain[0]), at)
  for (const [index, issuer] of chain.slice(1).entries()) {
    const certificate = chain[index]
    if (certificate === undefined || !isIssuer(issuer, { certificate, facts: readCertificateFacts(certificate), intermediates: index }, at)) {
      throw untrusted(`certificate ${index + 1} of the chain did not issue the one before it`, 'certificate-chain')
    }
  }
}

function requireSigning (facts: CertificateFacts, at: number): void {
  if (!facts.isUnderstood) throw untrusted('its certificate has a critical extension that is not understood', 'certificate-extension')
  if (!facts.maySignModels) throw untrusted('its certificate is not for signing', 'certificate-usage')
  if (at < facts.notBefore || at > facts.notAfter) throw untrusted('its certificate is not valid at this time', 'certificate-validity')
}

interface Step {
  readonly certificate: X509Certificate
  readonly facts: CertificateFacts
  /** Authorities between this certificate and the signer's, this one included. */
  readonly intermediates: number
}

function climb (from: Step, unused: readonly X509Certificate[], authorities: readonly X509Certificate[], at: number): readonly X509Certificate[] | undefined {
  const trusted = authorities.find((authority) => isIssuer(authority, from, at))
  if (trusted !== undefined) return [trusted]
  for (const issuer of unused.filter((candidate) => isIssuer(candidate, from, at))) {
    const others = unused.filter((candidate) => candidate !== issuer)
    const above = climb({ certificate: issuer, facts: readCertificateFacts(issuer), intermediates: from.intermediates + 1 }, others, authorities, at)
    if (above !== undefined) return [issuer, ...above]
  }
  return undefined
}

function isIssuer (issuer: X509Certificate, { certificate, facts: { isSoundlySigned }, intermediates }: Step, at: number): boolean {
  if (!certificate.checkIssued(issuer) || !isSoundlySigned || !isLongEnough(issuer.publicKey) || !certificate.verify(issuer.publicKey)) return false
  const facts = readCertificateFacts(issuer)
  return facts.isAuthority && facts.mayIssueSigners && facts.isUnderstood && facts.maxIntermediates >= intermediates && at >= facts.notBefore && at <= facts.notAfter
}

function untrusted (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail, reason })
}
