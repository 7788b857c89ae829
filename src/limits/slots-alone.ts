import { guardError, type GuardError } from '../errors.ts'
import type { ConcurrencyLimit, Slot, SlotRequest } from './concurrency.ts'
import type { LeaseCounts } from './lease-counts.ts'
import { isOutage } from './unavailability.ts'

/**
 * What becomes of a request whose store failed so, as every limit of it says: its refusal, the limit whose part of this node is taken, or
 * `null` when it has its slots.
 * @param held by this node, before the store failed and since.
 * @param live nodes, among which limits that are `local` are divided; `undefined` as long as nobody knows.
 */
export function decideAlone ({ group, slots }: SlotRequest, error: GuardError, held: LeaseCounts, live: number | undefined): GuardError | ConcurrencyLimit | null {
  if (!isOutage(error) || slots.some(({ limit: { whenUnavailable = 'deny' } }) => whenUnavailable === 'deny')) return error
  const local = slots.filter(({ limit: { whenUnavailable } }) => whenUnavailable === 'local')
  if (local.length === 0) return null
  if (live === undefined) return refusal('limiter-nodes-unknown', error)
  const partOf = ({ limit: { max } }: Slot): number => Math.floor(max / live)
  // Not `< 1`: a number of nodes that is none refuses.
  if (local.some((slot) => !(partOf(slot) >= 1 && partOf(slot) <= slot.limit.max))) return refusal('limiter-part-too-small', error)
  return local.find((slot) => held.of(group, slot.key) >= partOf(slot))?.limit ?? null
}

function refusal (reason: string, cause: GuardError): GuardError {
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason, cause })
}
