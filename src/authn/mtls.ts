import { hash } from 'node:crypto'
import { canonicalJson } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { functionOf, listOf, object, optionInvalid, withDefault } from '../options.ts'
import { freezePrincipal, type Principal } from '../principal.ts'
import type { Authenticator } from './authenticator.ts'
import { readAuthority, type CertificateAuthority, type CertificateAuthorityOptions } from './certificate-authority.ts'
import type { CertificateHolder } from './certificate-identity.ts'
import { readCertificate, type CertificateFacts } from './client-certificate.ts'
import { credentialCache } from './credential-cache.ts'
import { expiryWatch, warnOfExpiry, type Expiring } from './expiry-watch.ts'
import type { PresentedCredential } from './presented-credential.ts'
import type { ClientCertificate, RequestFacts } from './request-facts.ts'
import { parseSpiffeId } from './spiffe-id.ts'

export interface MtlsOptions {
  /** At least one, each with a key of its own. */
  readonly authorities: readonly CertificateAuthorityOptions[]
  /** Told once of each certificate and revocation list that nears its end. Default: a process warning. */
  readonly onExpiring?: (expiring: Expiring) => void
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

interface Verified {
  readonly facts: CertificateFacts
  readonly authority: CertificateAuthority
  readonly principal: Principal
}

const maxRemembered = 10_000

const readOptions = object({
  authorities: listOf(readAuthority),
  onExpiring: withDefault(functionOf<(expiring: Expiring) => void>(), warnOfExpiry),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

/**
 * Certificates of clients, of the connection or from a trusted proxy. That the client holds the key is for the TLS layer to have seen; that
 * one of these authorities issued the certificate is verified here again, so that no name counts but from the authority that may give it,
 * whatever else the server or its proxy trusts, and on resumed sessions, where nothing but the certificate is left.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function mtls (options: MtlsOptions): Authenticator {
  const { authorities, onExpiring, clock } = readOptions(options, 'mtls')
  refuseAmbiguous(authorities)
  const watchExpiry = expiryWatch(onExpiring)
  // By the object: the same for as long as a connection lives.
  const verified = new WeakMap<ClientCertificate, Verified>()
  // By the digest of the whole certificate, for connections to come: to read one and verify its signature takes about a millisecond.
  const remembered = credentialCache<Verified>(maxRemembered)
  const states = new WeakMap<Principal, string>()
  const mine = new WeakSet<Principal>()

  /** A digest of who this server says that the certificate's holder is. */
  function stateOf (principal: Principal): string {
    const { id, type, org, team, tier, attributes } = principal
    const state = states.get(principal) ?? hash('sha256', canonicalJson({ id, type, org, team, tier, attributes }), 'base64url')
    states.set(principal, state)
    return state
  }

  return {
    isMine: ({ scheme }) => scheme === 'certificate',
    recall (presented, facts) {
      const certificate = certificateOf(presented, facts)
      const known = certificate === null ? undefined : verified.get(certificate)
      return known !== undefined && problemAt(known, clock()) === null ? known.principal : null
    },
    authenticate (presented, facts) {
      const certificate = certificateOf(presented, facts)
      if (certificate === null) return null
      return check(certificate).principal
    },
    sourceOf (principal) {
      if (!mine.has(principal)) return null
      const { credential: { method, id, expiresAt, boundTo } } = principal
      return { source: { method, id, expiresAt, state: stateOf(principal) }, binding: { certificate: boundTo, key: undefined }, via: [] }
    },
    // What is made from a certificate is bound to it: it must be there again.
    vouches ({ method, id, state }, { certificate }) {
      if (method !== 'mtls' || certificate === null) return false
      const known = verified.get(certificate)
      const { principal } = known !== undefined && problemAt(known, clock()) === null ? known : check(certificate)
      return principal.credential.id === id && stateOf(principal) === state
    }
  }

  function check (certificate: ClientCertificate): Verified {
    const now = clock()
    const before = remembered.get(certificate.thumbprint)
    const entry = before ?? verify(certificate, authorities)
    const problem = problemAt(entry, now)
    if (problem === 'revocation-list-expired') throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: problem })
    if (problem !== null) throw bad(problem)
    watch(entry, watchExpiry, now)
    if (before === undefined) remembered.set(certificate.thumbprint, entry)
    verified.set(certificate, entry)
    mine.add(entry.principal)
    return entry
  }
}

