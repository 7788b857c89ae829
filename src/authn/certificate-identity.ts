import { anyThat, object, oneOf, optional, optionInvalid, string, withDefault, type Reader } from '../options.ts'
import type { CertificateFacts } from './client-certificate.ts'
import { parseSpiffeId } from './spiffe-id.ts'

interface CertificatePrincipal {
  /** The principal's: stays the same when the certificate is renewed. */
  readonly id: string
  /** Default `service`. */
  readonly type?: 'user' | 'service'
  readonly org?: string
  readonly team?: string
  /** Default `standard`. */
  readonly tier?: string
  readonly attributes?: Readonly<Record<string, unknown>>
}

interface BySpiffeId {
  /** Whole: `spiffe://trust.domain/path`. */
  readonly spiffeId: string
}

interface ByDnsName {
  /** Whole, without wildcards. */
  readonly dnsName: string
}

interface ByFingerprint {
  /** SHA-256 of the certificate's DER in hexadecimal, colons allowed: one certificate and none that renews it. */
  readonly fingerprint: string
}

/** Which certificates are this principal's: by one name that certificates are compared by, never by a subject or another text for the eye. */
export type CertificateIdentity = CertificatePrincipal & (BySpiffeId | ByDnsName | ByFingerprint)

/** Who a certificate is, roles apart: those are the policy's to assign. */
export interface CertificateHolder extends CertificatePrincipal {
  readonly type: 'user' | 'service'
  readonly tier: string
  readonly attributes: Readonly<Record<string, unknown>>
}

const attributes: Reader<Readonly<Record<string, unknown>>> =
  anyThat((value): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value), 'an object')

/** Reads one; which of the three names it goes by is for `identityTable` to see. */
export const readIdentity = object({
  spiffeId: optional(anyThat((value): value is string => typeof value === 'string' && (parseSpiffeId(value)?.path ?? '') !== '', 'a SPIFFE ID with a path')),
  dnsName: optional(string(/^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/, 'a DNS name without wildcards')),
  fingerprint: optional(string(/^[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}$/, 'a SHA-256 fingerprint in hexadecimal')),
  id: string(),
  type: withDefault(oneOf('user', 'service'), 'service'),
  org: optional(string()),
  team: optional(string()),
  tier: withDefault(string(), 'standard'),
  attributes: withDefault(attributes, {})
})

/** Finds the holders that a certificate's names belong to: none, one, or, where names of several stand in it, all. */
export type IdentityTable = (facts: CertificateFacts, spiffeId: string | null) => ReadonlySet<CertificateHolder>

/**
 * Indexes identities by name.
 * @throws FMG_ERR_OPTION_INVALID for one without exactly one name, and for a name that stands twice.
 */
export function identityTable (identities: ReadonlyArray<ReturnType<typeof readIdentity>>, path: string): IdentityTable {
  const spiffeIds = new Map<string, CertificateHolder>()
  const dnsNames = new Map<string, CertificateHolder>()
  const fingerprints = new Map<string, CertificateHolder>()
  for (const [index, { spiffeId, dnsName, fingerprint, ...holder }] of identities.entries()) {
    const given = [
      { map: spiffeIds, name: spiffeId },
      { map: dnsNames, name: dnsName?.toLowerCase() },
      { map: fingerprints, name: fingerprint?.replaceAll(':', '').toLowerCase() }
    ].flatMap(({ map, name }) => name === undefined ? [] : { map, name })
    const [only, ...others] = given
    if (only === undefined || others.length > 0) throw optionInvalid(`${path}[${index}]`, 'an object with exactly one of spiffeId, dnsName, fingerprint', {})
    if (only.map.has(only.name)) throw optionInvalid(`${path}[${index}]`, 'of a name that no identity before it has', {})
    // Copied, for a principal is frozen with all that is in it, and these are the caller's.
    only.map.set(only.name, { ...holder, attributes: structuredClone(holder.attributes) })
  }
  return (facts, spiffeId) => new Set([
    fingerprints.get(facts.fingerprint), spiffeId === null ? undefined : spiffeIds.get(spiffeId), ...facts.dnsNames.map((name) => dnsNames.get(name))
  ].flatMap((holder) => holder ?? []))
}
