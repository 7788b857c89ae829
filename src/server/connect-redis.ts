import type { Redis, RedisOptions } from 'ioredis'
import { guardError } from '../errors.ts'

/**
 * A client of the Redis at this URL, which connects when it is first used or told to.
 * @throws FMG_ERR_OPTION_INVALID when ioredis is not installed.
 */
export async function connectRedis (url: string, options: RedisOptions): Promise<Redis> {
  const { Redis } = await import('ioredis').catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'redis needs the package ioredis: npm install ioredis', cause })
  })
  const client = new Redis(url, { lazyConnect: true, ...options })
  // Whatever waits for it is told by its own command; what nobody listens for, ioredis prints.
  client.on('error', () => undefined)
  return client
}
