import { guardError } from '../errors.ts'

/** Remembers what may be used only once. */
export interface ReplayStore {
  /**
   * Whether this was not seen before; from now on it was.
   * @param id without any secret.
   * @param lifetimeMs how long it must be remembered.
   * @throws FMG_ERR_REPLAY_UNAVAILABLE when that cannot be known.
   */
  remember (id: string, lifetimeMs: number): boolean | Promise<boolean>
}

export interface MemoryReplayStoreOptions {
  /** Default 100,000. */
  readonly maxEntries?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

/** A replay store of this process. When it is full it refuses: an entry that made room could be used again. */
export function memoryReplayStore ({ maxEntries = 100_000, clock = Date.now }: MemoryReplayStoreOptions = {}): ReplayStore {
  const entries = new Map<string, number>()

  // In the order they came, which is nearly that in which they end: as a rule the first to look at is the last.
  function forgetEnded (now: number): void {
    for (const [id, end] of entries) {
      if (end > now) return
      entries.delete(id)
    }
  }

  return {
    remember (id, lifetimeMs) {
      const now = clock()
      forgetEnded(now)
      if ((entries.get(id) ?? 0) > now) return false
      entries.delete(id)
      if (entries.size >= maxEntries) throw guardError('FMG_ERR_REPLAY_UNAVAILABLE', { reason: 'replay-store-full' })
      entries.set(id, now + lifetimeMs)
      return true
    }
  }
}
