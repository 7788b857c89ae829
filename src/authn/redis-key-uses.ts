import { guardError } from '../errors.ts'
import type { KeyUses } from './key-book.ts'
import type { RedisClient } from '../books/redis-client.ts'
import { readPairs } from '../books/redis-stream.ts'

// By a script, as a map comes out of one as the same list whatever protocol the client speaks.
const readScript = "return redis.call('HGETALL', KEYS[1])"

/** When keys were last used, in a hash of its own: nothing is decided by it. @param onError told when a use cannot be written down. */
export function redisKeyUses (client: RedisClient, prefix: string, onError: (error: unknown) => void): KeyUses {
  const uses = `{${prefix}}uses`

  async function call (command: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.call(command, ...args)
    } catch (cause) {
      throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'key-store-error', cause })
    }
  }

  return {
    note (keyId, at) { call('HSET', uses, keyId, at).catch(onError) },
    read: async () => new Map([...readPairs(await call('EVAL', readScript, 1, uses))].map(([keyId, at]) => [keyId, Number(at)])),
    async close () {}
  }
}
