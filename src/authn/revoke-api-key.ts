import type { Approved } from '../approval.ts'
import type { KeyStore } from './key-store.ts'

/**
 * Ends a key, both of its secrets, at once and for good; `false` when there is none of this id. The first revocation is the one that is kept.
 * @param approval who asked for it, and who approved, for those who look after keys.
 */
export async function revokeApiKey (store: KeyStore, keyId: string, now = Date.now(), approval?: Approved): Promise<boolean> {
  let known = false
  await store.update(keyId, (record) => {
    known = true
    return record.revokedAt === undefined ? { ...record, approval, revokedAt: now } : null
  })
  return known
}
