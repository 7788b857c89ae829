import type { FastifyRequest } from 'fastify'
import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord, RecordStatus } from '../audit/record.ts'
import { addressPrefix } from './address.ts'
import { isPublic } from './route-rules.ts'

/** Refusals before authentication, counted: one line an address prefix, reason and second, so that a flood of strangers cannot fill the disk. */
export interface Strangers {
  count (request: FastifyRequest, refusal: Refusal): void
  /** Writes what has been counted so far. */
  flush (): void
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

/** @param intervalMs how often tallies are written. */
export function strangers (log: AuditLog, identities: Identities, intervalMs = 1000): Strangers {
  const tallies = new Map<string, Tally>()
  let timer: NodeJS.Timeout | undefined

  function flush (): void {
    clearTimeout(timer)
    timer = undefined
    for (const { first, count } of tallies.values()) log.append({ ...first, count }, () => {})
    tallies.clear()
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
      timer ??= setTimeout(flush, intervalMs).unref()
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
