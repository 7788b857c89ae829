import type { Concurrency, ConcurrencyLimit, Lease, SlotOutcome, SlotRequest } from './concurrency.ts'

/** What came of one question for slots or two. */
export type BothSlots =
  { readonly allowed: true, readonly leases: readonly Lease[] } |
  { readonly allowed: false, readonly limit: ConcurrencyLimit }

/**
 * Asks both questions, of which each is decided in one step. What the first gave is given back when the second refuses or fails: then
 * nothing is held anywhere. One after the other: who has no slot of their own never takes one that all share, not even for a moment.
 * @throws what the store throws.
 */
export function acquireBoth (store: Concurrency, first: SlotRequest, second: SlotRequest | undefined): BothSlots | Promise<BothSlots> {
  const outcome = store.acquire(first)
  const goOn = (own: SlotOutcome): BothSlots | Promise<BothSlots> => {
    if (!own.allowed) return own
    return second === undefined ? { allowed: true, leases: [own.lease] } : acquireSecond(store, own.lease, second)
  }
  return outcome instanceof Promise ? outcome.then(goOn) : goOn(outcome)
}

async function acquireSecond (store: Concurrency, lease: Lease, second: SlotRequest): Promise<BothSlots> {
  let other: SlotOutcome | undefined
  try {
    other = await store.acquire(second)
  } finally {
    if (other?.allowed !== true) store.release(lease)
  }
  return other.allowed ? { allowed: true, leases: [lease, other.lease] } : other
}
