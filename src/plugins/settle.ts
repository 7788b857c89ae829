import type { FastifyReply, FastifyRequest } from 'fastify'
import { isGuardError, type GuardErrorCode } from '../errors.ts'
import type { Charged } from '../limits/consume-both.ts'
import type { Limiter } from '../limits/limiter.ts'
import { isRefusal } from './refusal.ts'
import { hasRun, workOf } from './request-work.ts'
import { rulesOf } from './route-rules.ts'

/** Under which a request holds what it was charged. */
export const charged = Symbol('fastify-model-guard.charged')

declare module 'fastify' {
  interface FastifyRequest {
    /** Only where rateLimit is registered; `null` until something was charged, and when that is settled. */
    [charged]?: readonly Charged[] | null
  }
}

/** Corrects what requests were charged, each at most once. */
export interface Settler {
  /** Corrects it when the request is really over, where its route says what it cost only then. */
  watch (request: FastifyRequest, reply: FastifyReply): void
  /** Corrects it now: to so many units, rounded up, at least 1. */
  settle (request: FastifyRequest, units: number): void
}

/** What cannot be corrected stays as it was charged, and the log says so. */
export function settler (limiter: Limiter): Settler {
  return {
    settle,
    watch (request, reply) {
      const { settle: costOf } = rulesOf(request)
      if (costOf === undefined) return
      const work = workOf(request)
      work.whenOver(reply, () => {
        try {
          settle(request, costOf(request, { computeMs: work.computeMs }))
        } catch (error) {
          complain(request, error)
        }
      })
    }
  }

  function settle (request: FastifyRequest, units: number): void {
    if (!Number.isFinite(units)) throw new TypeError(`a request cannot cost ${units} units`)
    // What never ran has been asked for all the same: its body was read, and whoever retries must run out of units one day.
    const worth = Math.max(1, Math.ceil(units))
    for (const { request: asked, charge } of request[charged] ?? []) {
      if (worth !== asked.cost) attempt(request, async () => { await limiter.settle(asked, charge, worth - asked.cost) })
    }
    request[charged] = null
  }
}

function attempt (request: FastifyRequest, work: () => Promise<void>): void {
  work().catch((error: unknown) => { complain(request, error) })
}

function complain ({ log }: FastifyRequest, error: unknown): void {
  log.error({ err: error }, 'a charge could not be settled')
}

const beforeRuns: readonly GuardErrorCode[] = ['FMG_ERR_MODEL_BUSY', 'FMG_ERR_MODEL_UNAVAILABLE', 'FMG_ERR_MODEL_UNKNOWN', 'FMG_ERR_INPUT_INVALID']

/** Whether this error ended a request before anything ran for it. */
export function neverRan (request: FastifyRequest, error: Error): boolean {
  // A handler may have run one model before another was busy, or beside it.
  return isRefusal(error) || (isGuardError(error) && beforeRuns.includes(error.code) && !hasRun(request))
}
