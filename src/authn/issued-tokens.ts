import { functionOf, havingMethods, integer, listOf, object, optional, optionInvalid, withDefault } from '../options.ts'
import type { Principal } from '../principal.ts'
import type { Authenticator } from './authenticator.ts'
import { badCredential } from './bad-credential.ts'
import { credentialCache } from './credential-cache.ts'
import { readDpopOptions, type DpopOptions } from './dpop.ts'
import type { IssuedToken } from './issued-token.ts'
import type { RequestFacts } from './request-facts.ts'
import { tokenAuthenticator } from './token-authenticator.ts'
import type { TokenIssuer } from './token-issuer.ts'

export interface IssuedTokensOptions {
  readonly issuer: TokenIssuer
  /** Those whose credentials its tokens are made from: asked at every request whether they still stand for them. At least one. */
  readonly sources: readonly Authenticator[]
  /** Tokens bound to a key (RFC 9449). Default: they are refused. */
  readonly dpop?: DpopOptions
  /** How many verified tokens are remembered. Default 100,000. */
  readonly maxCached?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  issuer: havingMethods<TokenIssuer>('verify', 'isMine', 'isOver'),
  sources: listOf(havingMethods<Authenticator>('authenticate', 'vouches')),
  dpop: optional(readDpopOptions),
  maxCached: withDefault(integer({ min: 1 }), 100_000),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

/**
 * Tokens that this server issued itself, under `Authorization: Bearer` or `DPoP`. Each counts for as long as what it was made from does: a key that
 * is revoked, a certificate that has expired, an issuer's token that is denied take their tokens along, remembered ones too.
 * Give it before `jwt()` and `jwtSvid()`, which refuse tokens that they do not know. Anything else is `null`.
 */
export function issuedTokens (options: IssuedTokensOptions): Authenticator {
  const { issuer, sources, dpop, maxCached, clock } = readOptions(options, 'issuedTokens')
  if (sources.length === 0) throw optionInvalid('issuedTokens.sources', 'a list of at least one', sources)
  const verified = credentialCache<IssuedToken>(maxCached)
  const tokens = new WeakMap<Principal, IssuedToken>()

  return {
    // What its deny-list says is the issuer's affair, for it is about the tokens in between, too.
    ...tokenAuthenticator({ isMine: ({ scheme, value }) => (scheme === 'bearer' || scheme === 'dpop') && issuer.isMine(value), remembered, verify, denyList: undefined, dpop, clock }),
    sourceOf (principal) {
      const token = tokens.get(principal)
      return token === undefined ? null : { source: token.source, binding: token.binding, audiences: token.audiences, via: [...token.via, token.tokenId] }
    }
  }

  function remembered (text: string, facts: RequestFacts): IssuedToken | undefined {
    const token = verified.get(text)
    if (token === undefined) return undefined
    try {
      return problemOf(token, facts) === null ? token : undefined
    } catch {
      // It cannot be known now: `verify` asks again, and may say so.
      return undefined
    }
  }

  async function verify (text: string, facts: RequestFacts): Promise<IssuedToken> {
    const token = await issuer.verify('at+jwt', text)
    const problem = problemOf(token, facts)
    if (problem !== null) throw badCredential(problem)
    verified.set(text, token)
    tokens.set(token.principal, token)
    return token
  }

  function problemOf (token: IssuedToken, facts: RequestFacts): string | null {
    if (issuer.isOver(token)) return 'token-over'
    return sources.some((source) => source.vouches?.(token.source, facts) === true) ? null : 'token-source-over'
  }
}
