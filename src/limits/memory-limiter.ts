import { guardError } from '../errors.ts'
import { functionOf, integer, object, oneOf, withDefault } from '../options.ts'
import { arrange, type Budget } from './budget.ts'
import { budgetShelf, type Place } from './budget-shelf.ts'
import { settleInAll, spendInAll, type Asked } from './decision.ts'
import { checkLimitRequest, readDifference } from './limit-request.ts'
import type { BudgetRequest, Charge, Limiter, LimitOutcome, LimitRequest } from './limiter.ts'
import { countedWindows } from './shared-window.ts'
import type { Window } from './windows.ts'

export interface MemoryLimiterOptions {
  /** Budgets remembered at once, about 1.2 kB each with three windows. Default 100,000. Let it exceed the number of principals. */
  readonly maxKeys?: number
  /**
   * What is done with a new budget when so many are remembered: another one is forgotten for it, or it is refused until one has run out.
   * Default `forget`.
   */
  readonly whenFull?: 'forget' | 'refuse'
  /** Milliseconds since the epoch, fractions allowed. Default: the time at which this process began, and `performance.now`, which no one can set back. */
  readonly now?: () => number
}

/** A limiter that answers at once. */
export interface MemoryLimiter extends Limiter {
  /** @throws FMG_ERR_LIMITER_UNAVAILABLE with reason `limiter-full`, where that is what was chosen. */
  consume (request: LimitRequest): LimitOutcome
  settle (request: LimitRequest, charge: Charge, difference: number): void
  /** Budgets remembered now. */
  readonly size: number
}

// Read once: the getter takes longer than the clock.
const processBegan = performance.timeOrigin

const readOptions = object({
  maxKeys: withDefault(integer({ min: 1 }), 100_000),
  whenFull: withDefault(oneOf<'forget' | 'refuse'>('forget', 'refuse'), 'forget'),
  now: withDefault(functionOf<() => number>(), () => processBegan + performance.now())
})

/** A budget that was not asked for before. */
interface Unknown {
  readonly place: Place
  readonly budget: Budget
}

/**
 * Counts in this process alone, and forgets when it ends.
 *
 * When full, a new budget takes the place of old ones: of the next 16 in turn, all that have run out go, or else the
 * one that has used the smallest part of its quota. So a flood of new keys pushes out its own, and an exhausted
 * budget is forgotten only among a thousand others as exhausted.
 */
export function memoryLimiter (options: MemoryLimiterOptions = {}): MemoryLimiter {
  const { maxKeys, whenFull, now } = readOptions(options, 'memoryLimiter')
  const shelf = budgetShelf(maxKeys)

  return {
    get size () { return shelf.size },

    consume (request) {
      checkLimitRequest(request)
      const time = microseconds()
      const unknown: Unknown[] = []
      const asked: Asked[] = []
      for (const budget of request.budgets) gather(request.group, budget, time, asked, unknown)
      if (whenFull === 'refuse' && !shelf.hasPlaces(unknown.length, time)) throw guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'limiter-full' })
      const outcome = spendInAll(asked, request.cost, time)
      // A refused stranger leaves nothing behind.
      if (outcome.allowed) for (const { place, budget } of unknown) shelf.add(place, budget, time)
      return outcome
    },

    settle (request, charge, difference) {
      const corrected = readDifference(request, difference)
      const time = microseconds()
      const unknown: Unknown[] = []
      const asked: Asked[] = []
      for (const budget of request.budgets) gather(request.group, budget, time, asked, unknown)
      settleInAll(asked, charge, corrected, time)
      if (corrected > 0) for (const { place, budget } of unknown) shelf.add(place, budget, time)
    }
  }

  function microseconds (): number {
    return Math.round(now() * 1000)
  }

  /** Puts what is asked of one budget behind what is asked of others. */
  function gather (group: string, { key, windows, sharer }: BudgetRequest, time: number, asked: Asked[], unknown: Unknown[]): void {
    const { together, own } = countedWindows(windows)
    const counts = arranged({ group, key, sharer: undefined }, together, time, unknown)
    const ownCounts = sharer === undefined || own.length === 0 ? [] : arranged({ group, key, sharer }, own, time, unknown)
    let shares = 0
    for (const [index, count] of counts.entries()) {
      if (index === windows.length) break
      const [pool, ownCount] = count.window.share === undefined ? [] : [counts[windows.length + shares], ownCounts[shares++]]
      asked.push({ count, shared: pool === undefined || ownCount === undefined ? undefined : { pool, own: ownCount } })
    }
  }

  function arranged (place: Place, windows: readonly Window[], time: number, unknown: Unknown[]): Budget['asked'] {
    const known = shelf.find(place)
    const budget = arrange(known ?? { asked: [], others: [] }, windows, time)
    if (known === undefined) unknown.push({ place, budget })
    return budget.asked
  }
}
