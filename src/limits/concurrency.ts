import { optionInvalid } from '../options.ts'
import type { WhenUnavailable } from './windows.ts'

/** At most `max` requests in flight at once. */
export interface ConcurrencyLimit {
  /** Short name for headers and records, for instance `principal`. */
  readonly name: string
  readonly max: number
  /** What is done while the store cannot be reached: as with windows. Default `deny`. */
  readonly whenUnavailable?: WhenUnavailable
}

/** A place among the `max` requests that one key may have in flight. */
export interface Slot {
  /** Whose, or of what. Already free of secrets. */
  readonly key: string
  readonly limit: ConcurrencyLimit
}

/** The slots that a request wants: all of them, or none. Each of another key. */
export interface SlotRequest {
  /** Cluster hash tag: keys of one group live on one node. */
  readonly group: string
  readonly slots: readonly Slot[]
}

/** What holds the slots of one request until it is released. */
export interface Lease {
  readonly id: string
  readonly group: string
  readonly keys: readonly string[]
}

/** Whether a request has its slots, or which limit it would pass. */
export type SlotOutcome =
  { readonly allowed: true, readonly lease: Lease } |
  { readonly allowed: false, readonly limit: ConcurrencyLimit }

/** Counts requests in flight. Memory answers at once, a shared store later. */
export interface Concurrency {
  /**
   * Takes every slot of this request, or none.
   * @throws FMG_ERR_LIMITER_UNAVAILABLE when the store does not answer within its time-out.
   * @throws FMG_ERR_OPTION_INVALID for slots that cannot be counted.
   */
  acquire (request: SlotRequest): SlotOutcome | Promise<SlotOutcome>
  /** Frees what was taken. Neither waits nor fails; a second time it does nothing. */
  release (lease: Lease): void
}

/**
 * Refuses what no store can count.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function checkSlotRequest ({ slots }: SlotRequest): void {
  for (const { limit: { max } } of slots) {
    // NaN would compare as never reached.
    if (!Number.isSafeInteger(max) || max < 1) throw optionInvalid('max', 'a whole number of at least 1', max)
  }
  // Two slots of one key would be held by one lease, and counted as one.
  if (slots.length === 0 || new Set(slots.map(({ key }) => key)).size !== slots.length) throw optionInvalid('slots', 'a list of at least one slot, each of another key', slots)
}
