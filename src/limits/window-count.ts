import { endOfPeriod, longest } from './calendar.ts'
import type { Window } from './windows.ts'

/**
 * Parts of a sliding window within which spending is remembered as one.
 * A unit is counted for `windowSeconds` at least, and for a tenth more at most: never less, so no window of that
 * length, wherever it begins, holds more than its quota. What is spent alone is forgotten to the microsecond.
 */
export const subWindows = 10

/** Spending within one sub-window, or within one day or month. Forgotten as a whole. */
interface Bucket {
  /** Microseconds. */
  readonly first: number
  /** Microseconds; less than a sub-window after `first`. Of a day or a month: its end. */
  last: number
  cost: number
}

/** What one window of one key counts. Times are whole microseconds of one clock. */
export interface WindowCount {
  /** As last asked for: its quota may change while it counts. */
  window: Window
  /** Microseconds from `last` until a bucket is forgotten: the length of a sliding window; 0 where `last` is the end of a day or month. */
  readonly length: number
  /** Microseconds that `last` may lie ahead of a clock that was set back, before its time is taken for the true one. */
  readonly reach: number
  /** Units in all buckets. */
  total: number
  /** Oldest first, at most one more than there are sub-windows. */
  readonly buckets: Bucket[]
}

/** A window that counts nothing yet. */
export function emptyCount (window: Window): WindowCount {
  const { windowSeconds, per } = window
  const length = windowSeconds === undefined ? 0 : windowSeconds * 1e6
  return { window, length, reach: per === undefined ? length : 2 * longest[per], total: 0, buckets: [] }
}

/** Whether this is the count of that window: its quota may have changed, its name and length may not. */
export function isCountOf ({ window: own }: WindowCount, window: Window): boolean {
  return own.name === window.name && own.windowSeconds === window.windowSeconds && own.per === window.per
}

/**
 * Forgets what is a window old. Comes before every other question to a count.
 * A clock that goes back forgets nothing: the count stands still until the clock has caught up, or, when that would
 * take longer than a window, counts everything as spent now.
 */
export function expire (count: WindowCount, now: number): void {
  const { buckets, length } = count
  const newest = buckets.at(-1)
  if (newest !== undefined && newest.last - now > count.reach) {
    const at = stampOf(count.window, now)
    buckets.splice(0, buckets.length, { first: at, last: at, cost: count.total })
  }
  for (let oldest = buckets[0]; oldest !== undefined && oldest.last + length <= now; oldest = buckets[0]) {
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
  if (!(cost <= quota)) return wholeWindow(count, now)
  let excess = count.total - (quota - cost)
  let wait = 0
  for (const bucket of count.buckets) {
    if (excess <= 0) break
    excess -= bucket.cost
    wait = bucket.last + count.length - now
  }
  return wait
}

/** Microseconds until all that was spent now is forgotten. */
export function wholeWindow ({ window, length }: WindowCount, now: number): number {
  return stampOf(window, now) + length - now
}

/** Microseconds until there is more room than now; 0 when nothing is counted. */
export function untilMoreRoom (count: WindowCount, now: number): number {
  // What was given back whole frees nothing when it is forgotten.
  const oldest = count.buckets.find(({ cost }) => cost > 0)
  return oldest === undefined ? 0 : oldest.last + count.length - now
}

/** Counts this cost. Whether it fits was asked before. */
export function spend (count: WindowCount, cost: number, now: number): void {
  const newest = count.buckets.at(-1)
  if (newest !== undefined && now < newest.first + count.length / subWindows) {
    newest.last = Math.max(newest.last, now)
    newest.cost += cost
  } else {
    const at = stampOf(count.window, now)
    count.buckets.push({ first: at, last: at, cost })
  }
  count.total += cost
}

/**
 * Gives back what was spent at this time, if it still counts.
 * Taken from the oldest bucket that may hold it: what remains is then forgotten late, never early.
 */
export function giveBack (count: WindowCount, cost: number, at: number, now: number): void {
  const stamp = stampOf(count.window, at)
  if (stamp + count.length <= now) return
  const bucket = count.buckets.find(({ last }) => last >= stamp)
  if (bucket === undefined) return
  const given = Math.min(cost, bucket.cost)
  bucket.cost -= given
  count.total -= given
}

/** The time that what is spent now bears. */
function stampOf ({ per }: Window, now: number): number {
  return per === undefined ? now : endOfPeriod(per, now)
}
