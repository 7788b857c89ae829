import type { JsonObject } from '../strict-json.ts'
import { badCredential } from './bad-credential.ts'

/** What JWT-SVIDs are held against. */
export interface SvidRules {
  readonly audiences: readonly string[]
  readonly clockToleranceSeconds: number
  readonly maxLifetimeSeconds: number
}

/** Claims that were checked. Times are milliseconds since the epoch. */
export interface SvidClaims {
  /** `jti`. */
  readonly tokenId: string | undefined
  /** Where the token does not say: now. */
  readonly issuedAt: number
  readonly expiresAt: number
}

/**
 * Checks the claims of JWT-SVID section 3 but the subject: `aud` and `exp` must be there, the others of RFC 7519 may.
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_CREDENTIAL_INVALID
 */
export function checkSvidClaims ({ aud, exp, nbf, iat, jti }: JsonObject, { audiences, clockToleranceSeconds, maxLifetimeSeconds }: SvidRules, now: number): SvidClaims {
  const seconds = now / 1000
  const named: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (!named.some((audience) => audiences.some((own) => own === audience))) throw badCredential('svid-audience')
  if (!isTime(exp) || seconds >= exp + clockToleranceSeconds) throw badCredential('svid-expired')
  for (const from of [nbf, iat]) if (from !== undefined && !(isTime(from) && from <= seconds + clockToleranceSeconds)) throw badCredential('svid-not-yet-valid')
  const issuedAt = isTime(iat) ? iat : seconds
  if (exp - issuedAt > maxLifetimeSeconds) throw badCredential('svid-lifetime')
  if (jti !== undefined && (typeof jti !== 'string' || jti === '')) throw badCredential('svid-id')
  return { tokenId: jti, issuedAt: issuedAt * 1000, expiresAt: exp * 1000 }
}

function isTime (value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
