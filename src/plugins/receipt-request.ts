import type { FastifyRequest } from 'fastify'
import { parseItem } from 'structured-headers'
import type { AuditLog } from '../audit/log.ts'

/** The request header by which a client asks for a receipt: `audit-receipt: ?1` (a boolean of RFC 9651). */
export const receiptHeader = 'audit-receipt'

/** The answer's header that says by which number its receipt will be had. */
export const seqHeader = 'audit-seq'

/** Whether a request asks for a receipt. */
export function wantsReceipt ({ headers }: FastifyRequest): boolean {
  const value = headers[receiptHeader]
  if (value === undefined) return false
  try {
    return parseItem(String(value))[0] === true
  } catch {
    // RFC 9651 section 4.2: a field that cannot be parsed is as if it were not there.
    return false
  }
}

/** More than a log takes before it has a checkpoint. */
const maxPromised = 100_000

const promised = new WeakMap<AuditLog, Map<number, string>>()

/** Notes whose record a number is: until a checkpoint covers it, it cannot be read again. */
export function promiseReceipt (log: AuditLog, seq: number, pseudonym: string): void {
  const records = promised.get(log) ?? new Map<number, string>()
  promised.set(log, records)
  records.set(seq, pseudonym)
  for (const oldest of records.keys()) {
    if (records.size <= maxPromised) break
    records.delete(oldest)
  }
}

/** Whether this number was promised to this principal. */
export function isPromised (log: AuditLog, seq: number, pseudonym: string | undefined): boolean {
  return pseudonym !== undefined && promised.get(log)?.get(seq) === pseudonym
}
