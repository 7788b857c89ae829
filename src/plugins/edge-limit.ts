import rateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import { allOptional, integer, withDefault } from '../options.ts'

export interface EdgeLimitOptions {
  /** Attempts an address (IPv6: a /64). */
  readonly max?: number
  readonly windowSeconds?: number
}

/** Option `edge`: by default 300 attempts in 60 seconds. */
export const readEdgeLimit = allOptional({
  max: withDefault(integer({ min: 1 }), 300),
  windowSeconds: withDefault(integer({ min: 1, max: 86_400 }), 60)
})

/**
 * The limit by address, for requests whose credential is not already known to be good. `request.ip` follows `trustProxy`.
 * @returns a function that counts one attempt, and throws FMG_ERR_QUOTA_EXCEEDED when there were too many.
 */
export async function edgeLimit (app: FastifyInstance, { max, windowSeconds }: Required<EdgeLimitOptions>): Promise<(request: FastifyRequest) => Promise<void>> {
  // An instance of its own: a server that uses @fastify/rate-limit itself keeps its own store, keys and options.
  const host = Fastify()
  await host.register(rateLimit, { global: false, max, timeWindow: windowSeconds * 1000 })
  const count = host.createRateLimit()
  app.addHook('onClose', async () => { await host.close() })

  return async function limitEdge (request) {
    const outcome = await count(request)
    if (!outcome.isAllowed && outcome.isExceeded) {
      throw guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: 'edge-limit', headers: { 'retry-after': String(outcome.ttlInSeconds), 'cache-control': 'no-store' } })
    }
  }
}
