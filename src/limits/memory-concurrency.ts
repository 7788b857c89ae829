import { checkSlotRequest, type Concurrency, type Lease, type SlotOutcome, type SlotRequest } from './concurrency.ts'
import { leaseCounts } from './lease-counts.ts'

/** Slots that are given at once. */
export interface MemoryConcurrency extends Concurrency {
  acquire (request: SlotRequest): SlotOutcome
}

/** Counts the requests in flight in this process alone. Remembers those, and nothing else. */
export function memoryConcurrency (): MemoryConcurrency {
  const counts = leaseCounts()
  let acquired = 0

  return { acquire, release }

  function acquire (request: SlotRequest): SlotOutcome {
    checkSlotRequest(request)
    const { group, slots } = request
    const taken = slots.find(({ key, limit }) => counts.of(group, key) >= limit.max)
    if (taken !== undefined) return { allowed: false, limit: taken.limit }
    const lease = { id: String(acquired++), group, keys: slots.map(({ key }) => key) }
    counts.add(lease)
    return { allowed: true, lease }
  }

  function release (lease: Lease): void {
    counts.remove(lease)
  }
}
