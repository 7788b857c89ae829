import { isTrustworthyUrl } from '../bounded-fetch.ts'
import { havingMethods, integer, listOf, object, optionInvalid, withDefault, type Reader } from '../options.ts'
import type { Principal } from '../principal.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { JsonObject } from '../strict-json.ts'
import type { Authenticator } from './authenticator.ts'
import { badCredential } from './bad-credential.ts'
import { cookieName } from './browser-cookie.ts'
import type { SessionPrincipal } from './membership.ts'
import type { RefreshFamilies } from './refresh-families.ts'
import { sealer, type Sealer } from './sealed-text.ts'
import { sessionCookie } from './session-cookie.ts'
import type { TokenIssuer } from './token-issuer.ts'

export interface BrowserSessionsOptions {
  /** This server, as browsers address it: `https://models.acme.example`; http on loopback only, where cookies then go without `__Host-`. */
  readonly origin: string
  /** Issues the tokens in the cookie; their life is that of a session between two renewals. */
  readonly tokens: TokenIssuer
  /** Their life is that of a session however often it is renewed; some seconds of grace are for tabs that renew at once, on several nodes. */
  readonly families: RefreshFamilies
  /** At least 32 bytes, the same on all nodes: what logins and sessions keep is sealed with it. */
  readonly secret: SecretSource
  /** What `secret` was before: sessions and logins that began under one of these go on. To be left out once the longest session is over. Default none. */
  readonly previousSecrets?: readonly SecretSource[]
  /** How many session tokens are remembered as good. Default 100,000. */
  readonly maxCached?: number
}

/** What a session is renewed with. Times are milliseconds since the epoch. */
export interface RefreshPart {
  /** Public id of the session. */
  readonly id: string
  /** Secret; used once. */
  readonly refreshToken: string
  readonly refreshExpiresAt: number
}

/** What a session is presented by. */
export interface SessionPart {
  /** Secret; short-lived. */
  readonly token: string
  readonly expiresAt: number
  readonly principal: Principal
}

/** A session that can be renewed, and what was kept with it. */
export interface RenewableSession {
  readonly id: string
  readonly kept: JsonObject
}

/** Sessions of browsers, each of which is kept by its browser in two cookies. */
export interface BrowserSessions {
  /** This server, as browsers address it. */
  readonly origin: string
  readonly sealer: Sealer
  readonly sessionCookie: string
  readonly refreshCookie: string
  /** For `authenticate`. */
  readonly authenticator: Authenticator
  /**
   * @param issuer who knows the person.
   * @param keep what is needed to renew it; sealed, and given to no browser.
   */
  begin (principal: SessionPrincipal, issuer: string, keep: JsonObject): Promise<RefreshPart & SessionPart>
  /** @throws FMG_ERR_CREDENTIAL_INVALID when it has ended. */
  find (refreshToken: string): Promise<RenewableSession>
  /**
   * Uses a refresh token, for the next one.
   * @throws FMG_ERR_CREDENTIAL_INVALID when the session has ended, or the token was used before, with which it ends.
   */
  turn (refreshToken: string, keep: JsonObject): Promise<RefreshPart>
  /** Gives a session another short life. */
  issue (session: RefreshPart, principal: SessionPrincipal, issuer: string): SessionPart
  /** Ends it: neither its refresh token nor any token that was issued for it counts from the next request on. */
  end (id: string): Promise<void>
}

const readOrigin: Reader<string> = (value, path) => {
  if (!isTrustworthyUrl(value) || new URL(value).origin !== value) throw optionInvalid(path, 'an https origin, without a path', value)
  return value
}

const readOptions = object({
  origin: readOrigin,
  tokens: havingMethods<TokenIssuer>('issue', 'verify', 'isOver', 'denySession'),
  families: havingMethods<RefreshFamilies>('begin', 'find', 'turn', 'end'),
  secret: havingMethods<SecretSource>('read'),
  previousSecrets: withDefault(listOf(havingMethods<SecretSource>('read')), []),
  maxCached: withDefault(integer({ min: 1 }), 100_000)
})

const purpose = 'session'

/**
 * Sessions of browsers, for the `login` plugin and for `authenticate`.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function browserSessions (options: BrowserSessionsOptions): BrowserSessions {
  const { origin, tokens, families, secret, previousSecrets, maxCached } = readOptions(options, 'browserSessions')
  const isSecure = origin.startsWith('https:')
  const names = { sessionCookie: cookieName('model-guard-session', isSecure), refreshCookie: cookieName('model-guard-refresh', isSecure) }
  const { seal, open } = sealer(secret, previousSecrets)

  function issue ({ id, refreshExpiresAt }: RefreshPart, principal: SessionPrincipal, issuer: string): SessionPart {
    const source = { method: 'session', id, issuer, session: id, expiresAt: refreshExpiresAt } as const
    const { token, tokenId, expiresAt } = tokens.issue('session+jwt', { principal, source, via: [], audiences: tokens.audiences, binding: null, session: id, until: refreshExpiresAt })
    return { token, expiresAt, principal: { ...principal, credential: { method: 'session', id, issuer, expiresAt, token: tokenId } } }
  }

  return {
    origin,
    sealer: { seal, open },
    ...names,
    authenticator: sessionCookie({ tokens, origin, cookieName: names.sessionCookie, maxCached }),
    async begin (principal, issuer, keep) {
      const { token, familyId, expiresAt } = await families.begin(await seal(purpose, keep))
      const session = { id: familyId, refreshToken: token, refreshExpiresAt: expiresAt }
      return { ...session, ...issue(session, principal, issuer) }
    },
    async find (refreshToken) {
      const { familyId, content } = await families.find(refreshToken)
      const kept = await open(purpose, content)
      // A family of another kind, of a client that refreshes access tokens; or the secret was replaced.
      if (kept === null) throw badCredential('session-not-of-a-browser')
      return { id: familyId, kept }
    },
    async turn (refreshToken, keep) {
      const { token, familyId, expiresAt } = await families.turn(refreshToken, await seal(purpose, keep))
      return { id: familyId, refreshToken: token, refreshExpiresAt: expiresAt }
    },
    issue,
    async end (id) {
      await families.end(id)
      await tokens.denySession(id)
    }
  }
}
