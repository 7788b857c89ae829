import type { Durability } from '../audit/appender.ts'
import type { RecordStatus } from '../audit/record.ts'
import { object, oneOf, optional, type Reader } from '../options.ts'

/**
 * What an answer waits for. `block`: for its durable record; without one it does not leave, and is 503 `FMG_ERR_AUDIT_UNAVAILABLE`. `buffer`: for nothing, as long as
 * there is room in the memory of what is yet to be written, else 503. `best-effort`: for nothing; records for which there is no room, or which cannot be written, are
 * dropped, and how many is recorded.
 */
export type EventHandling = 'block' | 'buffer' | 'best-effort'

/** How events of each class are recorded. A change of keys, policy, limits or models always blocks. Default for both: as the log's `durability` says. */
export interface EventClasses {
  /** Requests that were allowed, whatever they asked for and however they ended. */
  readonly prediction?: EventHandling | undefined
  /** Requests that were denied, limited or unauthenticated, and the tallies of strangers. */
  readonly refusal?: EventHandling | undefined
}

const durabilities: Readonly<Record<EventHandling, Durability>> = { block: 'before-response', buffer: 'async', 'best-effort': 'best-effort' }

const readHandling = oneOf<EventHandling>('block', 'buffer', 'best-effort')

/** @throws FMG_ERR_OPTION_INVALID */
export const readEvents: Reader<EventClasses | undefined> = optional(object({ prediction: optional(readHandling), refusal: optional(readHandling) }))

const refusals: readonly RecordStatus[] = ['denied', 'limited', 'unauthenticated']

/** How the record of a request that ended like this is made durable; `undefined`: as the log does. */
export function classDurability (events: EventClasses | undefined, status: RecordStatus): Durability | undefined {
  const handling = refusals.includes(status) ? events?.refusal : events?.prediction
  return handling === undefined ? undefined : durabilities[handling]
}
