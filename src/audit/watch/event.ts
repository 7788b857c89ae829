import type { AuditRecord, RecordStatus } from '../record.ts'
import { readSketch, type Sketch } from './sketch-text.ts'

/** What the rules see of a record: one request of a principal, or refusals of strangers counted together. */
export interface WatchEvent {
  /** Pseudonym of the principal, or the keyed digest of the strangers' address prefix. */
  readonly subject: string
  readonly kind: 'principal' | 'address'
  /** When it was, by the record; milliseconds since the epoch. */
  readonly time: number
  readonly seq: number
  /** How many requests it stands for. */
  readonly count: number
  readonly status: RecordStatus
  readonly reason: string | undefined
  readonly model: string | undefined
  readonly inputHash: string | undefined
  readonly sketch: Sketch | undefined
  /** Keyed digest of the address prefix that it came from, where the log says so: known of whoever is followed. */
  readonly range: string | undefined
}

/** The event of a record; `undefined` for one that is no request: changes, facts, and what amends a request. */
export function eventOf (record: AuditRecord, seq: number): WatchEvent | undefined {
  const { user_id: user, model_id: model, http_status: httpStatus, amends, status, reason, count = 1, input_hash: inputHash, sketch } = record
  if (httpStatus === undefined || amends !== undefined) return undefined
  const time = timeOf(record.timestamp)
  if (user !== undefined) return { kind: 'principal', subject: user, time, seq, count, status, reason, model, inputHash, sketch: sketch === undefined ? undefined : readSketch(sketch), range: undefined }
  const subject = addressOf(record)
  return subject === undefined ? undefined : { kind: 'address', subject, time, seq, count, status, reason, model: undefined, inputHash: undefined, sketch: undefined, range: undefined }
}

/** The keyed digest of an address prefix in a record of facts, or of strangers. */
export function addressOf ({ detail }: AuditRecord): string | undefined {
  const address = detail?.['address']
  return typeof address === 'string' ? address : undefined
}

let lastTimestamp = ''
let lastTime = NaN

/** Read once a millisecond, however many records that has. */
function timeOf (timestamp: string): number {
  if (timestamp !== lastTimestamp) lastTime = Date.parse(timestamp)
  lastTimestamp = timestamp
  return lastTime
}
