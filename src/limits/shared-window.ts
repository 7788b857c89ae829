import { expire, giveBack, spend, untilMoreRoom, wholeWindow, type WindowCount } from './window-count.ts'
import type { Share, Window } from './windows.ts'

/**
 * The counts behind a window with shares. What a principal spends goes into its own count until its share is full, and from then on
 * into the pool, which is what the shares of all leave: so no one can spend what is kept for another.
 */
export interface SharedCount {
  readonly pool: WindowCount
  readonly own: WindowCount
}

/** What is counted for a list of windows. */
export interface CountedWindows {
  /** Under the key of the budget: the windows, and behind them a pool for each that has shares. */
  readonly together: readonly Window[]
  /** For each principal that takes its share, in the order of the pools. */
  readonly own: readonly Window[]
}

const known = new WeakMap<readonly Window[], CountedWindows>()

/** The same for the same list. */
export function countedWindows (windows: readonly Window[]): CountedWindows {
  const last = known.get(windows)
  if (last !== undefined) return last
  const shared = windows.flatMap((window) => window.share === undefined ? [] : [{ window, share: window.share }])
  // No window of a user's has a slash in its name.
  const pools = shared.map(({ window, share }) => ({ ...window, name: `${window.name}/pool`, quota: poolQuota(window, share) }))
  const own = shared.map(({ window, share }) => ({ ...window, name: `${window.name}/own`, quota: share.quota }))
  const counted = { together: shared.length === 0 ? windows : [...windows, ...pools], own }
  known.set(windows, counted)
  return counted
}

/** Units that no share keeps. */
export function poolQuota ({ quota }: Window, share: Share): number {
  return quota - share.quota * share.principals
}

/** Units that are left for this principal. */
export function sharedRoom ({ own, pool }: SharedCount): number {
  return room(own, own.total) + room(pool, pool.total)
}

/** Units that this principal may have in one window at most. */
export function sharedQuota ({ own, pool }: SharedCount): number {
  return own.window.quota + pool.window.quota
}

/** As `waitFor`, of what own share and pool have room for together. */
export function sharedWait (count: SharedCount, cost: number, now: number): number {
  const { own, pool } = count
  if (sharedRoom(count) >= cost) return 0
  if (!(cost <= sharedQuota(count))) return wholeWindow(pool, now)
  let [ownTotal, poolTotal, wait] = [own.total, pool.total, 0]
  const endings = [
    ...own.buckets.map(({ last, cost: freed }) => ({ last, ofOwn: freed, ofPool: 0 })),
    ...pool.buckets.map(({ last, cost: freed }) => ({ last, ofOwn: 0, ofPool: freed }))
  ].sort((a, b) => a.last - b.last)
  for (const { last, ofOwn, ofPool } of endings) {
    ownTotal -= ofOwn
    poolTotal -= ofPool
    wait = last + own.length - now
    if (room(own, ownTotal) + room(pool, poolTotal) >= cost) break
  }
  return wait
}

/** As `untilMoreRoom`, of either. */
export function untilMoreSharedRoom ({ own, pool }: SharedCount, now: number): number {
  const waits = [untilMoreRoom(own, now), untilMoreRoom(pool, now)].filter((wait) => wait > 0)
  return waits.length === 0 ? 0 : Math.min(...waits)
}

/** Counts this cost. @returns the units that went into the pool. */
export function spendShared ({ own, pool }: SharedCount, cost: number, now: number): number {
  const ofOwn = Math.min(cost, room(own, own.total))
  if (ofOwn > 0) spend(own, ofOwn, now)
  if (cost > ofOwn) spend(pool, cost - ofOwn, now)
  return cost - ofOwn
}

/** Gives back to the pool what came from it, and the rest to the share. */
export function giveBackShared ({ own, pool }: SharedCount, cost: number, pooled: number, at: number, now: number): void {
  const ofPool = Math.min(cost, pooled)
  if (ofPool > 0) giveBack(pool, ofPool, at, now)
  if (cost > ofPool) giveBack(own, cost - ofPool, at, now)
}

/** Forgets what is a window old. */
export function expireShared ({ own, pool }: SharedCount, now: number): void {
  expire(own, now)
  expire(pool, now)
}

/** Never less than none: what one has overdrawn takes nothing from the other. */
function room ({ window }: WindowCount, total: number): number {
  return Math.max(0, window.quota - total)
}
