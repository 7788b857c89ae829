import { readUrl } from '../bounded-fetch.ts'
import { randomBase62 } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { functionOf, havingMethods, integer, listOf, object, optional, optionInvalid, string, withDefault } from '../options.ts'
import { parseStrictJson } from '../strict-json.ts'
import { checkClaims, checkType } from './access-claims.ts'
import { badCredential } from './bad-credential.ts'
import { maxTokenLength, parseCompactJws, verifyJws } from './compact-jws.ts'
import { isKnownDenied, type WritableDenyList } from './deny-list.ts'
import { claimsOf, readIssued, type IssuedToken, type TokenTerms } from './issued-token.ts'
import { memoryDenyList } from './memory-deny-list.ts'
import type { SigningKey } from './signing-key.ts'
import type { SigningKeys } from './signing-keys.ts'

/**
 * What a token is for, which is its `typ` (RFC 8725 section 3.11): one to present under `Authorization` (RFC 9068), or one in the cookie of a
 * browser session. Neither is ever taken for the other.
 */
export type TokenType = 'at+jwt' | 'session+jwt'

/** Signs claims under a key, with this type in the header. */
export type SignToken = (claims: object, key: SigningKey, type: TokenType) => string

export interface TokenIssuerOptions {
  /** `iss` of the tokens: the https URL of this server, as clients know it (http on loopback). */
  readonly issuer: string
  readonly keys: SigningKeys
  /** Names of this server: a token must be for one of them. Default: the issuer. */
  readonly audiences?: readonly string[]
  /** Names of other servers that tokens may be issued for. Default: none. */
  readonly otherAudiences?: readonly string[]
  /** Default 600, at most 900. */
  readonly lifetimeSeconds?: number
  /** Tokens that count no more. Default: one of this process alone. */
  readonly denyList?: WritableDenyList
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

/** A token as it is handed out. */
export interface NewToken {
  /** Secret. */
  readonly token: string
  readonly tokenId: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Issues the tokens of this server, and knows them again. */
export interface TokenIssuer {
  readonly issuer: string
  /** Names of this server, the first by default. */
  readonly audiences: readonly string[]
  readonly otherAudiences: readonly string[]
  readonly lifetimeSeconds: number
  readonly keys: SigningKeys
  /**
   * Issues a token that ends after `lifetimeSeconds`, and never after what it is made from.
   * @throws FMG_ERR_CREDENTIAL_INVALID when that is over; FMG_ERR_REQUEST_INVALID when the token would be too long to present.
   */
  issue (type: TokenType, terms: TokenTerms): NewToken
  /** Whether a text is a token of this server, as far as its header tells. */
  isMine (token: string): boolean
  /**
   * Verifies a token of this server; whether what it was made from still counts is for others to tell.
   * @throws FMG_ERR_CREDENTIAL_INVALID
   */
  verify (type: TokenType, token: string): Promise<IssuedToken>
  /**
   * Whether a verified token counts no more: it has expired, its key is gone, or it is denied, as one of those that it was exchanged for may be.
   * @throws FMG_ERR_DENY_LIST_UNAVAILABLE when that cannot be known.
   */
  isOver (token: IssuedToken): boolean
  /**
   * Whether a session that a token was made from was ended.
   * @throws FMG_ERR_DENY_LIST_UNAVAILABLE when that cannot be known.
   */
  isSessionOver (session: Pick<IssuedToken, 'subject' | 'issuedAt'> & { readonly session: string }): boolean
  /** Ends one token, and those that were made from it. */
  denyToken (token: Pick<IssuedToken, 'tokenId'>): Promise<void>
  /** Ends all tokens of a refresh family or a session (`sid`). */
  denySession (session: string): Promise<void>
}

const readOptions = object({
  issuer: readUrl,
  keys: havingMethods<SigningKeys>('current', 'all'),
  audiences: optional(listOf(string())),
  otherAudiences: withDefault(listOf(string()), []),
  lifetimeSeconds: withDefault(integer({ min: 1, max: 900 }), 600),
  denyList: optional(havingMethods<WritableDenyList>('denies', 'deny')),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

const clockToleranceSeconds = 5
const maxLifetimeSeconds = 900
// A longer one is not taken back.
const maxSubjectLength = 255

/** @param sign what makes a JWS; the claims are the issuer's affair. */
export function createTokenIssuer (options: TokenIssuerOptions, sign: SignToken): TokenIssuer {
  const read = readOptions(options, 'tokenIssuer')
  const { issuer, keys, otherAudiences, lifetimeSeconds, clock } = read
  const audiences = read.audiences ?? [issuer]
  if (audiences.length === 0) throw optionInvalid('tokenIssuer.audiences', 'a list of at least one', audiences)
  const denyList = read.denyList ?? memoryDenyList(clock)
  const headers = new WeakMap<SigningKey, string>()

  /** The one first part that access tokens of this key have. */
  function headerOf (key: SigningKey): string {
    const known = headers.get(key) ?? sign({}, key, 'at+jwt').split('.', 1).join()
    headers.set(key, known)
    return known
  }

  return {
    issuer,
    audiences,
    otherAudiences,
    lifetimeSeconds,
    keys,
    issue (type, terms) {
      const issuedAt = Math.floor(clock() / 1000)
      const expiresAt = Math.min(issuedAt + lifetimeSeconds, Math.floor(Math.min(terms.until ?? Infinity, terms.source.expiresAt ?? Infinity) / 1000))
      if (expiresAt <= issuedAt) throw badCredential('source-expired')
      const tokenId = randomBase62(22)
      const token = sign({ iss: issuer, jti: tokenId, iat: issuedAt, exp: expiresAt, ...claimsOf(terms) }, keys.current(), type)
      if (token.length > maxTokenLength || terms.principal.id.length > maxSubjectLength) throw guardError('FMG_ERR_REQUEST_INVALID', { detail: 'there is too much to say of this principal in a token', reason: 'token-too-long' })
      return { token, tokenId, expiresAt: expiresAt * 1000 }
    },
    isMine (token) {
      const header = token.slice(0, token.indexOf('.'))
      return keys.all().some((key) => headerOf(key) === header)
    },
    async verify (type, token) {
      const jws = parseCompactJws(token)
      checkType(jws.header.typ, type)
      const key = keys.all().find(({ kid }) => kid === jws.header.kid)
      if (key === undefined) throw badCredential('jwt-key-unknown')
      await verifyJws(jws, key.verification)
      const payload = parseStrictJson(jws.payload)
      if (payload === null) throw badCredential('jwt-claims-malformed')
      const claims = checkClaims(payload, { issuer, audiences, type, clockToleranceSeconds, maxLifetimeSeconds }, clock())
      return readIssued(issuer, claims, key)
    },
    isOver (token) {
      const { via, expiresAt, key, subject, session, issuedAt } = token
      if (clock() >= expiresAt || !keys.all().includes(key) || isKnownDenied(denyList, token)) return true
      return via.some((tokenId) => isKnownDenied(denyList, { issuer, subject, tokenId, session, issuedAt }))
    },
    isSessionOver: ({ session, subject, issuedAt }) => isKnownDenied(denyList, { issuer, subject, tokenId: undefined, session, issuedAt }),
    denyToken: async ({ tokenId }) => { await denyList.deny({ issuer, tokenId, until: latestEnd() }) },
    denySession: async (session) => { await denyList.deny({ issuer, session, until: latestEnd() }) }
  }

  /** When whatever was issued until now has ended. */
  function latestEnd (): number {
    return clock() + (maxLifetimeSeconds + clockToleranceSeconds) * 1000
  }
}
