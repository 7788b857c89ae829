import type { LimitException, Quotas } from './exception.ts'
import { planOf, type Plan, type PlannedWindow, type Scope } from './plan.ts'
import { readTiers, type TierOptions } from './tiers.ts'
import type { Window } from './windows.ts'

type Plans = WeakMap<Plan, Plan>

const none: Quotas = Object.freeze({})
const known = new WeakMap<Quotas, WeakMap<Quotas, Plans>>()

/**
 * This plan as an exception makes it: other quotas for windows that the principal has alone, never for those of its org or of everybody.
 * The same plan for the same two, as limiters know windows by their lists.
 * @param model for which the plan is.
 */
export function planUnder (plan: Plan, { quotas, models }: Pick<LimitException, 'quotas' | 'models'>, model: string | undefined): Plan {
  const ofModel = (model !== undefined && Object.hasOwn(models, model) ? models[model] : undefined) ?? none
  const plans = plansOf(quotas, ofModel)
  const raised = plans.get(plan) ?? raise(plan, { principal: quotas, 'principal-model': ofModel })
  plans.set(plan, raised)
  return raised
}

function plansOf (quotas: Quotas, ofModel: Quotas): Plans {
  const ofQuotas = known.get(quotas) ?? new WeakMap<Quotas, Plans>()
  const plans: Plans = ofQuotas.get(ofModel) ?? new WeakMap<Plan, Plan>()
  known.set(quotas, ofQuotas.set(ofModel, plans))
  return plans
}

type OwnQuotas = Readonly<Record<OwnScope, Quotas>>
type OwnScope = 'principal' | 'principal-model'

function raise (plan: Plan, quotas: OwnQuotas): Plan {
  return planOf(plan.planned.map(({ of, window }) => ({ of, window: isOwn(of) ? windowUnder(window, quotas[of]) : window })), 'exception')
}

function windowUnder (window: Window, quotas: Quotas): Window {
  const quota = Object.hasOwn(quotas, window.name) ? quotas[window.name] : undefined
  return quota === undefined ? window : Object.freeze({ ...window, quota })
}

function isOwn (scope: Scope): scope is OwnScope {
  return scope === 'principal' || scope === 'principal-model'
}

/** Whether a window of this plan is one that the principal has alone: nobody else can have exhausted it. */
export function isOwnWindow (plan: Plan, { name }: Window): boolean {
  return plan.own.some(({ of, windows }) => isOwn(of) && windows.some((window) => window.name === name))
}

/** Names of the windows that an exception may be about, of any tier: those of a principal, or for a model, those of a principal for that model. */
export function raisableWindows (options: TierOptions): (model: string | undefined) => ReadonlySet<string> {
  const tiers = readTiers(options, 'tiers')
  const names = Object.keys(options.tiers)
  return (model) => {
    const wanted = model === undefined ? 'principal' : 'principal-model'
    const planned = names.flatMap<PlannedWindow>((tier) => tiers.planOf(tier, model).planned)
    return new Set(planned.filter(({ of }) => of === wanted).map(({ window }) => window.name))
  }
}
