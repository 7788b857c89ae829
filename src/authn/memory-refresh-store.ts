import { guardError } from '../errors.ts'
import { integer, object, withDefault } from '../options.ts'
import { maxFollowers, type RefreshFamily, type RefreshStore } from './refresh-store.ts'

export interface MemoryRefreshStoreOptions {
  /** Default 100,000. When it is full, no family begins: one that made room would be a session that ended for another's sake. */
  readonly maxFamilies?: number
}

interface Entry {
  readonly family: RefreshFamily
  /** Digests of the tokens that may be used. */
  readonly live: readonly string[]
  /** Digest of the token that they followed, and when it was used first. */
  readonly used: string
  readonly usedAt: number
}

const readOptions = object({ maxFamilies: withDefault(integer({ min: 1 }), 100_000) })

/** Refresh families of this process, which end with it. */
export function memoryRefreshStore (options: MemoryRefreshStoreOptions = {}): RefreshStore {
  const { maxFamilies } = readOptions(options, 'memoryRefreshStore')
  const entries = new Map<string, Entry>()

  function entryOf (familyId: string, now: number): Entry | undefined {
    const entry = entries.get(familyId)
    if (entry === undefined || now < entry.family.expiresAt) return entry
    entries.delete(familyId)
    return undefined
  }

  return {
    async begin (family, digest, now) {
      // In the order in which they began, which is nearly that in which they end: as a rule the first to look at is the last.
      for (const [familyId, entry] of entries) {
        if (now < entry.family.expiresAt) break
        entries.delete(familyId)
      }
      if (entries.size >= maxFamilies) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'refresh-store-full' })
      entries.set(family.familyId, { family, live: [digest], used: '', usedAt: 0 })
    },
    find: async (familyId, now) => entryOf(familyId, now)?.family ?? null,
    async turn ({ familyId, used, next, content, now, graceMs }) {
      const entry = entryOf(familyId, now)
      if (entry === undefined) return 'gone'
      const family = content === undefined ? entry.family : { ...entry.family, content }
      if (entry.live.includes(used)) {
        entries.set(familyId, { family, live: [next], used, usedAt: now })
        return 'turned'
      }
      if (used === entry.used && now < entry.usedAt + graceMs && entry.live.length < maxFollowers) {
        entries.set(familyId, { ...entry, family, live: [...entry.live, next] })
        return 'turned'
      }
      entries.delete(familyId)
      return 'reused'
    },
    async end (familyId) { entries.delete(familyId) }
  }
}
