import { readApproved } from '../approval.ts'
import { anyThat, integer, object, optional, string, withDefault, type Reader } from '../options.ts'
import { readScopes } from '../scope.ts'
import { readAddressRanges } from './address-ranges.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'
import { principalMembers } from './principal-members.ts'

const text: Reader<string> = anyThat((value): value is string => typeof value === 'string', 'a string')
const time = integer({ min: 0 })
const digest = string(/^[0-9a-f]{64}$/, 'a digest of 64 hexadecimal digits')

/** The public part of a key. */
export const readKeyId: Reader<string> = string(/^[0-9A-Za-z]{12}$/, 'a key id of 12 base62 characters')

/** Reads a stored key record, strictly: a store that was edited by hand is refused rather than guessed at. */
export const readKeyRecord: Reader<KeyRecord> = object({
  keyId: readKeyId,
  version: integer({ min: 1 }),
  digest,
  previous: optional(object({ digest, graceExpiresAt: time })),
  principal: object({ id: string(), ...principalMembers, scopes: readScopes, attributes: withDefault(principalMembers.attributes, {}) }),
  allowedAddresses: readAddressRanges,
  label: text,
  createdAt: time,
  issuedAt: time,
  expiresAt: time,
  revokedAt: optional(time),
  approval: optional(readApproved)
})

/** What may be shown of a key to those who look after keys. Times are RFC 3339. */
export interface PublicKeyRecord {
  readonly keyId: string
  readonly id: string
  readonly state: 'good' | 'expired' | 'revoked'
  readonly expiresAt: string
  /** Until when the secret before the last rotation works; absent when it does not. */
  readonly graceExpiresAt?: string
  /** To the hour; absent when no use was noted. */
  readonly lastUsedAt?: string
  readonly label: string
  readonly org?: string
  readonly team?: string
  readonly tier: string
  readonly roles: readonly string[]
  readonly scopes: readonly string[]
  readonly allowedAddresses: readonly string[]
}

/** A record without its digests. @param now milliseconds since the epoch. */
export function publicKeyRecord (record: KeyRecord, now: number, lastUsedAt?: number): PublicKeyRecord {
  const { keyId, principal, previous, label, expiresAt, revokedAt, allowedAddresses } = record
  const { id, org, team, tier, roles, scopes } = principal
  const state = revokedAt !== undefined ? 'revoked' : expiresAt <= now ? 'expired' : 'good'
  const graceExpiresAt = previous !== undefined && state === 'good' && now < previous.graceExpiresAt ? rfc3339(previous.graceExpiresAt) : undefined
  return {
    keyId, id, state, expiresAt: rfc3339(expiresAt), graceExpiresAt, lastUsedAt: lastUsedAt === undefined ? undefined : rfc3339(lastUsedAt), label, org, team, tier, roles, scopes, allowedAddresses
  }
}

/** Every key of a store as it may be shown. */
export async function listApiKeys (store: KeyStore, now = Date.now()): Promise<readonly PublicKeyRecord[]> {
  const lastUses = await store.lastUses?.()
  return (await store.list()).map((record) => publicKeyRecord(record, now, lastUses?.get(record.keyId)))
}

function rfc3339 (time: number): string {
  return new Date(time).toISOString()
}
