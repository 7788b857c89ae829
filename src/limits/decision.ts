import type { LimitOutcome, Window } from './limiter.ts'
import { settle, spend, untilMoreRoom, waitFor, type WindowCount } from './sliding-window.ts'

/**
 * Spends a cost in all of these windows, or, when any of them has no room, in none.
 * Judged by the window with the longest wait, or else by the one with the smallest share left; of equals, by the first.
 */
export function spendInAll (counts: readonly WindowCount[], cost: number, now: number): LimitOutcome {
  let longest = 0
  let refusing: WindowCount | undefined
  for (const count of counts) {
    settle(count, now)
    const wait = waitFor(count, cost, now)
    // Not `wait > longest`: under a broken clock a wait that is no number refuses.
    if (!(wait <= longest)) {
      longest = wait
      refusing = count
    }
  }
  if (refusing !== undefined) return outcomeOf(refusing, now, longest)
  for (const count of counts) spend(count, cost, now)
  return outcomeOf(counts.reduce(tighter), now, 0)
}

function tighter (a: WindowCount, b: WindowCount): WindowCount {
  return shareUsed(b) > shareUsed(a) ? b : a
}

/** How much of its quota a count has used: 1 is all of it. */
export function shareUsed ({ total, window }: WindowCount): number {
  return total / window.quota
}

function outcomeOf (count: WindowCount, now: number, wait: number): LimitOutcome {
  return limitOutcome(count.window, count.total, untilMoreRoom(count, now), wait)
}

/**
 * Puts a decision into whole seconds, rounded up: who waits that long has waited long enough.
 * @param used units that the window counts.
 * @param untilMoreRoom microseconds.
 * @param wait microseconds; 0 when allowed.
 */
export function limitOutcome (window: Window, used: number, untilMoreRoom: number, wait: number): LimitOutcome {
  return {
    allowed: wait === 0,
    window,
    remaining: Math.max(0, window.quota - used),
    resetSeconds: Math.ceil(untilMoreRoom / 1e6),
    retryAfterSeconds: Math.ceil(wait / 1e6)
  }
}
