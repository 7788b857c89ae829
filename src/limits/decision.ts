import type { Charge, LimitOutcome } from './limiter.ts'
import { expireShared, giveBackShared, sharedQuota, sharedRoom, sharedWait, spendShared, untilMoreSharedRoom, type SharedCount } from './shared-window.ts'
import { expire, giveBack, spend, untilMoreRoom, waitFor, type WindowCount } from './window-count.ts'
import type { Window } from './windows.ts'

/** One window that a request is judged by, and what it counts. */
export interface Asked {
  readonly count: WindowCount
  /** Where the window has shares and the request names who takes one. */
  readonly shared: SharedCount | undefined
}

/**
 * Spends a cost in all of these windows, or, when any of them has no room, in none.
 * Judged by the window with the longest wait, or else by the one with the smallest share left; of equals, by the first.
 */
export function spendInAll (asked: readonly Asked[], cost: number, now: number): LimitOutcome {
  let longest = 0
  let refusing: Asked | undefined
  for (const one of asked) {
    expireAll(one, now)
    const wait = waitOf(one, cost, now)
    // Not `wait > longest`: under a broken clock a wait that is no number refuses.
    if (!(wait <= longest)) {
      longest = wait
      refusing = one
    }
  }
  if (refusing !== undefined) return outcomeOf(refusing, now, longest, undefined)
  const pooled: number[] = []
  for (const { count, shared } of asked) {
    spend(count, cost, now)
    if (shared !== undefined) pooled.push(spendShared(shared, cost, now))
  }
  return outcomeOf(asked.reduce(tighter), now, 0, { at: now, pooled })
}

/** Spends more, whatever the quotas, or gives back what was charged. */
export function settleInAll (asked: readonly Asked[], { at, pooled }: Charge, difference: number, now: number): void {
  let shares = 0
  for (const one of asked) {
    const { count, shared } = one
    expireAll(one, now)
    const ofPool = shared === undefined ? 0 : pooled[shares++] ?? 0
    if (difference > 0) {
      spend(count, difference, now)
      if (shared !== undefined) spendShared(shared, difference, now)
    } else {
      giveBack(count, -difference, at, now)
      if (shared !== undefined) giveBackShared(shared, -difference, ofPool, at, now)
    }
  }
}

/**
 * Puts a decision into whole seconds, rounded up: who waits that long has waited long enough.
 * @param remaining units left.
 * @param untilMore microseconds until there is more room.
 * @param wait microseconds; 0 when allowed.
 */
export function limitOutcome (window: Window, remaining: number, untilMore: number, wait: number, charge: Charge | undefined): LimitOutcome {
  return {
    allowed: wait === 0,
    window,
    remaining: Math.max(0, remaining),
    resetSeconds: Math.ceil(untilMore / 1e6),
    retryAfterSeconds: Math.ceil(wait / 1e6),
    charge
  }
}

function outcomeOf ({ count, shared }: Asked, now: number, wait: number, charge: Charge | undefined): LimitOutcome {
  const left = count.window.quota - count.total
  const ofShare = shared === undefined ? Infinity : sharedRoom(shared)
  return shared === undefined || left <= ofShare
    ? limitOutcome(count.window, left, untilMoreRoom(count, now), wait, charge)
    : limitOutcome(count.window, ofShare, untilMoreSharedRoom(shared, now), wait, charge)
}

function waitOf ({ count, shared }: Asked, cost: number, now: number): number {
  const wait = waitFor(count, cost, now)
  return shared === undefined ? wait : Math.max(wait, sharedWait(shared, cost, now))
}

function expireAll ({ count, shared }: Asked, now: number): void {
  expire(count, now)
  if (shared !== undefined) expireShared(shared, now)
}

function tighter (a: Asked, b: Asked): Asked {
  return partUsed(b) > partUsed(a) ? b : a
}

/** How much of what it may have in this window has been used: 1 is all of it. */
function partUsed ({ count, shared }: Asked): number {
  const used = partOf(count)
  return shared === undefined ? used : Math.max(used, 1 - sharedRoom(shared) / sharedQuota(shared))
}

/** How much of its quota a count has used. */
export function partOf ({ total, window }: WindowCount): number {
  // A pool may have no quota at all.
  return total === 0 ? 0 : total / window.quota
}
