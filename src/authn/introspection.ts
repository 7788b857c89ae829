import { readUrl, type Fetch } from '../bounded-fetch.ts'
import { isGuardError } from '../errors.ts'
import { boolean, functionOf, havingMethods, integer, listOf, object, optional, optionInvalid, string, withDefault } from '../options.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { JsonObject } from '../strict-json.ts'
import { checkClaims } from './access-claims.ts'
import type { Authenticator } from './authenticator.ts'
import { badCredential } from './bad-credential.ts'
import { hasJwtShape } from './compact-jws.ts'
import { credentialCache } from './credential-cache.ts'
import type { DenyList } from './deny-list.ts'
import { readDpopOptions, type DpopOptions } from './dpop.ts'
import { introspector } from './introspection-endpoint.ts'
import { principalOf, readClaimNames, readGrants, type ClaimNames, type Grants } from './jwt-principal.ts'
import type { PresentedCredential } from './presented-credential.ts'
import { tokenAuthenticator, type GoodToken } from './token-authenticator.ts'
import { readBinding } from './token-binding.ts'

export interface IntrospectionOptions {
  /** Whose tokens these are; qualifies the ids of their principals. An answer that names another issuer is refused. */
  readonly issuer: string
  /** URL of its introspection endpoint. */
  readonly endpoint: string
  /** Names of this server in `aud`; a token must be for one of them. At least one. */
  readonly audiences: readonly string[]
  /** Who this server is to the issuer; sent as `Authorization: Basic`. */
  readonly clientId: string
  readonly clientSecret: SecretSource
  readonly claims?: ClaimNames
  readonly grants?: Grants
  /**
   * Whether a token is good only for what its scopes name in the form `model:predict:fraud-*`; other words of it name nothing.
   * Default `false`: its scopes are for policies to read.
   */
  readonly limitByScopes?: boolean
  /** Tier of principals, where no claim names one that may be granted. */
  readonly tier: string
  /** How long an answer counts, at most: a token that was revoked is good for so long. Default 30. */
  readonly cacheSeconds?: number
  /** How long a refusal counts, so that a dead token does not cost a question each time. 0: not at all. Default 5. */
  readonly refusedSeconds?: number
  /** How many tokens are remembered. Default 100,000. */
  readonly maxCached?: number
  /** How many refused tokens are remembered, apart from the good ones. Default 10,000. */
  readonly maxRefused?: number
  /** Until an answer must be there. Default 5,000. */
  readonly timeoutMs?: number
  /** Default 65,536. */
  readonly maxBytes?: number
  /** Questions without an answer; further ones are a 503 at once. Default 100. */
  readonly maxPending?: number
  /** For clocks that differ; 60 at most. Default 5. */
  readonly clockToleranceSeconds?: number
  /** Default: none is denied before it expires. */
  readonly denyList?: DenyList
  /** Tokens bound to a key (RFC 9449). Default: they are refused. */
  readonly dpop?: DpopOptions
  /** Default: that of the platform. */
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  issuer: readUrl,
  endpoint: readUrl,
  audiences: listOf(string()),
  clientId: string(),
  clientSecret: havingMethods<SecretSource>('read'),
  claims: readClaimNames,
  grants: readGrants,
  limitByScopes: withDefault(boolean, false),
  tier: string(),
  cacheSeconds: withDefault(integer({ min: 0 }), 30),
  refusedSeconds: withDefault(integer({ min: 0, max: 300 }), 5),
  maxCached: withDefault(integer({ min: 1 }), 100_000),
  maxRefused: withDefault(integer({ min: 1 }), 10_000),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5_000),
  maxBytes: withDefault(integer({ min: 1 }), 65_536),
  maxPending: withDefault(integer({ min: 1 }), 100),
  clockToleranceSeconds: withDefault(integer({ min: 0, max: 60 }), 5),
  denyList: optional(havingMethods<DenyList>('denies')),
  dpop: optional(readDpopOptions),
  fetch: withDefault(functionOf<Fetch>(), async (url, init) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

interface Known extends GoodToken {
  /** Milliseconds since the epoch. */
  readonly askAgainAt: number
}

interface Refused {
  readonly reason: string
  readonly until: number
}

// RFC 6750 section 2.1.
const token68 = /^[A-Za-z0-9._~+/-]+=*$/

/**
 * Opaque tokens, about which their issuer is asked (RFC 7662). To policies their method is `jwt`, as of every token.
 * What has the shape of a JWT or of an API key is `null`, and nobody is asked about it.
 */
export function introspection (options: IntrospectionOptions): Authenticator {
  const read = readOptions(options, 'introspection')
  const { denyList, dpop, clock, cacheSeconds, refusedSeconds, maxCached, maxRefused } = read
  if (read.audiences.length === 0) throw optionInvalid('introspection.audiences', 'a list of at least one', read.audiences)
  const ask = introspector(read)
  const answers = credentialCache<Known>(maxCached)
  // Of their own: strangers' tokens, of which there is no end, push out no good ones.
  const refusals = credentialCache<Refused>(maxRefused)

  return tokenAuthenticator({ isMine, remembered, verify: inquire, denyList, dpop, clock })

  function remembered (token: string): Known | undefined {
    const known = answers.get(token)
    return known !== undefined && clock() < known.askAgainAt ? known : undefined
  }

  async function inquire (token: string): Promise<Known> {
    const now = clock()
    const refused = refusals.get(token)
    if (refused !== undefined && now < refused.until) throw badCredential(refused.reason)
    try {
      const known = judge(token, await ask(token), now)
      answers.set(token, known)
      return known
    } catch (error) {
      if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) refusals.set(token, { reason: String(error.reason), until: now + refusedSeconds * 1000 })
      throw error
    }
  }

  function judge (token: string, answer: JsonObject | null, asked: number): Known {
    if (answer === null) throw badCredential('token-inactive')
    // RFC 7662 section 2.2: an answer need not repeat its issuer, and a client that acts for itself may have no subject.
    const claims = { iss: read.issuer, sub: answer.client_id, iat: Math.floor(asked / 1000), ...answer }
    const rules = { issuer: read.issuer, audiences: read.audiences, type: 'JWT', clockToleranceSeconds: read.clockToleranceSeconds, maxLifetimeSeconds: Infinity } as const
    const { subject, tokenId, session, issuedAt, expiresAt, ...checked } = checkClaims(claims, rules, clock())
    const binding = readBinding(claims)
    const principal = principalOf(token, { subject, tokenId, session, issuedAt, expiresAt, ...checked }, binding, read)
    return { principal, binding, issuer: read.issuer, subject, tokenId, session, issuedAt, askAgainAt: Math.min(expiresAt, asked + cacheSeconds * 1000) }
  }
}

function isMine ({ scheme, value }: PresentedCredential): boolean {
  return (scheme === 'bearer' || scheme === 'dpop') && !value.startsWith('fmg_') && !hasJwtShape(value) && token68.test(value)
}
