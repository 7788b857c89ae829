import type { Principal } from '../principal.ts'
import type { Authenticator } from './authenticator.ts'
import { badCredential } from './bad-credential.ts'
import { credentialCache } from './credential-cache.ts'
import type { IssuedToken } from './issued-token.ts'
import { isOwnRequest } from './own-request.ts'
import type { TokenIssuer } from './token-issuer.ts'

export interface SessionCookieOptions {
  readonly tokens: TokenIssuer
  /** Of this server, as browsers address it. */
  readonly origin: string
  readonly cookieName: string
  readonly maxCached: number
}

/**
 * The cookie of a session, which holds a token of this server of the type `session+jwt`. A browser sends it whoever asks, so that it counts
 * only for what a page of this very origin asks, and for links that people follow.
 */
export function sessionCookie ({ tokens, origin, cookieName, maxCached }: SessionCookieOptions): Authenticator {
  const verified = credentialCache<IssuedToken>(maxCached)
  const known = new WeakMap<Principal, IssuedToken>()

  function remembered (token: string): IssuedToken | undefined {
    const issued = verified.get(token)
    return issued === undefined || tokens.isOver(issued) ? undefined : issued
  }

  async function verify (token: string): Promise<IssuedToken> {
    const issued = await tokens.verify('session+jwt', token)
    if (tokens.isOver(issued)) throw badCredential('session-over')
    verified.set(token, issued)
    known.set(issued.principal, issued)
    return issued
  }

  return {
    cookieName,
    isMine: ({ scheme }) => scheme === 'cookie',
    recall ({ scheme, value }, { method, initiator }) {
      if (scheme !== 'cookie' || !isOwnRequest(method, initiator, origin)) return null
      try {
        return remembered(value)?.principal ?? null
      } catch {
        // It cannot be known now: `authenticate` asks again, and says so.
        return null
      }
    },
    async authenticate ({ scheme, value }, { method, initiator }) {
      if (scheme !== 'cookie') return null
      if (!isOwnRequest(method, initiator, origin)) throw badCredential('session-cross-site')
      return (remembered(value) ?? await verify(value)).principal
    },
    sourceOf (principal) {
      const issued = known.get(principal)
      if (issued === undefined) return null
      const { source, subject, issuedAt, tokenId, binding } = issued
      // By way of the token in the cookie: nothing that is made from it outlives its short life, for only then is the provider asked again.
      return { source: { ...source, subject, issuedAt, expiresAt: issued.expiresAt }, binding, via: [tokenId] }
    },
    vouches: ({ method, session, subject, issuedAt }) =>
      method === 'session' && session !== undefined && subject !== undefined && issuedAt !== undefined && !tokens.isSessionOver({ session, subject, issuedAt })
  }
}
