import type { TextTest } from '../glob.ts'
import { optionInvalid, type Reader } from '../options.ts'
import { keyOf, modelGroup, ownGroup, type Asker } from './charge-request.ts'
import type { ConcurrencyLimit, SlotRequest } from './concurrency.ts'
import type { ConcurrencyLimits } from './concurrency-limits.ts'
import { ofModels, scopes, type Scope } from './plan.ts'
import { fitsModel, readTierOptions, type TierLimits } from './tiers.ts'

/** The slots that a request wants. */
export interface ConcurrencyPlan {
  /** Counted within the org: taken together. */
  readonly own: readonly PlannedSlot[]
  /** Of everybody that uses the model: counted elsewhere, so taken by a question of its own. */
  readonly everybody: readonly PlannedSlot[]
  /** All of them. */
  readonly limits: readonly ConcurrencyLimit[]
}

/** A slot, and who shares its limit. */
interface PlannedSlot {
  readonly of: Scope
  /** Stands before the key: what is counted under a tier beside the own one is counted apart. */
  readonly prefix: string
  readonly limit: ConcurrencyLimit
}

/** Looks up how many requests a tier may have in flight. The same plan for the same question; `undefined` where there is no limit. */
export interface ConcurrencyTiers {
  /**
   * The plan of this tier; of the default tier when there is none of that name.
   * @param model the model that the request may use, if it is about one.
   */
  planOf (tier: string, model: string | undefined): ConcurrencyPlan | undefined
  /** The plan of this tier for one who is held to it beside an own tier, counted apart by names like `trial.principal`. */
  planBeside (tier: string, model: string | undefined): ConcurrencyPlan | undefined
  /** Names and patterns of models that some tier has limits for. */
  readonly models: readonly string[]
}

/** The plans of one tier. */
interface TierPlans {
  readonly plain: ConcurrencyPlan | undefined
  readonly ofAnyModel: ConcurrencyPlan | undefined
  readonly ofSomeModels: readonly { readonly fits: TextTest, readonly plan: ConcurrencyPlan | undefined }[]
}

/** Reads `{ tiers, defaultTier }` (see `TierOptions`) for what it says of requests in flight. */
export const readConcurrencyTiers: Reader<ConcurrencyTiers> = (value, path) => {
  const { tiers, defaultTier } = readTierOptions(value, path)
  const names = Object.keys(tiers)
  const own = new Map(Object.entries(tiers).map(([name, tier]) => [name, plansOf(tier, '')]))
  const beside = new Map(Object.entries(tiers).map(([name, tier]) => [name, plansOf(tier, `${name}.`)]))
  const fallback = own.get(defaultTier)
  const fallbackBeside = beside.get(defaultTier)
  if (fallback === undefined || fallbackBeside === undefined) throw optionInvalid(`${path}.defaultTier`, `one of ${names.join(', ')}`, defaultTier)
  return {
    planOf: (tier, model) => choose(own.get(tier) ?? fallback, model),
    planBeside: (tier, model) => choose(beside.get(tier) ?? fallbackBeside, model),
    models: [...new Set(Object.values(tiers).flatMap(({ models }) => Object.keys(models ?? {})))]
  }
}

function choose ({ plain, ofAnyModel, ofSomeModels }: TierPlans, model: string | undefined): ConcurrencyPlan | undefined {
  if (model === undefined) return plain
  const own = ofSomeModels.find(({ fits }) => fits(model))
  return own === undefined ? ofAnyModel : own.plan
}

function plansOf ({ concurrency = {}, models = {} }: TierLimits, prefix: string): TierPlans {
  return {
    plain: planOf(concurrency, prefix, (scope) => !ofModels.has(scope)),
    ofAnyModel: planOf(concurrency, prefix, () => true),
    ofSomeModels: Object.entries(models).map(([name, own]) => ({ fits: fitsModel(name), plan: planOf({ ...concurrency, ...own.concurrency }, prefix, () => true) }))
  }
}

function planOf (limits: ConcurrencyLimits, prefix: string, isMeant: (scope: Scope) => boolean): ConcurrencyPlan | undefined {
  const { whenUnavailable } = limits
  const slots = scopes.filter(isMeant).flatMap((of): PlannedSlot[] => {
    const max = limits[of]
    return max === undefined ? [] : [{ of, prefix, limit: Object.freeze({ name: `${prefix}${of}`, max, ...whenUnavailable !== undefined && { whenUnavailable } }) }]
  })
  if (slots.length === 0) return undefined
  return { own: slots.filter(({ of }) => of !== 'model'), everybody: slots.filter(({ of }) => of === 'model'), limits: slots.map(({ limit }) => limit) }
}

/** The questions about the slots of this plan, at least one: each is answered in one step. */
export function slotRequests ({ own, everybody }: ConcurrencyPlan, asker: Asker): SlotRequest[] {
  const slotsOf = (planned: readonly PlannedSlot[]): SlotRequest['slots'] => planned.map(({ of, prefix, limit }) => ({ key: `${prefix}${keyOf(of, asker)}`, limit }))
  return [
    { group: ownGroup(asker), slots: slotsOf(own) },
    { group: modelGroup(asker), slots: slotsOf(everybody) }
  ].filter(({ slots }) => slots.length > 0)
}
