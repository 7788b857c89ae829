import { functionOf, integer, object, withDefault } from '../options.ts'
import { arrange, largestShare, type Budget } from './budget.ts'
import { spendInAll } from './decision.ts'
import type { Limiter, LimitOutcome, LimitRequest } from './limiter.ts'
import { checkLimitRequest } from './windows.ts'

export interface MemoryLimiterOptions {
  /** Budgets remembered at once, about 1.2 kB each with three windows. Default 100,000. Let it exceed the number of principals. */
  readonly maxKeys?: number
  /** Milliseconds, fractions allowed. Default `performance.now`, which no one can set back. */
  readonly now?: () => number
}

/** A limiter that answers at once. */
export interface MemoryLimiter extends Limiter {
  consume (request: LimitRequest): LimitOutcome
}

const readOptions = object({
  maxKeys: withDefault(integer({ min: 1 }), 100_000),
  now: withDefault(functionOf<() => number>(), () => performance.now())
})

/** How many budgets are looked at to find the one that makes room for another. */
const candidates = 16

/**
 * Counts in this process alone, and forgets when it ends.
 *
 * When full, a new budget takes the place of old ones: of the next 16 in turn, all that have run out go, or else the
 * one that has used the smallest share of its quota. So a flood of new keys pushes out its own, and an exhausted
 * budget is forgotten only among others as exhausted.
 */
export function memoryLimiter (options: MemoryLimiterOptions = {}): MemoryLimiter {
  const { maxKeys, now } = readOptions(options, 'memoryLimiter')
  const budgets = new Map<string, Budget>()
  let turn = budgets.entries()

  return { consume }

  function consume (request: LimitRequest): LimitOutcome {
    checkLimitRequest(request)
    const time = Math.round(now() * 1000)
    // The length keeps `a` + `bc` apart from `ab` + `c`.
    const id = `${request.group.length}:${request.group}${request.key}`
    const known = budgets.get(id)
    const budget = arrange(known ?? { asked: [], others: [] }, request.windows, time)
    const outcome = spendInAll(budget.asked, request.cost, time)
    // A refused stranger leaves nothing behind.
    if (known === undefined && outcome.allowed) {
      if (budgets.size >= maxKeys) makeRoom(time)
      budgets.set(id, budget)
    }
    return outcome
  }

  function makeRoom (time: number): void {
    let leastUsed = ''
    let smallest = Infinity
    for (let looks = 0; looks < candidates; looks++) {
      const step = turn.next()
      if (step.done === true) {
        turn = budgets.entries()
        continue
      }
      const [id, budget] = step.value
      const share = largestShare(budget, time)
      if (share === 0) budgets.delete(id)
      if (share < smallest) {
        smallest = share
        leastUsed = id
      }
    }
    budgets.delete(leastUsed)
  }
}
