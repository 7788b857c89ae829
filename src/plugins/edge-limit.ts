import { hash } from 'node:crypto'
import rateLimit, { type FastifyRateLimitStore, type FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import type { Limiter, LimitOutcome, LimitRequest } from '../limits/limiter.ts'
import { memoryLimiter } from '../limits/memory-limiter.ts'
import { allOptional, havingMethods, integer, optional, withDefault, type Reader } from '../options.ts'

export interface EdgeLimitOptions {
  /** Attempts an address (IPv6: a /64). */
  readonly max?: number
  readonly windowSeconds?: number
  /** Where attempts are counted, for instance `redisLimiter` for all nodes together; while it fails, each node counts by itself. Default: this process alone. */
  readonly limiter?: Limiter
}

/** An edge limit that was read. */
export interface EdgeLimit {
  readonly max: number
  readonly windowSeconds: number
  readonly limiter: Limiter | undefined
}

/** Reads option `edge`, by default so many attempts in 60 seconds. */
export function edgeLimitReader (max: number): Reader<EdgeLimit> {
  return allOptional({
    max: withDefault(integer({ min: 1 }), max),
    windowSeconds: withDefault(integer({ min: 1, max: 86_400 }), 60),
    limiter: optional(havingMethods<Limiter>('consume', 'settle'))
  })
}

/**
 * The limit by address, for requests whose credential is not already known to be good. `request.ip` follows `trustProxy`.
 * @returns a function that counts one attempt, and throws FMG_ERR_QUOTA_EXCEEDED when there were too many.
 */
export async function edgeLimit (app: FastifyInstance, { max, windowSeconds, limiter }: EdgeLimit): Promise<(request: FastifyRequest) => Promise<void>> {
  // An instance of its own: a server that uses @fastify/rate-limit itself keeps its own store, keys and options.
  const host = Fastify()
  await host.register(rateLimit, { global: false, max, timeWindow: windowSeconds * 1000, ...limiter !== undefined && { store: storeIn(limiter, max, windowSeconds) } })
  const count = host.createRateLimit({})
  app.addHook('onClose', async () => { await host.close() })

  return async function limitEdge (request) {
    const outcome = await count(request)
    if (!outcome.isAllowed && outcome.isExceeded) {
      throw guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: 'edge-limit', headers: { 'retry-after': String(outcome.ttlInSeconds), 'cache-control': 'no-store' } })
    }
  }
}

/** A store of @fastify/rate-limit that counts in a limiter, under digests: addresses of people do not stand in Redis. */
function storeIn (limiter: Limiter, max: number, windowSeconds: number): FastifyRateLimitStoreCtor {
  const windows = [{ name: 'edge', quota: max, windowSeconds }]
  const alone = memoryLimiter()

  async function count (address: string): Promise<{ current: number, ttl: number }> {
    const key = `edge:${hash('sha256', address, 'base64url')}`
    const request = { group: key, budgets: [{ key, windows }], cost: 1 }
    const { allowed, remaining, resetSeconds, retryAfterSeconds } = await consume(request)
    return allowed ? { current: max - remaining, ttl: resetSeconds * 1000 } : { current: max + 1, ttl: retryAfterSeconds * 1000 }
  }

  async function consume (request: LimitRequest): Promise<LimitOutcome> {
    try {
      return await limiter.consume(request)
    } catch {
      // Who guesses is slowed down on each node; who has a key is not kept out for want of Redis.
      return alone.consume(request)
    }
  }

  return class EdgeStore implements FastifyRateLimitStore {
    incr (address: string, callback: Parameters<FastifyRateLimitStore['incr']>[1]): void {
      void count(address).then((counted) => { callback(null, counted) })
    }

    child (): FastifyRateLimitStore {
      return this
    }
  }
}
