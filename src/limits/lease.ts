import type { Charge, LimitOutcome, LimitRequest } from './limiter.ts'

/** What a request took from a lease. Said to the limiter itself, it is the charge of that request alone. */
export class LeasedCharge implements Charge {
  readonly lease: Lease
  readonly pooled: readonly number[]

  constructor (lease: Lease, pooled: readonly number[]) {
    this.lease = lease
    this.pooled = pooled
  }

  get at (): number {
    return this.lease.charge.at
  }
}

const nothingPooled: readonly number[] = []

/** Units that were debited before anybody used them. */
export class Lease {
  /** The question by which they were debited. */
  readonly request: LimitRequest
  readonly outcome: LimitOutcome
  readonly charge: Charge
  /** Milliseconds; from then on nothing is taken. */
  readonly expiresAt: number
  /** Milliseconds; when the window that bound has more room. */
  readonly #resetsAt: number
  /** For each window with shares, what came from the share of the sharer. The rest is of the pool. */
  readonly #ofShare: number[]
  #left: number

  /** @param askedAt milliseconds; the units were debited then or later. */
  constructor (request: LimitRequest, outcome: LimitOutcome, charge: Charge, askedAt: number, lifetimeMs: number) {
    this.request = request
    this.outcome = outcome
    this.charge = charge
    this.expiresAt = askedAt + lifetimeMs
    this.#resetsAt = askedAt + outcome.resetSeconds * 1000
    this.#left = request.cost
    this.#ofShare = charge.pooled.map((pooled) => request.cost - pooled)
  }

  /** What the limiter would have answered, or `undefined` when there is not enough left. What other nodes take meanwhile is not known here. */
  take (cost: number, now: number): LimitOutcome | undefined {
    if (cost > this.#left || now >= this.expiresAt) return undefined
    this.#left -= cost
    const { window, remaining } = this.outcome
    return {
      allowed: true,
      window,
      remaining: remaining + this.#left,
      resetSeconds: Math.max(0, Math.ceil((this.#resetsAt - now) / 1000)),
      retryAfterSeconds: 0,
      charge: new LeasedCharge(this, this.#takeParts(cost))
    }
  }

  /** Puts back what a request took and did not use. @returns whether it is of use here. */
  putBack (units: number, { pooled }: Charge, now: number): boolean {
    if (this.#left === 0 || now >= this.expiresAt) return false
    this.#left += units
    for (const [index, ofPool] of pooled.entries()) this.#ofShare[index] = (this.#ofShare[index] ?? 0) + Math.max(0, units - ofPool)
    return true
  }

  /** Ends it. @returns what is to be given back, as of one request; `undefined` when that is nothing. */
  end (): { readonly request: LimitRequest, readonly charge: Charge } | undefined {
    const left = this.#left
    this.#left = 0
    if (left === 0) return undefined
    return { request: { ...this.request, cost: left }, charge: { at: this.charge.at, pooled: this.#ofShare.map((ofShare) => left - ofShare) } }
  }

  /** The share first: what comes from the pool is given back first. */
  #takeParts (cost: number): readonly number[] {
    if (this.#ofShare.length === 0) return nothingPooled
    return this.#ofShare.map((ofShare, index) => {
      const taken = Math.min(cost, ofShare)
      this.#ofShare[index] = ofShare - taken
      return cost - taken
    })
  }
}
