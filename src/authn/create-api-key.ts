import { guardError } from '../errors.ts'
import type { Principal } from '../principal.ts'
import { drawApiKey, formatApiKey } from './api-key-format.ts'
import { keyDigest } from './key-digest.ts'
import type { KeyStore } from './key-store.ts'

export interface NewApiKey {
  /** Who the holder is; `id` is required, all else has a safe default (`service`, no roles, no scopes). */
  readonly principal: Partial<Omit<Principal, 'credential'>> & { readonly id: string, readonly tier: string }
  readonly label?: string
  /** Part of the key's text. Default `live`. */
  readonly environment?: string
  /** Default 90 days, at most 366. */
  readonly lifetimeDays?: number
}

/** A key as it is shown, once. */
export interface CreatedApiKey {
  readonly keyId: string
  /** Secret: this is the only time it exists outside its holder's hands. */
  readonly key: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

const dayMs = 86_400_000

/** Makes a key and stores what is needed to recognise it. */
export async function createApiKey (store: KeyStore, pepper: Uint8Array, wanted: NewApiKey, now = Date.now()): Promise<CreatedApiKey> {
  const { principal, label = '', environment = 'live', lifetimeDays = 90 } = wanted
  if (!/^[a-z0-9]{1,16}$/.test(environment)) throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'environment must be 1 to 16 lower-case letters or digits' })
  if (!(lifetimeDays > 0 && lifetimeDays <= 366)) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `lifetimeDays must be more than 0 and at most 366, got ${lifetimeDays}` })
  const parts = drawApiKey(environment)
  const expiresAt = now + Math.round(lifetimeDays * dayMs)
  await store.add({
    keyId: parts.keyId,
    digest: keyDigest(pepper, parts.secret),
    principal: { type: 'service', roles: [], scopes: [], attributes: {}, ...principal },
    label,
    createdAt: now,
    expiresAt
  })
  return { keyId: parts.keyId, key: formatApiKey(parts), expiresAt }
}
