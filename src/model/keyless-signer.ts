import type { X509Certificate } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import { readCertificateFacts } from './certificate-facts.ts'
import type { IdentifiedSigner } from './key-signer.ts'
import { parseJson } from './read-part.ts'
import { refuseRevokedCertificates, refuseRevokedIdentity } from './revoked-signers.ts'
import type { Trust } from './trust.ts'

/** A keyless bundle as it was parsed, with its certificate. */
export interface KeylessMaterial {
  readonly certificate: X509Certificate
  /** The whole bundle. */
  readonly json: unknown
}

/**
 * Checks a signature that was made under a certificate of the minute: that an authority and a certificate log of the trusted root vouch for
 * the certificate, that a transparency log of it took the signature while the certificate was valid, and that the certificate is of a trusted
 * identity, by its issuer. Asks no network.
 * @throws FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED
 * @throws FMG_ERR_OPTION_INVALID when the packages for it are not installed, or for a trusted root that is none.
 */
export async function identifyKeyless ({ certificate, json }: KeylessMaterial, { identities = [], revoked = {} }: Trust): Promise<IdentifiedSigner> {
  const [name, ...others] = readCertificateFacts(certificate).names
  const named = identities.filter(({ identity }) => others.length === 0 && (name === `email:${identity}` || name === `URI:${identity}`))
  if (named.length === 0) throw unknownIdentity()
  const outcomes = await Promise.all(named.map(async ({ trustedRoot }) => await judge(json, trustedRoot)))
  const trusted = named.filter(({ issuer }, index) => outcomes[index]?.issuer === issuer)
  const [first] = trusted
  if (first === undefined) {
    if (outcomes.some(({ isVerified }) => isVerified)) throw unknownIdentity()
    throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: 'it is vouched for by no trusted root', reason: 'keyless', cause: outcomes.map(({ cause }) => cause) })
  }
  const { identity, issuer } = first
  refuseRevokedIdentity(identity, issuer, revoked)
  refuseRevokedCertificates([certificate], revoked)
  return { signer: { method: 'keyless', identity, issuer }, mayClaim: trusted.map(({ mayClaim }) => mayClaim) }
}

interface Outcome {
  readonly isVerified: boolean
  /** Who vouched for the identity, by the word of the root's authority. */
  readonly issuer?: string | undefined
  readonly cause?: unknown
}

/** Has a root vouch for a bundle, or not. */
async function judge (json: unknown, trustedRoot: Uint8Array): Promise<Outcome> {
  const { bundleFromJSON, TrustedRoot, toSignedEntity, toTrustMaterial, Verifier } = await loadSigstore()
  const material = readRoot(() => toTrustMaterial(TrustedRoot.fromJSON(parseJson(trustedRoot, 'trustedRoot'))))
  try {
    // It demands one log entry, one certificate timestamp and one time. Identity and issuer are not left to its policy, which takes the one for a
    // pattern and skips what is empty.
    const { identity } = new Verifier(material).verify(toSignedEntity(bundleFromJSON(json)))
    return { isVerified: true, issuer: identity?.extensions?.issuer }
  } catch (cause) {
    return { isVerified: false, cause }
  }
}

function readRoot<T> (read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'trustedRoot is not the content of a trusted_root.json', cause })
  }
}

async function loadSigstore () {
  try {
    const [{ bundleFromJSON }, { TrustedRoot }, { toSignedEntity, toTrustMaterial, Verifier }] =
      await Promise.all([import('@sigstore/bundle'), import('@sigstore/protobuf-specs'), import('@sigstore/verify')])
    return { bundleFromJSON, TrustedRoot, toSignedEntity, toTrustMaterial, Verifier }
  } catch (cause) {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'keyless signatures need packages of Sigstore: npm install @sigstore/verify @sigstore/bundle @sigstore/protobuf-specs', cause })
  }
}

function unknownIdentity (): GuardError {
  return guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: 'it is signed keyless, by nobody among the trusted identities', reason: 'unknown-identity' })
}
