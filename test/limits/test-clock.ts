import type { Limiter } from '../../src/limits/limiter.ts'

/** A limiter that counts nothing yet, and its clock. */
export interface TestedLimiter {
  readonly limiter: Limiter
  readonly clock: TestClock
}

/** Whole microseconds since the epoch. */
export interface TestClock { now: number }

/** A clock at a time like today's, so that numbers are as long as they will be. */
export function testClock (): TestClock {
  return { now: 1_800_000_000_123_457 }
}

export const second = 1_000_000
