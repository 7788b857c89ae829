import { compileGlob, isGlob, type TextTest } from '../glob.ts'
import { listOf, object, oneOf, optional, optionInvalid, recordOf, string, type Reader } from '../options.ts'
import { readConcurrencyLimits, type ConcurrencyLimits } from './concurrency-limits.ts'
import { isOfModels, planOf, withoutModel, type Limit, type Plan, type PlannedWindow, type Scope } from './plan.ts'
import { refuseEmpty, windowOf, windowShape, type Share } from './windows.ts'

/** What a tier may spend. */
export interface TierLimits {
  readonly windows: readonly Limit[]
  /** How many requests may be in flight at once. Needs the concurrency plugin. Default: any number. */
  readonly concurrency?: ConcurrencyLimits
  /**
   * Limits of some models, by name or by a pattern with `*`; of several that fit, the first counts. A window stands in the place of the tier's own
   * of the same name, and is counted apart from it; the others of the tier count beside it. So does a number of requests in flight, which
   * is not counted apart where it is not of the model.
   */
  readonly models?: Readonly<Record<string, { readonly windows?: readonly Limit[], readonly concurrency?: ConcurrencyLimits }>>
}

/** The limits of each tier, as a user writes them. */
export interface TierOptions {
  readonly tiers: Readonly<Record<string, TierLimits>>
  /** The tier of a principal whose own is not listed. Required: without it such a principal would have no limit. */
  readonly defaultTier: string
}

/** Looks up what a tier may spend. The same plan for the same question. */
export interface Tiers {
  /** Whether some limit is counted for a model, or is another for some models: then it matters which one a request may use. */
  readonly areOfModels: boolean
  /** Names and patterns of models that some tier has limits for. */
  readonly models: readonly string[]
  /** Whether some tier limits the requests in flight. */
  readonly limitConcurrency: boolean
  /**
   * The plan of this tier; of the default tier when there is none of that name.
   * @param model the model that the request may use, if it is about one.
   */
  planOf (tier: string, model: string | undefined): Plan
  /**
   * The plan of this tier for one who is charged under it beside an own tier, counted apart by names like `trial.minute`; `undefined`
   * when there is none of that name.
   * @throws FMG_ERR_OPTION_INVALID when such a name is too long.
   */
  planBeside (tier: string, model: string | undefined): Plan | undefined
}

/** The plans of one tier. */
interface TierPlans {
  readonly plain: Plan
  readonly ofAnyModel: Plan
  readonly ofSomeModels: readonly { readonly fits: TextTest, readonly plan: Plan }[]
}

const readLimitMembers = object({ ...windowShape, of: optional(oneOf<Scope>('principal', 'org', 'org-model', 'principal-model', 'model')) })
const readLimits = listOf((value, path): Limit => {
  const { of, ...members } = readLimitMembers(value, path)
  return { ...windowOf(members, path), ...of !== undefined && { of } }
})
const readConcurrency = optional(readConcurrencyLimits)
const readTier = object({ windows: readLimits, concurrency: readConcurrency, models: optional(recordOf(object({ windows: optional(readLimits), concurrency: readConcurrency }))) })

/** The members of `TierOptions`, for readers of what holds more than these. */
export const tierShape = { tiers: recordOf(readTier), defaultTier: string() }

/** Reads the form of `{ tiers, defaultTier }`; what it says is read by `readTiers`. */
export const readTierOptions: Reader<TierOptions> = object(tierShape)

