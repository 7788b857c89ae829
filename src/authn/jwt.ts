import type { Fetch } from '../bounded-fetch.ts'
import { functionOf, integer, listOf, object, optional, havingMethods, optionInvalid, withDefault } from '../options.ts'
import { parseStrictJson } from '../strict-json.ts'
import { checkClaims, checkType } from './access-claims.ts'
import type { Authenticator } from './authenticator.ts'
import { badCredential } from './bad-credential.ts'
import { hasJwtShape, parseCompactJws, verifyJws } from './compact-jws.ts'
import { credentialCache } from './credential-cache.ts'
import type { DenyList } from './deny-list.ts'
import { readDpopOptions, type DpopOptions } from './dpop.ts'
import { issuerSources, type IssuersToken } from './issuer-sources.ts'
import { jwtIssuer, type JwtIssuer, type JwtIssuerOptions } from './jwt-issuer.ts'
import { principalOf } from './jwt-principal.ts'
import type { PresentedCredential } from './presented-credential.ts'
import { tokenAuthenticator } from './token-authenticator.ts'
import { readBinding } from './token-binding.ts'
import type { VerificationKey } from './verification-key.ts'

export interface JwtOptions {
  /** Those whose tokens count; no other is ever asked for anything. At least one, each once. */
  readonly issuers: readonly JwtIssuerOptions[]
  /** Tokens that count no more. Default: none is denied before it expires. */
  readonly denyList?: DenyList
  /** Tokens bound to a key (RFC 9449). Default: they are refused. */
  readonly dpop?: DpopOptions
  /** How many verified tokens are remembered. Default 100,000. */
  readonly maxCached?: number
  /** Default: that of the platform. */
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  issuers: listOf((value) => value),
  denyList: optional(havingMethods<DenyList>('denies')),
  dpop: optional(readDpopOptions),
  maxCached: withDefault(integer({ min: 1 }), 100_000),
  fetch: withDefault(functionOf<Fetch>(), async (url, init) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

/** A token that was verified, and what its being good hangs on. */
interface Verified extends IssuersToken {
  readonly key: VerificationKey
}

/**
 * JWT access tokens (RFC 9068) under `Authorization: Bearer` or `DPoP`.
 * A credential that has not the shape of a JWT is `null`: it may be an API key, or an opaque token. An encrypted token is refused.
 */
export function jwt (options: JwtOptions): Authenticator {
  const { issuers: given, denyList, dpop, maxCached, fetch, clock } = readOptions(options, 'jwt')
  const issuers = new Map(given.map((value, index) => jwtIssuer(value, `jwt.issuers[${index}]`, fetch, clock)).map((issuer) => [issuer.issuer, issuer]))
  if (issuers.size === 0 || issuers.size < given.length) throw optionInvalid('jwt.issuers', 'a list of at least one, each once', given)
  // This cache is this configuration's alone, and by the digest of the whole token: what another issuer or server verified is not in it.
  const verified = credentialCache<Verified>(maxCached)
  const sources = issuerSources({ issuers, denyList, clock })

  return { ...tokenAuthenticator({ isMine, remembered, verify, denyList, dpop, clock }), ...sources }

  function remembered (token: string): Verified | undefined {
    const known = verified.get(token)
    // No tolerance here: between the two ends of a token's life it is verified anew.
    const counts = known !== undefined && clock() < known.expiresAt && known.from.keys.trusts(known.key)
    return counts ? known : undefined
  }

  async function verify (token: string): Promise<Verified> {
    const judged = await judge(token, issuers, clock)
    verified.set(token, judged)
    sources.note(judged)
    return judged
  }
}

function isMine ({ scheme, value }: PresentedCredential): boolean {
  return (scheme === 'bearer' || scheme === 'dpop') && hasJwtShape(value)
}

async function judge (token: string, issuers: ReadonlyMap<string, JwtIssuer>, clock: () => number): Promise<Verified> {
  const jws = parseCompactJws(token)
  const payload = parseStrictJson(jws.payload)
  if (payload === null) throw badCredential('jwt-claims-malformed')
  // Nobody vouches for `iss` yet: it only chooses among those configured.
  const from = typeof payload.iss === 'string' ? issuers.get(payload.iss) : undefined
  if (from === undefined) throw badCredential('jwt-issuer-unknown')
  checkType(jws.header.typ, from.type)
  if (!from.algorithms.some((algorithm) => algorithm === jws.header.alg)) throw badCredential('jwt-algorithm')
  const key = await from.keys.find(jws.header.kid, jws.header.alg)
  if (key === null) throw badCredential('jwt-key-unknown')
  await verifyJws(jws, key)
  const claims = checkClaims(payload, from, clock())
  const binding = readBinding(payload)
  const { subject, tokenId, session, issuedAt, expiresAt, audiences } = claims
  return { from, key, binding, audiences, principal: principalOf(token, claims, binding, from), issuer: from.issuer, subject, tokenId, session, issuedAt, expiresAt }
}
