/** At most `quota` units of cost in any `windowSeconds` seconds. */
export interface Window {
  /** Short name for headers and records, for instance `burst`. */
  readonly name: string
  /** Units of cost. */
  readonly quota: number
  readonly windowSeconds: number
}

/** One question to a limiter: may this key spend this much under all of these windows? */
export interface LimitRequest {
  /** Whose budget. Already free of secrets and of characters a store could misread. */
  readonly key: string
  /** Cluster hash tag: keys of one group live on one node. The principal's org, or its id where it has none. */
  readonly group: string
  readonly windows: readonly Window[]
  /** Whole units, at least 1. */
  readonly cost: number
}

/** A limiter's answer. A refused request consumed nothing anywhere. */
export interface LimitOutcome {
  readonly allowed: boolean
  /** The window that refused, or that has the smallest share left. */
  readonly window: Window
  /** Units left in that window after this request. */
  readonly remaining: number
  /** Seconds, rounded up, until that window has more room than now; 0 when it counts nothing. */
  readonly resetSeconds: number
  /**
   * Seconds, rounded up and at least 1, until this very request would be allowed; 0 when it was.
   * A cost above a quota never will be, and is told to wait that whole window.
   */
  readonly retryAfterSeconds: number
}

/** Counts. Memory answers at once, a shared store later. */
export interface Limiter {
  /**
   * @throws FMG_ERR_LIMITER_UNAVAILABLE when the store does not answer within its time-out.
   * @throws FMG_ERR_OPTION_INVALID for a cost or windows that cannot be counted.
   */
  consume (request: LimitRequest): LimitOutcome | Promise<LimitOutcome>
}
