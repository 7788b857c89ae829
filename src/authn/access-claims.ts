import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { badCredential } from './bad-credential.ts'

/** What an issuer's tokens are held against. */
export interface ClaimRules {
  readonly issuer: string
  readonly audiences: readonly string[]
  readonly type: 'at+jwt' | 'session+jwt' | 'JWT'
  readonly clockToleranceSeconds: number
  readonly maxLifetimeSeconds: number
}

/** Claims that were checked; all others are in `all`, as they came. */
export interface AccessClaims {
  readonly subject: string
  readonly clientId: string | undefined
  /** `jti`. */
  readonly tokenId: string | undefined
  /** `sid`. */
  readonly session: string | undefined
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
  readonly expiresAt: number
  /** `aud`. */
  readonly audiences: readonly string[]
  readonly all: JsonObject
}

/**
 * Whether a token's type (RFC 7515 section 4.1.9) is the expected one.
 * RFC 9068 section 4: an ID token, a logout token or a DPoP proof of the same issuer is no access token.
 */
export function checkType (typ: string | undefined, type: ClaimRules['type']): void {
  const given = typ?.toLowerCase().replace(/^application\//, '')
  if (given !== type.toLowerCase() && !(type === 'JWT' && given === undefined)) throw badCredential('jwt-type')
}

/**
 * Checks the registered claims (RFC 7519 section 4.1; RFC 9068 section 2.2).
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_CREDENTIAL_INVALID
 */
export function checkClaims (claims: JsonObject, rules: ClaimRules, now: number): AccessClaims {
  if (claims.iss !== rules.issuer) throw badCredential('jwt-issuer')
  const audiences = listed(claims.aud)
  if (!audiences.some((audience) => rules.audiences.includes(audience))) throw badCredential('jwt-audience')
  const { issuedAt, expiresAt } = checkTimes(claims, rules, now)
  const isProfiled = rules.type !== 'JWT'
  return {
    subject: text(claims.sub) ?? missing('jwt-subject'),
    clientId: text(claims.client_id) ?? (isProfiled || claims.client_id !== undefined ? missing('jwt-client') : undefined),
    tokenId: text(claims.jti) ?? (isProfiled || claims.jti !== undefined ? missing('jwt-id') : undefined),
    session: text(claims.sid) ?? (claims.sid !== undefined ? missing('jwt-session') : undefined),
    issuedAt,
    expiresAt,
    audiences,
    all: claims
  }
}

function checkTimes ({ exp, nbf, iat }: JsonObject, { clockToleranceSeconds, maxLifetimeSeconds }: ClaimRules, now: number): { issuedAt: number, expiresAt: number } {
  const seconds = now / 1000
  if (!isTime(exp) || seconds >= exp + clockToleranceSeconds) throw badCredential('jwt-expired')
  if (nbf !== undefined && !(isTime(nbf) && nbf <= seconds + clockToleranceSeconds)) throw badCredential('jwt-not-yet-valid')
  // Without it no lifetime can be judged.
  if (!isTime(iat) || iat > seconds + clockToleranceSeconds) throw badCredential('jwt-issued-at')
  if (exp - iat > maxLifetimeSeconds) throw badCredential('jwt-lifetime')
  return { issuedAt: iat * 1000, expiresAt: exp * 1000 }
}

// 1e400 reads as Infinity, and would never expire.
function isTime (value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER / 1000
}

/** RFC 7519 section 4.1.3: one string, or a list of them; anything else names nobody. */
function listed (value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) && value.every((member) => typeof member === 'string') ? value : []
}

function text (value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= 255 ? value : undefined
}

function missing (reason: string): never {
  throw badCredential(reason)
}

/** RFC 8693 section 4.1: who acts for the subject. Told to policies, and trusted with nothing: the subject alone is judged. */
export function actorOf ({ act }: JsonObject): string | undefined {
  if (act === undefined) return undefined
  return (isJsonObject(act) ? text(act.sub) : undefined) ?? missing('jwt-actor')
}
