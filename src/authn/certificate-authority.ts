import { anyThat, havingMethods, listOf, object, optional, optionInvalid, withDefault, type Reader } from '../options.ts'
import { readAuthorityCertificate, type AuthorityCertificate } from './authority-certificate.ts'
import { identityTable, readIdentity, type CertificateIdentity, type IdentityTable } from './certificate-identity.ts'
import type { CertificateFacts } from './client-certificate.ts'
import type { RevocationList } from './revocation-list.ts'
import { isTrustDomain, parseSpiffeId } from './spiffe-id.ts'

/** An authority that issues clients' certificates, with all that its certificates may say. */
export interface CertificateAuthorityOptions {
  /** The one that issues them directly: of a hierarchy the lowest, not the root. */
  readonly certificate: AuthorityCertificate
  /**
   * The SPIFFE trust domain of this authority. Each of its workloads is then a principal, whose id is its SPIFFE ID where `identities` does
   * not give another. Left out, SPIFFE IDs in its certificates mean nothing.
   */
  readonly trustDomain?: string
  /** Names in this authority's certificates, and whose they are. Another authority's certificate with the same name is nobody's. */
  readonly identities?: readonly CertificateIdentity[]
  /** Certificates that it has taken back. Left out, each is good until it expires. */
  readonly revocationList?: RevocationList
}

/** An authority as read, with what its own certificate says. */
export interface CertificateAuthority {
  readonly facts: CertificateFacts
  readonly trustDomain: string | undefined
  readonly holdersOf: IdentityTable
  readonly revocationList: RevocationList | undefined
}

const readShape = object({
  certificate: readAuthorityCertificate,
  trustDomain: optional(anyThat((value): value is string => typeof value === 'string' && isTrustDomain(value), 'the name of a SPIFFE trust domain')),
  identities: withDefault(listOf(readIdentity), []),
  revocationList: optional(havingMethods<RevocationList>('isRevoked'))
})

/** Reads an authority; a name that it could never give, and another authority's revocation list, stop the boot. */
export const readAuthority: Reader<CertificateAuthority> = (value, path) => {
  const { certificate: facts, trustDomain, identities, revocationList } = readShape(value, path)
  for (const [index, { spiffeId }] of identities.entries()) {
    const domain = spiffeId === undefined ? undefined : parseSpiffeId(spiffeId)?.trustDomain
    if (domain !== undefined && domain !== trustDomain) throw optionInvalid(`${path}.identities[${index}].spiffeId`, 'of this authority\'s trustDomain', spiffeId)
  }
  if (revocationList !== undefined && revocationList.authority !== facts.fingerprint) throw optionInvalid(`${path}.revocationList`, 'of this authority', revocationList)
  return Object.freeze({ facts, trustDomain, holdersOf: identityTable(identities, `${path}.identities`), revocationList })
}
