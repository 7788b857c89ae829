import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import type { Limiter } from '../limits/limiter.ts'
import { redisLimiter } from '../limits/redis-limiter.ts'

/**
 * A limiter in the Redis of this URL, whose connection ends with the server.
 * @throws FMG_ERR_OPTION_INVALID when ioredis is not installed.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when Redis cannot be reached: a node that starts without it has no share to enforce.
 */
export async function sharedLimiter (app: FastifyInstance, url: string): Promise<Limiter> {
  const { Redis } = await import('ioredis').catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'redis needs the package ioredis: npm install ioredis', cause })
  })
  // A command that cannot be sent now fails now: the request that waits for it must not.
  const client = new Redis(url, { enableOfflineQueue: false, maxRetriesPerRequest: 1, lazyConnect: true })
  client.on('error', (error: Error) => { app.log.error({ err: error }, 'Redis') })
  app.addHook('onClose', async () => { client.disconnect() })
  try {
    await client.connect()
  } catch (cause) {
    client.disconnect()
    throw guardError('FMG_ERR_LIMITER_UNAVAILABLE', { cause })
  }
  return redisLimiter({ client })
}
