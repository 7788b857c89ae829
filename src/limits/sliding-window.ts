import type { Window } from './limiter.ts'

/**
 * Parts of a window within which spending is remembered as one.
 * A unit is counted for `windowSeconds` at least, and for a tenth more at most: never less, so no window of that
 * length, wherever it begins, holds more than its quota. What is spent alone is forgotten to the microsecond.
 */
export const subWindows = 10

/** Spending within one sub-window. Forgotten as a whole, when its last unit is a window old. */
interface Bucket {
  /** Microseconds. */
  readonly first: number
  /** Microseconds; less than a sub-window after `first`. */
  last: number
  cost: number
}

/** What one window of one key counts. Times are whole microseconds of one clock. */
export interface WindowCount {
  /** As last asked for: its quota may change while it counts. */
  window: Window
  readonly lengthMicroseconds: number
  /** Units in all buckets. */
  total: number
  /** Oldest first, at most one more than there are sub-windows. */
  readonly buckets: Bucket[]
}

/** A window that counts nothing yet. */
export function emptyCount (window: Window): WindowCount {
  return { window, lengthMicroseconds: window.windowSeconds * 1e6, total: 0, buckets: [] }
}

/** Whether this is the count of that window: its quota may have changed, its name and length may not. */
export function isCountOf (count: WindowCount, window: Window): boolean {
  return count.window.name === window.name && count.window.windowSeconds === window.windowSeconds
}

/**
 * Forgets what is a window old. Comes before every other question to a count.
 * A clock that goes back forgets nothing: the count stands still until the clock has caught up, or, when that would
 * take longer than a window, counts everything as spent now.
 */
export function settle (count: WindowCount, now: number): void {
  const { buckets, lengthMicroseconds } = count
  const newest = buckets.at(-1)
  if (newest !== undefined && newest.last - now > lengthMicroseconds) {
    buckets.splice(0, buckets.length, { first: now, last: now, cost: count.total })
  }
  for (let oldest = buckets[0]; oldest !== undefined && oldest.last + lengthMicroseconds <= now; oldest = buckets[0]) {
    count.total -= oldest.cost
    buckets.shift()
  }
}

/**
 * Microseconds until this cost fits, when nothing else is spent; 0 when it fits now.
 * A cost above the quota never fits, and is told to wait a whole window.
 */
export function waitFor (count: WindowCount, cost: number, now: number): number {
  const { quota } = count.window
  // Not `cost > quota`: a quota that is no number refuses.
  if (!(cost <= quota)) return count.lengthMicroseconds
  let excess = count.total - (quota - cost)
  let wait = 0
  for (const bucket of count.buckets) {
    if (excess <= 0) break
    excess -= bucket.cost
    wait = bucket.last + count.lengthMicroseconds - now
  }
  return wait
}

/** Microseconds until there is more room than now; 0 when nothing is counted. */
export function untilMoreRoom (count: WindowCount, now: number): number {
  const oldest = count.buckets[0]
  return oldest === undefined ? 0 : oldest.last + count.lengthMicroseconds - now
}

/** Counts this cost. Whether it fits was asked before. */
export function spend (count: WindowCount, cost: number, now: number): void {
  const newest = count.buckets.at(-1)
  if (newest !== undefined && now < newest.first + count.lengthMicroseconds / subWindows) {
    newest.last = Math.max(newest.last, now)
    newest.cost += cost
  } else {
    count.buckets.push({ first: now, last: now, cost })
  }
  count.total += cost
}
