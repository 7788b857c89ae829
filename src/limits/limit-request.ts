import { optionInvalid } from '../options.ts'
import type { LimitRequest } from './limiter.ts'
import { readWindows, type Window } from './windows.ts'

/** Lists that were read, and whether some window in them has shares. */
const wellFormed = new WeakMap<readonly Window[], boolean>()

/**
 * Refuses what no limiter can count. A list of windows is read the first time it comes by.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function checkLimitRequest ({ budgets, cost }: LimitRequest): void {
  checkCost(cost)
  if (budgets.length === 0) throw optionInvalid('budgets', 'a list of at least one budget', budgets)
  for (const [index, { key, windows, sharer }] of budgets.entries()) {
    for (let before = 0; before < index; before++) {
      if (budgets[before]?.key === key) throw optionInvalid(`budgets[${index}].key`, 'another key than the budgets before it', key)
    }
    if (hasShares(windows) && sharer === undefined) throw optionInvalid('sharer', 'given for windows with shares', sharer)
  }
}

function hasShares (windows: readonly Window[]): boolean {
  const known = wellFormed.get(windows)
  if (known !== undefined) return known
  const shares = readWindows(windows, 'windows').some(({ share }) => share !== undefined)
  wellFormed.set(windows, shares)
  return shares
}

/** @throws FMG_ERR_OPTION_INVALID for a cost that cannot be counted: a negative one would give units back, and NaN would compare as fitting. */
export function checkCost (cost: number): void {
  if (!Number.isSafeInteger(cost) || cost < 1) throw optionInvalid('cost', 'a whole number of at least 1', cost)
}

/**
 * The difference by which this request can be settled: no more is given back than it took.
 * @throws FMG_ERR_OPTION_INVALID for one that cannot be counted.
 */
export function readDifference ({ cost }: LimitRequest, difference: number): number {
  if (!Number.isSafeInteger(difference)) throw optionInvalid('difference', 'a whole number', difference)
  return Math.max(difference, -cost)
}
