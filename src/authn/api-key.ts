import { guardError } from '../errors.ts'
import { freezePrincipal, type Principal } from '../principal.ts'
import { parseApiKey, type ApiKeyParts } from './api-key-format.ts'
import type { Authenticator } from './authenticator.ts'
import { credentialCache } from './credential-cache.ts'
import { digestsEqual, keyDigest } from './key-digest.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'
import type { PresentedCredential } from './presented-credential.ts'

export interface ApiKeyOptions {
  readonly store: KeyStore
  /** At least 32 bytes, kept apart from the store. */
  readonly pepper: Uint8Array
  /** How many verified keys are remembered. Default 100,000. */
  readonly maxCached?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

interface Verified {
  readonly record: KeyRecord
  readonly principal: Principal
}

// What an unknown key id is compared with, so that it costs what a wrong secret costs.
const nobody = '0'.repeat(64)

/**
 * API keys, in `x-api-key` or `Authorization: Bearer`.
 * A credential that does not begin with `fmg_` is `null` under `Bearer` (it may be a token) and bad under `x-api-key`.
 */
export function apiKey ({ store, pepper, maxCached = 100_000, clock = Date.now }: ApiKeyOptions): Authenticator {
  if (pepper.byteLength < 32) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `apiKey.pepper must be at least 32 bytes, got ${pepper.byteLength}` })
  const verified = credentialCache<Verified>(maxCached)

  return {
    verifiesCheaply: true,
    isMine,
    publicId: ({ value }) => parseApiKey(value)?.keyId,
    recall (presented) {
      if (!isMine(presented)) return null
      const known = verified.get(presented.value)
      // The store gives the same object for as long as nothing about the key has changed.
      if (known === undefined || store.find(known.record.keyId) !== known.record) return null
      return clock() < known.record.expiresAt ? known.principal : null
    },
    async authenticate (presented) {
      if (!isMine(presented)) return null
      const key = parseApiKey(presented.value)
      if (key === null) throw bad('api-key-malformed')
      const record = checkKey(key, await store.find(key.keyId), pepper, clock())
      const principal = principalOf(record)
      verified.set(presented.value, { record, principal })
      return principal
    }
  }
}

function isMine ({ scheme, value }: PresentedCredential): boolean {
  return scheme === 'x-api-key' || (scheme === 'bearer' && value.startsWith('fmg_'))
}

function checkKey (key: ApiKeyParts, record: KeyRecord | null, pepper: Uint8Array, now: number): KeyRecord {
  const matches = digestsEqual(keyDigest(pepper, key.secret), record?.digest ?? nobody)
  if (record === null) throw bad('api-key-unknown')
  if (!matches) throw bad('api-key-wrong-secret')
  if (record.revokedAt !== undefined) throw bad('api-key-revoked')
  if (now >= record.expiresAt) throw bad('api-key-expired')
  return record
}

function principalOf (record: KeyRecord): Principal {
  return freezePrincipal({
    ...record.principal,
    credential: { method: 'api-key', id: record.keyId, expiresAt: record.expiresAt }
  })
}

function bad (reason: string): Error {
  return guardError('FMG_ERR_CREDENTIAL_INVALID', { reason })
}
