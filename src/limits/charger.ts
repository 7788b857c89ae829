import { guardError, type GuardError } from '../errors.ts'
import type { Violations } from './backoff.ts'
import type { Blocks } from './blocks.ts'
import { everybodysRequest, ownRequest, type Asker } from './charge-request.ts'
import { consumeBoth, type BothOutcome, type Charged } from './consume-both.ts'
import type { Exceptions } from './exceptions.ts'
import { limiterUnavailable } from './limiter-unavailable.ts'
import type { Limiter, LimitOutcome } from './limiter.ts'
import type { LoadRequest } from './load-control.ts'
import type { Plan } from './plan.ts'
import { isOwnWindow, planUnder } from './raised-plan.ts'
import type { Tiers } from './tiers.ts'

/** A request that is to be charged. */
export interface Chargeable extends Asker {
  /** Of the principal. */
  readonly tier: string
  /** To which the policy obliges; `undefined` for the principal's own. */
  readonly obligedTier: string | undefined
  /** Whole units. */
  readonly cost: number
}

/** What came of it. */
export interface Verdict {
  /** Why it is refused; `undefined` when it was charged. */
  readonly refusal: GuardError | undefined
  /** Under what it was judged, and how; `undefined` where it did not come so far. */
  readonly judged: { readonly plan: Plan, readonly outcome: LimitOutcome } | undefined
  /** What was taken. */
  readonly charged: readonly Charged[]
}

/** Sheds load before anything is charged. */
export interface Shedding {
  /** The refusal of a request, or `undefined` when it is admitted. */
  refusal (request: LoadRequest): GuardError | undefined
  /** An admitted request was refused before it cost anything. */
  giveBack (request: LoadRequest): void
}

/** What requests are charged by. */
export interface ChargerParts {
  readonly limiter: Limiter
  readonly tiers: Tiers
  readonly blocks: Blocks
  readonly exceptions: Exceptions | undefined
  readonly violations: Violations | null
  readonly shedding: Shedding | undefined
}

/** Charges requests. */
export interface Charger {
  /** Costs nothing, asks nobody. @returns the refusal of a principal that is blocked. */
  blocked (principal: string): GuardError | undefined
  /** Neither throws nor rejects: what cannot be counted is refused. */
  charge (request: Chargeable): Verdict | Promise<Verdict>
}

/** Charges under the plan of a tier as exceptions make it, after load was shed; counts refusals that are the principal's own doing. */
export function charger ({ limiter, tiers, blocks, exceptions, violations, shedding }: ChargerParts): Charger {
  return { blocked, charge }

  function blocked (principal: string): GuardError | undefined {
    const seconds = blocks.secondsLeft(principal)
    return seconds === 0 ? undefined : guardError('FMG_ERR_PRINCIPAL_BLOCKED', { reason: 'principal-blocked', headers: { 'retry-after': String(seconds) } })
  }

  function charge (request: Chargeable): Verdict | Promise<Verdict> {
    const { principal, obligedTier, cost } = request
    const plan = obligedTier === undefined ? ownPlan(request) : planBeside(obligedTier, request.model)
    if (plan === undefined) return refused(guardError('FMG_ERR_POLICY_UNAVAILABLE', { reason: 'tier-unknown', headers: { 'retry-after': '1' } }))
    const asked = { tier: obligedTier ?? request.tier, principal, cost }
    const overload = shedding?.refusal(asked)
    if (overload !== undefined) return refused(overload)
    try {
      const answer = consumeBoth(limiter, ownRequest(plan, request, cost), everybodysRequest(plan, request, cost))
      if (answer instanceof Promise) return answer.then((both) => conclude(request, plan, asked, both), (error: unknown) => giveUp(asked, error))
      return conclude(request, plan, asked, answer)
    } catch (error) {
      return giveUp(asked, error)
    }
  }

  function planBeside (tier: string, model: string | undefined): Plan | undefined {
    try {
      return tiers.planBeside(tier, model)
    } catch {
      // A policy that was read again may oblige to a tier whose names are too long for that: at boot it would have been refused.
      return undefined
    }
  }

  function ownPlan ({ principal, tier, model }: Chargeable): Plan {
    const exception = exceptions?.find(principal)
    const plan = tiers.planOf(tier, model)
    return exception === undefined ? plan : planUnder(plan, exception, model)
  }

  function conclude (request: Chargeable, plan: Plan, asked: LoadRequest, { outcome, charged }: BothOutcome): Verdict | Promise<Verdict> {
    if (outcome.allowed) return { refusal: undefined, judged: { plan, outcome }, charged }
    shedding?.giveBack(asked)
    const verdict = { refusal: exceeded(outcome), judged: { plan, outcome }, charged }
    // Others may have exhausted a window that is not its own: nobody can have another blocked.
    if (violations === null || !isOwnWindow(plan, outcome.window)) return verdict
    return violations.note(request.principal, request.org ?? request.principal).then(() => verdict)
  }

  function giveUp (asked: LoadRequest, error: unknown): Verdict {
    shedding?.giveBack(asked)
    return refused(limiterUnavailable(error))
  }
}

function refused (refusal: GuardError): Verdict {
  return { refusal, judged: undefined, charged: [] }
}

function exceeded ({ window, retryAfterSeconds }: LimitOutcome): GuardError {
  return guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: `quota-${window.name}`, headers: { 'retry-after': String(retryAfterSeconds) } })
}
