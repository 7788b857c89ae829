import type { FastifyRequest } from 'fastify'
import type { Durability } from '../audit/appender.ts'
import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord, RecordStatus } from '../audit/record.ts'
import { addressPrefix } from './address.ts'
import { isPublic } from './route-rules.ts'

/** Refusals before authentication, counted: one line an address prefix, reason and second, so that a flood of strangers cannot fill the disk. */
export interface Strangers {
  count (request: FastifyRequest, refusal: Refusal): void
  /** Writes what has been counted so far, as far as the disk has room for it. */
  flush (): Promise<void>
}

export interface StrangersOptions {
  readonly durability?: Durability | undefined
  readonly intervalMs?: number
}

/** How a stranger was refused. */
export interface Refusal {
  readonly status: RecordStatus
  readonly httpStatus: number
  readonly reason: string
}

/** Whether this answer refuses someone who has no principal. */
export function isStranger (request: FastifyRequest, httpStatus: number): boolean {
  return request.principal === null && httpStatus >= 400 && !isPublic(request)
}

interface Tally {
  readonly first: AuditRecord
  count: number
}

// What more address prefixes than this do in one second is counted as one.
const maxTallies = 1000
// The owner of the key under which addresses are digested: no principal has an empty id.
const nobody = ''

/** @param options `durability` of the tallies' records, and how often they are written: by default every second. */
export function strangers (log: AuditLog, identities: Identities, { durability, intervalMs = 1000 }: StrangersOptions = {}): Strangers {
  const tallies = new Map<string, Tally>()
  let timer: NodeJS.Timeout | undefined
  /** Refusals of which no record could be written. */
  let untold = 0

  async function flush (): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    const counted = [...tallies.values()]
    tallies.clear()
    // What can be asked without end must not take the room of what principals do. A disk that does not answer is full.
    if (await log.isLow().catch(() => true)) {
      for (const { count } of counted) untold += count
      return
    }
    const told = untold
    untold = 0
    if (told > 0) write({ timestamp: new Date().toISOString(), action: 'authenticate', status: 'unauthenticated', reason: 'disk-low' }, told)
    for (const { first, count } of counted) write(first, count)
  }

  function write (record: AuditRecord, count: number): void {
    log.append({ ...record, count }, (error) => { if (error !== null) untold += count }, durability)
  }

  return {
    flush,
    count (request, refusal) {
      const prefix = tallies.size < maxTallies ? addressPrefix(request.ip) : 'many'
      const name = `${prefix} ${refusal.reason}`
      const tally = tallies.get(name)
      if (tally !== undefined) {
        tally.count++
        return
      }
      timer ??= setTimeout(() => { void flush() }, intervalMs).unref()
      tallies.set(name, { first: firstOf(request, refusal, prefix), count: 1 })
    }
  }

  function firstOf (request: FastifyRequest, { status, httpStatus, reason }: Refusal, prefix: string): AuditRecord {
    return {
      timestamp: new Date().toISOString(),
      action: 'authenticate',
      status,
      reason,
      http_status: httpStatus,
      request_id: request.id,
      detail: { address: identities.principal(nobody).digests.digest('address', prefix) }
    }
  }
}
