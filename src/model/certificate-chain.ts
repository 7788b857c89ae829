import type { X509Certificate } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import type { CertificateChain } from './bundle.ts'
import { readCertificateFacts } from './certificate-facts.ts'

/**
 * Finds the trusted authority that a signer's certificate leads up to, through the certificates that came with it.
 * @param chain the signer's first.
 * @param when the moment, in milliseconds since the epoch, at which every certificate on the way must be valid.
 * @throws FMG_ERR_SIGNER_UNTRUSTED when there is none, or when the signer's certificate may not sign models, or not at that time.
 * @throws FMG_ERR_BUNDLE_INVALID for a malformed certificate.
 */
export function findAuthority ([leaf, ...intermediates]: CertificateChain, authorities: readonly X509Certificate[], when: number | 'leaf-not-before'): X509Certificate {
  const facts = readCertificateFacts(leaf)
  const at = when === 'leaf-not-before' ? facts.notBefore : when
  if (!facts.isUnderstood) throw untrusted('its certificate has a critical extension that is not understood', 'certificate-extension')
  if (!facts.maySignModels) throw untrusted('its certificate is not for signing', 'certificate-usage')
  if (at < facts.notBefore || at > facts.notAfter) throw untrusted('its certificate is not valid at this time', 'certificate-validity')
  const authority = climb({ certificate: leaf, intermediates: 0 }, intermediates, authorities, at)
  if (authority === undefined) throw untrusted('its certificate leads up to no configured authority', 'certificate-chain')
  return authority
}

interface Step {
  readonly certificate: X509Certificate
  /** Authorities between this certificate and the signer's, this one included. */
  readonly intermediates: number
}

function climb (from: Step, unused: readonly X509Certificate[], authorities: readonly X509Certificate[], at: number): X509Certificate | undefined {
  const trusted = authorities.find((authority) => isIssuer(authority, from, at))
  if (trusted !== undefined) return trusted
  for (const issuer of unused.filter((candidate) => isIssuer(candidate, from, at))) {
    const others = unused.filter((candidate) => candidate !== issuer)
    const found = climb({ certificate: issuer, intermediates: from.intermediates + 1 }, others, authorities, at)
    if (found !== undefined) return found
  }
  return undefined
}

function isIssuer (issuer: X509Certificate, { certificate, intermediates }: Step, at: number): boolean {
  if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) return false
  const facts = readCertificateFacts(issuer)
  return facts.isAuthority && facts.isUnderstood && facts.maxIntermediates >= intermediates && at >= facts.notBefore && at <= facts.notAfter
}

function untrusted (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail, reason })
}
