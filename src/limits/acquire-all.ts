import type { Concurrency, ConcurrencyLimit, Lease, SlotOutcome, SlotRequest } from './concurrency.ts'

/** What came of several questions for slots. */
export type AllSlots =
  { readonly allowed: true, readonly leases: readonly Lease[] } |
  { readonly allowed: false, readonly limit: ConcurrencyLimit }

/**
 * Asks these questions, of which each is decided in one step. What the first gave is given back when another refuses or fails: then
 * nothing is held anywhere. One after the other: who has no slot of their own never takes one that all share, not even for a moment.
 * @throws what the store throws.
 */
export function acquireAll (store: Concurrency, requests: readonly SlotRequest[]): AllSlots | Promise<AllSlots> {
  return acquireNext(store, requests, [])
}

function acquireNext (store: Concurrency, [next, ...others]: readonly SlotRequest[], leases: readonly Lease[]): AllSlots | Promise<AllSlots> {
  if (next === undefined) return { allowed: true, leases }
  const giveBack = (): void => { for (const lease of leases) store.release(lease) }
  const fail = (error: unknown): never => {
    giveBack()
    throw error
  }
  const goOn = (outcome: SlotOutcome): AllSlots | Promise<AllSlots> => {
    if (outcome.allowed) return acquireNext(store, others, [...leases, outcome.lease])
    giveBack()
    return outcome
  }
  const outcome = attempt(() => store.acquire(next), fail)
  return outcome instanceof Promise ? outcome.then(goOn, fail) : goOn(outcome)
}

function attempt<T> (work: () => T, fail: (error: unknown) => never): T {
  try {
    return work()
  } catch (error) {
    return fail(error)
  }
}
