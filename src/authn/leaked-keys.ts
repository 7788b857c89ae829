import { isGuardError } from '../errors.ts'
import { apiKeyPattern, parseApiKey } from './api-key-format.ts'
import { digestsEqual, keyDigest } from './key-digest.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'

/** What a text held that was found in public. */
export interface LeakedKeys {
  /** Whether there was a key in it that this store knows, secret and all, whether or not it still worked. */
  readonly isGenuine: boolean
  /** Records of keys that were ended by this. */
  readonly ended: readonly KeyRecord[]
}

const everyKey = new RegExp(apiKeyPattern.source, 'g')

/**
 * Ends every API key in a text that was found in public: one whose id and secret are both right, so that nobody ends another's key by its
 * public id. Of a key that was rotated, the secret before ends its grace, and the one after, which nobody saw, lives on.
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_KEY_UNAVAILABLE
 */
export async function endLeakedKeys (store: KeyStore, pepper: Uint8Array, text: string, now: number): Promise<LeakedKeys> {
  const ended: KeyRecord[] = []
  let isGenuine = false
  for (const [key] of text.matchAll(everyKey)) {
    const keyId = parseApiKey(key)?.keyId
    const digest = keyDigest(pepper, key)
    if (keyId === undefined || !isOf(await findRecord(store, keyId), digest)) continue
    isGenuine = true
    const record = await store.update(keyId, (known) => withoutSecret(known, digest, now))
    if (record !== null) ended.push(record)
  }
  return { isGenuine, ended }
}

async function findRecord (store: KeyStore, keyId: string): Promise<KeyRecord | null> {
  try {
    return await store.find(keyId)
  } catch (error) {
    // A forged record is refused as it is: there is nothing to end, and the next key of the text is still to be looked at.
    if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) return null
    throw error
  }
}

function isOf (record: KeyRecord | null, digest: string): boolean {
  return record !== null && [record.digest, record.previous?.digest].some((known) => known !== undefined && digestsEqual(digest, known))
}

function withoutSecret (record: KeyRecord, digest: string, now: number): KeyRecord | null {
  if (record.revokedAt !== undefined) return null
  if (digestsEqual(digest, record.digest)) return { ...record, revokedAt: now }
  return isOf(record, digest) ? { ...record, previous: undefined } : null
}
