import { hash } from 'node:crypto'
import type { Fetch } from '../bounded-fetch.ts'
import { functionOf, havingMethods, integer, listOf, object, optional, optionInvalid, string, withDefault } from '../options.ts'
import { freezePrincipal } from '../principal.ts'
import { parseStrictJson } from '../strict-json.ts'
import type { Authenticator } from './authenticator.ts'
import { badCredential } from './bad-credential.ts'
import { hasJwtShape, parseCompactJws, verifyJws, type JwsHeader } from './compact-jws.ts'
import { credentialCache } from './credential-cache.ts'
import type { DenyList } from './deny-list.ts'
import type { PresentedCredential } from './presented-credential.ts'
import { parseSpiffeId } from './spiffe-id.ts'
import { checkSvidClaims, type SvidRules } from './svid-claims.ts'
import { tokenAuthenticator, type GoodToken } from './token-authenticator.ts'
import { readBinding } from './token-binding.ts'
import { trustDomain, type TrustDomain, type TrustDomainOptions } from './trust-domain.ts'
import type { VerificationKey } from './verification-key.ts'
import { readWorkload, workloadTable, type Workload, type WorkloadIdentity } from './workload.ts'

export interface JwtSvidOptions {
  /** Whose workloads count; no other is ever asked for anything. At least one, each once. */
  readonly trustDomains: readonly TrustDomainOptions[]
  /** Names of this server in `aud`; a token must be for one of them. At least one. */
  readonly audiences: readonly string[]
  /** Tier of workloads that `identities` does not name. Default `standard`, as in `mtls`. */
  readonly tier?: string
  /** Who workloads are, where they are not to be known by their SPIFFE IDs. Default: none. */
  readonly identities?: readonly WorkloadIdentity[]
  /** For clocks that differ; 60 at most. Default 5. */
  readonly clockToleranceSeconds?: number
  /** From `iat`, or where there is none from now, to `exp`. Default 86,400. */
  readonly maxLifetimeSeconds?: number
  /** Tokens that count no more; their issuer is `spiffe://<trust domain>`. Default: none is denied before it expires. */
  readonly denyList?: DenyList
  /** How many verified tokens are remembered. Default 100,000. */
  readonly maxCached?: number
  /** Default: that of the platform. */
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  trustDomains: listOf((value) => value),
  audiences: listOf(string()),
  tier: withDefault(string(), 'standard'),
  identities: withDefault(listOf(readWorkload), []),
  clockToleranceSeconds: withDefault(integer({ min: 0, max: 60 }), 5),
  maxLifetimeSeconds: withDefault(integer({ min: 1 }), 86_400),
  denyList: optional(havingMethods<DenyList>('denies')),
  maxCached: withDefault(integer({ min: 1 }), 100_000),
  fetch: withDefault(functionOf<Fetch>(), async (url, init) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

interface Verified extends GoodToken {
  readonly expiresAt: number
  readonly from: TrustDomain
  readonly key: VerificationKey
}

interface Rules extends SvidRules {
  readonly trustDomains: ReadonlyMap<string, TrustDomain>
  readonly workloadOf: (spiffeId: string) => Workload
}

/**
 * JWT-SVIDs under `Authorization: Bearer`: a workload's principal is the one that its X.509-SVID gives it under `mtls`. Its roles are the
 * policy's to assign. A token whose `sub` is no SPIFFE ID is `null`; give this before `jwt`, which takes every JWT for its own.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function jwtSvid (options: JwtSvidOptions): Authenticator {
  const { trustDomains: given, tier, identities, denyList, maxCached, fetch, clock, ...limits } = readOptions(options, 'jwtSvid')
  if (limits.audiences.length === 0) throw optionInvalid('jwtSvid.audiences', 'a list of at least one', limits.audiences)
  const trustDomains = new Map(given.map((value, index) => trustDomain(value, `jwtSvid.trustDomains[${index}]`, fetch, clock)).map((domain) => [domain.name, domain]))
  if (trustDomains.size === 0 || trustDomains.size < given.length) throw optionInvalid('jwtSvid.trustDomains', 'a list of at least one, each once', given)
  const rules = { ...limits, trustDomains, workloadOf: workloadTable(identities, tier, 'jwtSvid.identities') }
  const verified = credentialCache<Verified>(maxCached)

  return tokenAuthenticator({ isMine, remembered, verify, denyList, dpop: undefined, clock })

  function remembered (token: string): Verified | undefined {
    const known = verified.get(token)
    return known !== undefined && clock() < known.expiresAt && known.from.keys.trusts(known.key) ? known : undefined
  }

  async function verify (token: string): Promise<Verified> {
    const judged = await judge(token, rules, clock())
    verified.set(token, judged)
    return judged
  }
}

function isMine ({ scheme, value }: PresentedCredential): boolean {
  if (scheme !== 'bearer' || !hasJwtShape(value)) return false
  const [, part = ''] = value.split('.', 2)
  const payload = Buffer.from(part, 'base64url')
  // As a rule it is somebody else's, which this tells at a tenth of the cost.
  return payload.includes('spiffe:') && String(parseStrictJson(payload)?.sub).startsWith('spiffe:')
}

async function judge (token: string, rules: Rules, now: number): Promise<Verified> {
  const jws = parseCompactJws(token)
  const payload = parseStrictJson(jws.payload)
  const spiffeId = String(payload?.sub)
  const id = typeof payload?.sub === 'string' ? parseSpiffeId(spiffeId) : null
  // JWT-SVID section 3.1.
  if (payload === null || id === null || id.path === '') throw badCredential('svid-subject')
  // Section 4: its own trust domain's keys, and no other's, speak for it. Nobody vouches for `sub` yet: it only chooses among those configured.
  const from = rules.trustDomains.get(id.trustDomain)
  if (from === undefined) throw badCredential('svid-trust-domain-unknown')
  checkHeader(jws.header, from)
  const key = await from.keys.find(jws.header.kid, jws.header.alg)
  if (key === null) throw badCredential('svid-key-unknown')
  await verifyJws(jws, key)
  const { tokenId, issuedAt, expiresAt } = checkSvidClaims(payload, rules, now)
  const issuer = `spiffe://${from.name}`
  const principal = freezePrincipal({
    ...rules.workloadOf(spiffeId), roles: [], scopes: [], credential: { method: 'jwt', id: tokenId ?? hash('sha256', token, 'base64url'), issuer, expiresAt }
  })
  return { principal, binding: readBinding(payload), issuer, subject: spiffeId, tokenId, session: undefined, issuedAt, expiresAt, from, key }
}

/** JWT-SVID section 2: these header parameters, and none beside them. */
function checkHeader ({ alg, typ, names }: JwsHeader, { algorithms }: TrustDomain): void {
  if (!names.every((name) => name === 'alg' || name === 'kid' || name === 'typ')) throw badCredential('svid-header')
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE') throw badCredential('svid-type')
  if (!algorithms.some((algorithm) => algorithm === alg)) throw badCredential('svid-algorithm')
}
