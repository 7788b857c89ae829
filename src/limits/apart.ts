import { guardError } from '../errors.ts'
import { debts, type Debts } from './debts.ts'
import { checkLimitRequest, readDifference } from './limit-request.ts'
import type { BudgetRequest, Charge, LimitOutcome, LimitRequest } from './limiter.ts'
import { memoryLimiter } from './memory-limiter.ts'
import { outagePlan, partQuota, wholeOf, type OutagePlan } from './outage-plan.ts'
import type { Window } from './windows.ts'

export interface ApartOptions {
  /** Among how many nodes the quotas are divided; `undefined` while this is not known. */
  readonly nodes: { readonly highest: number | undefined }
  readonly maxKeys: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Decides without the store that counts for all nodes, as each window says. */
export interface Apart {
  /**
   * @param cause why the store did not answer, where it was asked.
   * @throws FMG_ERR_LIMITER_UNAVAILABLE where a window denies, or a part of one cannot be enforced.
   */
  decide (request: LimitRequest, cause?: Error): LimitOutcome
  /** Whether a charge was made here; if so it is settled. */
  settle (charge: Charge, difference: number): boolean
  /** Remembers what was spent and the store was not told. What exceeds the memory is lost. */
  owe (request: LimitRequest, cost: number): void
  readonly debts: Debts
}

interface LocalCharge {
  readonly request: LimitRequest
  /** The budgets with the windows that are enforced, whole. */
  readonly budgets: readonly BudgetRequest[]
}

interface Planned {
  readonly budget: BudgetRequest
  readonly plan: OutagePlan
}

/** Of a request of which nothing is counted. */
const nothing: Charge = Object.freeze({ at: 0, pooled: [] })

export function apart ({ nodes, maxKeys, now }: ApartOptions): Apart {
  const memory = memoryLimiter({ maxKeys, now, whenFull: 'refuse' })
  const owed = debts(maxKeys)
  const charges = new WeakMap<Charge, LocalCharge>()

  return {
    decide,
    debts: owed,

    settle (charge, difference) {
      if (charge === nothing) return true
      const local = charges.get(charge)
      if (local === undefined) return false
      const { request, budgets } = local
      const corrected = readDifference(request, difference)
      memory.settle(request, charge, corrected)
      if (corrected > 0) owe(request.group, budgets, corrected)
      else for (const budget of budgets) owed.giveBack(request.group, budget, -corrected, charge.at, microseconds())
      return true
    },

    owe ({ group, budgets }, cost) {
      if (owed.hasRoom(group, budgets, microseconds())) owe(group, budgets, cost)
    }
  }

  function microseconds (): number {
    return Math.round(now() * 1000)
  }

  function decide (request: LimitRequest, cause?: Error): LimitOutcome {
    checkLimitRequest(request)
    const planned = request.budgets.map((budget) => ({ budget, plan: outagePlan(budget.windows) }))
    if (planned.some(({ plan }) => plan.denies)) throw cause ?? unavailable('limiter-outage')
    const local = planned.filter(({ plan }) => plan.local.length > 0)
    return local.length === 0 ? unlimited(request) : decideLocally(request, local)
  }

  function decideLocally ({ group, cost }: LimitRequest, planned: readonly Planned[]): LimitOutcome {
    const count = nodes.highest
    if (count === undefined) throw unavailable('limiter-nodes-unknown')
    const isTooSmall = (window: Window): boolean => cost <= window.quota && cost > partQuota(window, count)
    // The caller did nothing wrong, and all nodes together would have room.
    if (planned.some(({ plan }) => plan.local.some(isTooSmall))) throw unavailable('limiter-part-too-small')
    const budgets = planned.map(({ budget, plan }) => ({ ...budget, windows: plan.local }))
    if (!owed.hasRoom(group, budgets, microseconds())) throw unavailable('limiter-full')
    const request = { group, budgets: planned.map(({ budget, plan }) => ({ ...budget, windows: plan.partsFor(count) })), cost }
    const outcome = memory.consume(request)
    if (outcome.charge !== undefined) {
      charges.set(outcome.charge, { request, budgets })
      owe(group, budgets, cost)
    }
    return { ...outcome, window: wholeOf(outcome.window) }
  }

  function owe (group: string, budgets: readonly BudgetRequest[], cost: number): void {
    for (const budget of budgets) owed.add(group, budget, cost, microseconds())
  }
}

function unlimited ({ budgets }: LimitRequest): LimitOutcome {
  const window = budgets.flatMap(({ windows }) => windows).reduce((first) => first)
  return { allowed: true, window, remaining: window.quota, resetSeconds: 0, retryAfterSeconds: 0, charge: nothing }
}

function unavailable (reason: string): Error {
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason })
}
