import type { BudgetRequest } from './limiter.ts'
import { emptyCount, expire, giveBack, isCountOf, spend, type WindowCount } from './window-count.ts'
import type { Window } from './windows.ts'

/** What was spent from one budget without the store that counts it. */
export interface Debt {
  readonly group: string
  readonly key: string
  readonly sharer?: string
  /** One for each window that it was spent under. */
  readonly counts: WindowCount[]
}

/** What the shared store has still to be told, for as long as it matters there. Times are microseconds. */
export interface Debts {
  /** Budgets. */
  readonly size: number
  /** Whether there is something to tell about this group. */
  has (group: string): boolean
  /** Whether these budgets can be remembered beside the others; what has run out is forgotten first. */
  hasRoom (group: string, budgets: readonly BudgetRequest[], now: number): boolean
  /** Remembers what was spent under these windows. */
  add (group: string, budget: BudgetRequest, cost: number, now: number): void
  /** Gives back what was remembered at this time, if it has not been told. */
  giveBack (group: string, budget: BudgetRequest, cost: number, at: number, now: number): void
  /** Takes out what is to be told about one group: some budgets, with at most this many windows where they are more than one. */
  take (maxWindows: number, now: number): readonly Debt[]
  /** Puts back what could not be told. */
  putBack (debt: Debt, now: number): void
}

// Looking at all debts takes time that a flood of requests must not take again and again.
const sweepMicroseconds = 1_000_000

/** @param maxBudgets that are remembered at once. */
export function debts (maxBudgets: number): Debts {
  const groups = new Map<string, Map<string, Debt>>()
  let size = 0
  let sweptAt = -Infinity

  return {
    get size () { return size },
    has: (group) => groups.has(group),

    hasRoom (group, budgets, now) {
      const ofGroup = groups.get(group)
      const unknown = budgets.filter((budget) => ofGroup?.has(idOf(budget)) !== true).length
      if (size + unknown > maxBudgets && now - sweptAt >= sweepMicroseconds) forgetOld(now)
      return unknown === 0 || size + unknown <= maxBudgets
    },

    add (group, { key, windows, sharer }, cost, now) {
      const { counts } = debtLike({ group, key, ...sharer !== undefined && { sharer }, counts: [] })
      for (const window of windows) spendUnder(counts, window, cost, now)
    },

    giveBack (group, { key, windows, sharer }, cost, at, now) {
      const counts = groups.get(group)?.get(idOf({ key, sharer }))?.counts ?? []
      for (const count of counts) if (windows.some((window) => isCountOf(count, window))) giveBack(count, cost, at, now)
    },

    take (maxWindows, now) {
      const taken: Debt[] = []
      let windows = 0
      for (const debt of groups.values().next().value?.values() ?? []) {
        windows += debt.counts.length
        if (taken.length > 0 && windows > maxWindows) break
        taken.push(debt)
      }
      for (const debt of taken) {
        remove(debt)
        for (const count of debt.counts) expire(count, now)
      }
      return taken
    },

    putBack (debt, now) {
      const { counts } = debtLike(debt)
      if (counts === debt.counts) return
      for (const { window, total } of debt.counts) spendUnder(counts, window, total, now)
    }
  }

  /** The debt of the same budget, which becomes this one where there is none. */
  function debtLike (debt: Debt): Debt {
    const ofGroup = groups.get(debt.group) ?? new Map<string, Debt>()
    const id = idOf(debt)
    const known = ofGroup.get(id)
    if (known !== undefined) return known
    groups.set(debt.group, ofGroup.set(id, debt))
    size++
    return debt
  }

  function remove (debt: Debt): void {
    const ofGroup = groups.get(debt.group)
    if (ofGroup?.delete(idOf(debt)) === true) size--
    if (ofGroup?.size === 0) groups.delete(debt.group)
  }

  function forgetOld (now: number): void {
    sweptAt = now
    for (const ofGroup of [...groups.values()]) {
      for (const debt of [...ofGroup.values()]) {
        for (const count of debt.counts) expire(count, now)
        if (debt.counts.every(({ total }) => total === 0)) remove(debt)
      }
    }
  }
}

/** The length keeps `a` of `bc` apart from `ab` of `c`. */
function idOf ({ key, sharer }: { readonly key: string, readonly sharer?: string | undefined }): string {
  return sharer === undefined ? `k${key}` : `s${key.length}:${key}${sharer}`
}

function spendUnder (counts: WindowCount[], window: Window, cost: number, now: number): void {
  let count = counts.find((candidate) => isCountOf(candidate, window))
  if (count === undefined) {
    count = emptyCount(window)
    counts.push(count)
  }
  expire(count, now)
  spend(count, cost, now)
}
