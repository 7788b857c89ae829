import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import type { Concurrency } from '../limits/concurrency.ts'
import type { Limiter } from '../limits/limiter.ts'
import { redisConcurrency } from '../limits/redis-concurrency.ts'
import { redisLimiter } from '../limits/redis-limiter.ts'
import { connectRedis } from './connect-redis.ts'
import type { RedisPlace } from './redis-place.ts'

/** What counts for all nodes together. */
export interface SharedLimits {
  readonly limiter: Limiter
  readonly concurrency: Concurrency
}

/**
 * Limits in the Redis at this place, whose connection ends with the server.
 * @throws FMG_ERR_OPTION_INVALID when ioredis is not installed.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when Redis cannot be reached: a node that starts without it has no share to enforce.
 */
export async function sharedLimits (app: FastifyInstance, place: RedisPlace): Promise<SharedLimits> {
  // A command that cannot be sent now fails now: the request that waits for it must not.
  const client = await connectRedis(place, 'fail', (error) => { app.log.error({ err: error }, 'Redis') })
  app.addHook('onClose', async () => { client.disconnect() })
  try {
    await client.connect()
  } catch (cause) {
    client.disconnect()
    throw guardError('FMG_ERR_LIMITER_UNAVAILABLE', { cause })
  }
  return { limiter: redisLimiter({ client }), concurrency: redisConcurrency({ client }) }
}
