import { anyThat, integer, listOf, object, oneOf, optional, string, withDefault, type Reader } from '../options.ts'
import type { KeyRecord } from './key-store.ts'

const text: Reader<string> = anyThat((value): value is string => typeof value === 'string', 'a string')
const attributes: Reader<Readonly<Record<string, unknown>>> =
  anyThat((value): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value), 'an object')

/** Reads a stored key record, strictly: a store that was edited by hand is refused rather than guessed at. */
export const readKeyRecord: Reader<KeyRecord> = object({
  keyId: string(/^[0-9A-Za-z]{12}$/, 'a key id of 12 base62 characters'),
  digest: string(/^[0-9a-f]{64}$/, 'a digest of 64 hexadecimal digits'),
  principal: object({
    id: string(),
    type: oneOf('user', 'service'),
    org: optional(string()),
    team: optional(string()),
    tier: string(),
    roles: listOf(string()),
    scopes: listOf(string()),
    attributes: withDefault(attributes, {})
  }),
  label: text,
  createdAt: integer({ min: 0 }),
  expiresAt: integer({ min: 0 }),
  revokedAt: optional(integer({ min: 0 }))
})

/** What may be shown of a key to those who look after keys. */
export interface PublicKeyRecord {
  readonly keyId: string
  readonly id: string
  readonly state: 'good' | 'expired' | 'revoked'
  /** RFC 3339. */
  readonly expiresAt: string
  readonly label: string
  readonly org?: string
  readonly team?: string
  readonly tier: string
  readonly roles: readonly string[]
  readonly scopes: readonly string[]
}

/** A record without its digest. @param now milliseconds since the epoch. */
export function publicKeyRecord ({ keyId, principal, label, expiresAt, revokedAt }: KeyRecord, now: number): PublicKeyRecord {
  const { id, org, team, tier, roles, scopes } = principal
  const state = revokedAt !== undefined ? 'revoked' : expiresAt <= now ? 'expired' : 'good'
  return { keyId, id, state, expiresAt: new Date(expiresAt).toISOString(), label, org, team, tier, roles, scopes }
}