function certificateOf ({ scheme }: PresentedCredential, { certificate }: RequestFacts): ClientCertificate | null {
  return scheme === 'certificate' ? certificate : null
}

function refuseAmbiguous (authorities: readonly CertificateAuthority[]): void {
  if (authorities.length === 0) throw optionInvalid('mtls.authorities', 'a list of at least one', [])
  // Under one key a certificate is as much the one's as the other's, and so would be the names in it.
  const keys = new Set(authorities.map(({ facts }) => facts.x509.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')))
  if (keys.size < authorities.length) throw optionInvalid('mtls.authorities', 'a list of authorities with a key each', authorities)
}

function verify (certificate: ClientCertificate, authorities: readonly CertificateAuthority[]): Verified {
  const facts = readCertificate(certificate.der)
  if (facts === null) throw bad('certificate-malformed')
  const authority = authorities.find(({ facts: { x509 } }) => facts.x509.checkIssued(x509) && facts.x509.verify(x509.publicKey))
  if (authority === undefined) throw bad('certificate-of-unknown-authority')
  if (facts.isAuthority) throw bad('certificate-of-authority')
  if (!facts.mayAuthenticateClients) throw bad('certificate-usage')
  const spiffeId = spiffeIdOf(facts, authority.trustDomain)
  const holder = holderOf([...authority.holdersOf(facts, spiffeId)], spiffeId)
  return {
    facts,
    authority,
    principal: freezePrincipal({
      ...holder,
      roles: [],
      scopes: [],
      credential: { method: 'mtls', id: facts.fingerprint, expiresAt: facts.notAfter, boundTo: certificate.thumbprint }
    })
  }
}

/** X509-SVID sections 2, 4.3 and 5.2; where the authority has no trust domain, a SPIFFE ID is not looked at. */
function spiffeIdOf ({ uris, hasCriticalKeyUsage }: CertificateFacts, trustDomain: string | undefined): string | null {
  const text = uris.find((uri) => /^spiffe:/i.test(uri))
  if (trustDomain === undefined || text === undefined) return null
  const id = parseSpiffeId(text)
  if (uris.length > 1) throw bad('spiffe-id-not-alone')
  if (id === null || id.path === '') throw bad('spiffe-id-malformed')
  if (id.trustDomain !== trustDomain) throw bad('spiffe-id-of-other-trust-domain')
  if (!hasCriticalKeyUsage) throw bad('certificate-usage')
  return text
}

function holderOf ([holder, ...others]: readonly CertificateHolder[], spiffeId: string | null): CertificateHolder {
  // Names of two principals: which of them is asking, a server must not choose.
  if (others.length > 0) throw bad('certificate-of-several')
  if (holder !== undefined) return holder
  if (spiffeId === null) throw bad('certificate-unknown')
  return { id: spiffeId, type: 'service', tier: 'standard', attributes: {} }
}

/** What time and revocation say of a certificate that is good otherwise: judged for every request, as connections outlive both. */
function problemAt ({ facts, authority }: Verified, now: number): string | null {
  const { facts: issuer, revocationList } = authority
  if (now < facts.notBefore) return 'certificate-not-yet-valid'
  if (now > facts.notAfter) return 'certificate-expired'
  if (now < issuer.notBefore || now > issuer.notAfter) return 'authority-expired'
  if (revocationList === undefined) return null
  if (revocationList.isRevoked(facts.serial)) return 'certificate-revoked'
  return now < revocationList.nextUpdate ? null : 'revocation-list-expired'
}

function watch ({ facts, authority: { facts: issuer, revocationList } }: Verified, watchExpiry: ReturnType<typeof expiryWatch>, now: number): void {
  watchExpiry({ kind: 'client-certificate', id: facts.fingerprint, expiresAt: facts.notAfter }, facts.notBefore, now)
  watchExpiry({ kind: 'authority', id: issuer.fingerprint, expiresAt: issuer.notAfter }, issuer.notBefore, now)
  if (revocationList === undefined) return
  watchExpiry({ kind: 'revocation-list', id: issuer.fingerprint, expiresAt: revocationList.nextUpdate }, revocationList.thisUpdate, now)
}

function bad (reason: string): Error {
  return guardError('FMG_ERR_CREDENTIAL_INVALID', { reason })
}
