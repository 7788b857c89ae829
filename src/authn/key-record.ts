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
