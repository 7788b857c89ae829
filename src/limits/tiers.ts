import { object, optionInvalid, recordOf, string, type Reader } from '../options.ts'
import { readWindows, type Window } from './windows.ts'

/** The windows of each tier, as a user writes them. */
export interface TierOptions {
  readonly tiers: Readonly<Record<string, { readonly windows: readonly Window[] }>>
  /** The tier of a principal whose own is not listed. Required: without it such a principal would have no limit. */
  readonly defaultTier: string
}

/** Looks up what a tier may spend. */
export interface Tiers {
  /** The windows of this tier; of the default tier when there is none of that name. Always the same list for the same tier. */
  windowsOf (tier: string): readonly Window[]
  /**
   * The windows of this tier for one who is charged under it beside an own tier, counted apart by names like `trial.minute`; `undefined`
   * when there is none of that name.
   * @throws FMG_ERR_OPTION_INVALID when such a name is too long.
   */
  windowsBeside (tier: string): readonly Window[] | undefined
}

const readOptions = object({
  tiers: recordOf(object({ windows: readWindows })),
  defaultTier: string()
})

/** Reads `{ tiers, defaultTier }` (see `TierOptions`). */
export const readTiers: Reader<Tiers> = (value, path) => {
  const { tiers, defaultTier } = readOptions(value, path)
  const windows = new Map(Object.entries(tiers).map(([name, tier]) => [name, tier.windows]))
  const fallback = windows.get(defaultTier)
  if (fallback === undefined) throw optionInvalid(`${path}.defaultTier`, `one of ${[...windows.keys()].join(', ')}`, defaultTier)
  const beside = new Map<string, readonly Window[]>()
  return {
    windowsOf: (tier) => windows.get(tier) ?? fallback,
    windowsBeside (tier) {
      const own = windows.get(tier)
      if (own === undefined) return undefined
      const known = beside.get(tier) ?? readWindows(own.map((window) => ({ ...window, name: `${tier}.${window.name}` })), `${path}.tiers.${tier}.windows`)
      beside.set(tier, known)
      return known
    }
  }
}
