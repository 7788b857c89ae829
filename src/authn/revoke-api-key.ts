import type { KeyStore } from './key-store.ts'

/** Ends a key, both of its secrets, at once and for good; `false` when there is none of this id. The first revocation is the one that is kept. */
export async function revokeApiKey (store: KeyStore, keyId: string, now = Date.now()): Promise<boolean> {
  let known = false
  await store.update(keyId, (record) => {
    known = true
    return record.revokedAt === undefined ? { ...record, revokedAt: now } : null
  })
  return known
}
