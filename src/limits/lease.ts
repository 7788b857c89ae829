import type { Charge, LimitOutcome, LimitRequest } from './limiter.ts'

/** What of a lease came from the share of the sharer, in one window with shares. */
interface Part { ofShare: number }

/** What a request took from a lease. Said to the limiter itself, it is the charge of that request alone. */
export class LeasedCharge implements Charge {
  readonly lease: Lease
  readonly parts: readonly { readonly part: Part, readonly pooled: number }[]

  constructor (lease: Lease, parts: LeasedCharge['parts']) {
    this.lease = lease
    this.parts = parts
  }

  get at (): number {
    return this.lease.charge.at
  }

  get pooled (): readonly number[] {
    return this.parts.map(({ pooled }) => pooled)
  }
}

const nothingShared: LeasedCharge['parts'] = []

/** Units that were debited before anybody used them. */
export class Lease {
  /** The question by which they were debited. */
  readonly request: LimitRequest
  readonly outcome: LimitOutcome
  readonly charge: Charge
  /** Milliseconds; from then on nothing is taken. */
  readonly expiresAt: number
  /** For each window with shares, what came from the share of the sharer. The rest is of the pool. */
  readonly #parts: readonly Part[]
  #left: number

  /** @param askedAt milliseconds; the units were debited then or later. */
  constructor (request: LimitRequest, outcome: LimitOutcome, charge: Charge, askedAt: number, lifetimeMs: number) {
    this.request = request
    this.outcome = outcome
    this.charge = charge
    this.expiresAt = askedAt + lifetimeMs
    this.#left = request.cost
    this.#parts = charge.pooled.map((pooled) => ({ ofShare: request.cost - pooled }))
  }

  /** What the limiter would have answered, or `undefined` when there is not enough left. What other nodes take meanwhile is not known here. */
  take (cost: number, now: number): LimitOutcome | undefined {
    if (cost > this.#left || now >= this.expiresAt) return undefined
    this.#left -= cost
    const { window, remaining, resetSeconds } = this.outcome
    return {
      allowed: true,
      window,
      remaining: remaining + this.#left,
      resetSeconds,
      retryAfterSeconds: 0,
      charge: new LeasedCharge(this, this.#takeParts(cost))
    }
  }

  /** Puts back what a request took and did not use. @returns whether it is of use here. */
  putBack (units: number, { parts }: LeasedCharge, now: number): boolean {
    if (this.#left === 0 || now >= this.expiresAt) return false
    this.#left += units
    for (const { part, pooled } of parts) part.ofShare += Math.max(0, units - pooled)
    return true
  }

  /** Ends it. @returns what is to be given back, as of one request; `undefined` when that is nothing. */
  end (): { readonly request: LimitRequest, readonly charge: Charge } | undefined {
    const left = this.#left
    this.#left = 0
    if (left === 0) return undefined
    return { request: { ...this.request, cost: left }, charge: { at: this.charge.at, pooled: this.#parts.map(({ ofShare }) => left - ofShare) } }
  }

  /** The share first: what comes from the pool is given back first. */
  #takeParts (cost: number): LeasedCharge['parts'] {
    if (this.#parts.length === 0) return nothingShared
    return this.#parts.map((part) => {
      const taken = Math.min(cost, part.ofShare)
      part.ofShare -= taken
      return { part, pooled: cost - taken }
    })
  }
}
