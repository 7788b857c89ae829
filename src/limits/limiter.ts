import type { Window } from './windows.ts'

/** One thing that is counted: a principal, an org, the use of a model within an org. */
export interface BudgetRequest {
  /** Whose budget, and of what; another one in each budget of a request. Already free of secrets. */
  readonly key: string
  /** A list that is kept, not built anew for each request. */
  readonly windows: readonly Window[]
  /** Who takes its share of those windows that have shares. Required where one has. */
  readonly sharer?: string
}

/** One question to a limiter: may this much be spent from all of these budgets? */
export interface LimitRequest {
  /** Cluster hash tag: budgets of one group live on one node, and are decided in one step. The principal's org, or its id where it has none. */
  readonly group: string
  /** At least one. */
  readonly budgets: readonly BudgetRequest[]
  /** Whole units, at least 1. */
  readonly cost: number
}

/** What an allowed request took, for `settle`. */
export interface Charge {
  /** Microseconds, by the clock of the limiter. */
  readonly at: number
  /** Units that did not fit into the share of the sharer: one number for each window that has shares, in the order of the request. */
  readonly pooled: readonly number[]
}

/** A limiter's answer. A refused request consumed nothing anywhere. */
export interface LimitOutcome {
  readonly allowed: boolean
  /** The window that refused, or that has the smallest share left. */
  readonly window: Window
  /** Units left in that window, for this principal, after this request. */
  readonly remaining: number
  /** Seconds, rounded up, until that window has more room than now; 0 when it counts nothing. */
  readonly resetSeconds: number
  /**
   * Seconds, rounded up and at least 1, until this very request would be allowed; 0 when it was.
   * A cost above a quota never will be, and is told to wait that whole window.
   */
  readonly retryAfterSeconds: number
  /** What was taken; `undefined` when it was refused. */
  readonly charge: Charge | undefined
}

/** Counts. Memory answers at once, a shared store later. */
export interface Limiter {
  /**
   * Spends the cost from every budget, or from none.
   * @throws FMG_ERR_LIMITER_UNAVAILABLE when the store does not answer within its time-out.
   * @throws FMG_ERR_OPTION_INVALID for a cost or windows that cannot be counted.
   */
  consume (request: LimitRequest): LimitOutcome | Promise<LimitOutcome>
  /**
   * Corrects what a request was charged, at most once. More than that is spent now, even beyond a quota: it was used. Less is given
   * back where it was taken, and never more than was taken.
   * @param difference whole units.
   * @throws as `consume`.
   */
  settle (request: LimitRequest, charge: Charge, difference: number): void | Promise<void>
}
