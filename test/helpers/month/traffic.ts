import type { AuditRecord } from '../../../src/audit/record.ts'
import { sketchOf, type Input, type InputSpace } from './inputs.ts'
import type { RandomNumbers } from './random-numbers.ts'

/** One request before it is written as a record. */
export interface Request {
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly user: string
  readonly range: string
  readonly model: string
  readonly status: AuditRecord['status']
  readonly input?: Input
}

/** What the people and services of a month have in common. */
export interface World {
  readonly random: RandomNumbers
  readonly spaces: readonly InputSpace[]
  /** Midnight of the first day; milliseconds since the epoch. It is a Sunday. */
  readonly start: number
}

/** Somebody, or something, that makes requests. */
export interface Actor {
  readonly user: string
  /** The requests of a day of the month, from 0. */
  day (day: number): Request[]
}

export const hourMs = 3_600_000
export const dayMs = 24 * hourMs
const httpStatuses = { success: 200, denied: 403, limited: 429, error: 500, aborted: 499, unauthenticated: 401 } as const

/** The record of a request, as the audit plugin writes it. */
export function recordOf ({ time, user, range, model, status, input }: Request): AuditRecord {
  return {
    timestamp: new Date(time).toISOString(),
    action: 'predict',
    status,
    user_id: user,
    facts: `sha256:${user}/${range}`,
    model_id: model,
    http_status: httpStatuses[status],
    ...input !== undefined && { sketch: sketchOf(model, input) }
  }
}

/** The record of facts that stands before the first request that names it. */
export function factsOf ({ time, user, range }: Request): AuditRecord {
  return { timestamp: new Date(time).toISOString(), action: 'facts', status: 'success', user_id: user, facts: `sha256:${user}/${range}`, detail: { address: `${user}@${range}` } }
}
