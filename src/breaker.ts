/** Keeps from asking, again and again, who does not answer. */
export interface Breaker {
  /** Milliseconds until the next question may be asked; 0: now. Whoever is told 0 asks. */
  wait (): number
  /** The last question was answered. */
  close (): void
  /** It was not. */
  fail (): void
}

export interface BreakerOptions {
  /** So many failures in a row. */
  readonly failures: number
  /** Then one question in this time, until one is answered. */
  readonly everyMs: number
  /** Milliseconds, of any beginning. */
  readonly clock: () => number
}

export function breaker ({ failures, everyMs, clock }: BreakerOptions): Breaker {
  let failed = 0
  let nextAt = -Infinity
  return {
    wait () {
      if (failed < failures) return 0
      const now = clock()
      if (now < nextAt) return nextAt - now
      // This one tries for all that come until it is over.
      nextAt = now + everyMs
      return 0
    },
    close () { failed = 0 },
    fail () {
      failed++
      if (failed >= failures) nextAt = clock() + everyMs
    }
  }
}
