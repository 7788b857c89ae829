import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import type { Limiter } from '../limits/limiter.ts'
import { redisLimiter } from '../limits/redis-limiter.ts'

/**
 * A limiter in the Redis of this URL, whose connection ends with the server.
 * @throws FMG_ERR_OPTION_INVALID when ioredis is not installed.
 */
export async function sharedLimiter (app: FastifyInstance, url: string): Promise<Limiter> {
  const { Redis } = await import('ioredis').catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'redis needs the package ioredis: npm install ioredis', cause })
  })
  // A command that cannot be sent now fails now: the request that waits for it must not.
  const client = new Redis(url, { enableOfflineQueue: false, maxRetriesPerRequest: 1, lazyConnect: true })
  client.on('error', (error: Error) => { app.log.error({ err: error }, 'Redis') })
  await client.connect()
  app.addHook('onClose', async () => { client.disconnect() })
  return redisLimiter({ client })
}
