import type { Charge, Limiter, LimitOutcome, LimitRequest } from './limiter.ts'

/** A request that was charged, and what it took. */
export interface Charged {
  readonly request: LimitRequest
  readonly charge: Charge
}

/** What came of one question or two. */
export interface BothOutcome {
  /** Of the question that refused, or of the one with the smaller part left. */
  readonly outcome: LimitOutcome
  /** What was taken. */
  readonly charged: readonly Charged[]
}

/**
 * Asks both questions, of which each is decided in one step. What the first took is given back when the second refuses or fails: then
 * nothing was consumed anywhere, unless it could not be given back either.
 * @throws what the limiter throws.
 */
export function consumeBoth (limiter: Limiter, first: LimitRequest, second: LimitRequest | undefined): BothOutcome | Promise<BothOutcome> {
  const outcome = limiter.consume(first)
  if (second !== undefined) return consumeSecond(limiter, first, outcome, second)
  return outcome instanceof Promise ? outcome.then((later) => only(first, later)) : only(first, outcome)
}

async function consumeSecond (limiter: Limiter, first: LimitRequest, pending: LimitOutcome | Promise<LimitOutcome>, second: LimitRequest): Promise<BothOutcome> {
  const own = await pending
  if (own.charge === undefined) return only(first, own)
  const taken = { request: first, charge: own.charge }
  let other: LimitOutcome
  try {
    other = await limiter.consume(second)
  } catch (error) {
    await giveBack(limiter, taken)
    throw error
  }
  if (other.charge === undefined) {
    await giveBack(limiter, taken)
    return only(second, other)
  }
  return { outcome: partLeft(other) < partLeft(own) ? other : own, charged: [taken, { request: second, charge: other.charge }] }
}

async function giveBack (limiter: Limiter, { request, charge }: Charged): Promise<void> {
  try {
    await limiter.settle(request, charge, -request.cost)
  } catch {
    // It stays charged, and the refusal stands: what cannot be reached cannot be told.
  }
}

function only (request: LimitRequest, outcome: LimitOutcome): BothOutcome {
  return { outcome, charged: outcome.charge === undefined ? [] : [{ request, charge: outcome.charge }] }
}

function partLeft ({ remaining, window }: LimitOutcome): number {
  return remaining / window.quota
}