/** Reads `{ tiers, defaultTier }` (see `TierOptions`). */
export const readTiers: Reader<Tiers> = (value, path) => {
  const { tiers, defaultTier } = readTierOptions(value, path)
  const plans = new Map(Object.entries(tiers).map(([name, tier]) => [name, plansOf(tier, '', `${path}.tiers.${name}`)]))
  const fallback = plans.get(defaultTier)
  if (fallback === undefined) throw optionInvalid(`${path}.defaultTier`, `one of ${[...plans.keys()].join(', ')}`, defaultTier)
  const beside = new Map<string, TierPlans>()
  return {
    areOfModels: [...plans.values()].some(({ ofAnyModel, ofSomeModels }) => isOfModels(ofAnyModel) || ofSomeModels.length > 0),
    models: [...new Set(Object.values(tiers).flatMap(({ models }) => Object.keys(models ?? {})))],
    limitConcurrency: limitsConcurrency(tiers),
    planOf: (tier, model) => choose(plans.get(tier) ?? fallback, model),
    planBeside (tier, model) {
      const own = Object.hasOwn(tiers, tier) ? tiers[tier] : undefined
      if (own === undefined) return undefined
      const known = beside.get(tier) ?? plansOf(own, `${tier}.`, `${path}.tiers.${tier}`)
      beside.set(tier, known)
      return choose(known, model)
    }
  }
}

/** Whether some tier limits the requests in flight. */
export function limitsConcurrency (tiers: TierOptions['tiers']): boolean {
  return Object.values(tiers).some(({ concurrency, models = {} }) => [concurrency, ...Object.values(models).map((model) => model.concurrency)].some((limits) => limits !== undefined))
}

function choose ({ plain, ofAnyModel, ofSomeModels }: TierPlans, model: string | undefined): Plan {
  if (model === undefined) return plain
  for (const { fits, plan } of ofSomeModels) if (fits(model)) return plan
  return ofAnyModel
}

function plansOf ({ windows, models = {} }: TierLimits, prefix: string, path: string): TierPlans {
  const planned = plannedOf(windows, 'principal', prefix, `${path}.windows`)
  const ofAnyModel = planOf(planned, `${path}.windows`)
  const ofSomeModels = Object.entries(models).map(([name, limits]) => {
    const place = `${path}.models.${name}.windows`
    const own = limits.windows === undefined ? [] : plannedOf(limits.windows, 'principal-model', prefix, place)
    planOf(own, place)
    const names = new Set(own.map(({ window }) => window.name))
    return { fits: fitsModel(name), plan: planOf([...planned.filter(({ window }) => !names.has(window.name)), ...own], place) }
  })
  const plain = withoutModel(ofAnyModel, path)
  // What is denied, or about no model, must cost something too.
  if (plain.windows.length === 0) throw optionInvalid(`${path}.windows`, 'a list with a window of principal or org', windows)
  return { plain, ofAnyModel, ofSomeModels }
}

/** Whether a model is meant by this name or pattern. */
export function fitsModel (name: string): TextTest {
  return isGlob(name) ? compileGlob(name.split('*')) : (model) => model === name
}

function plannedOf (limits: readonly Limit[], usual: Scope, prefix: string, path: string): readonly PlannedWindow[] {
  const planned = limits.map(({ of = usual, name, quota, windowSeconds, per, share, whenUnavailable }, index) => {
    const place = `${path}[${index}]`
    if (share !== undefined && isAlone(of)) throw optionInvalid(`${place}.share`, `left out: a window of ${of} is nobody else's`, share)
    const members = { name: windowShape.name(`${prefix}${name}`, `${place}.name`), quota, windowSeconds, per, whenUnavailable }
    return { of, window: windowOf({ ...members, share: isAlone(of) ? undefined : share ?? usualShare(quota) }, place) }
  })
  refuseEmpty(planned.map(({ window }) => window), path)
  return planned
}

function isAlone (scope: Scope): boolean {
  return scope === 'principal' || scope === 'principal-model'
}

/** Half of the window is kept for ten principals; of small ones a unit each for as many as that half has room for. */
function usualShare (quota: number): Share | undefined {
  if (quota < 2) return undefined
  return quota < 20 ? { quota: 1, principals: Math.floor(quota / 2) } : { quota: Math.floor(quota / 20), principals: 10 }
}
