import { fileKeyStore } from '../authn/file-key-store.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { readPepper } from '../pepper.ts'
import { redisKeyStore } from '../authn/redis-key-store.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'
import { connectRedis } from './connect-redis.ts'
import type { RedisPlace } from './redis-place.ts'

/** The API keys of a server. */
export interface ServerKeys {
  /** Its `close` ends the connection it uses, too. */
  readonly store: KeyStore
  readonly pepper: Uint8Array
}

/**
 * Opens the key store that the configuration names.
 * @throws FMG_ERR_KEY_UNAVAILABLE when it is in a Redis that cannot be reached; FMG_ERR_FILE when the pepper cannot be read.
 */
export async function openKeys ({ keys: { store, pepper: from }, redis }: ServerConfig, data: DataFolder): Promise<ServerKeys> {
  const pepper = await readPepper(from ?? data.pepper)
  if (store === 'file' || redis === undefined) return { store: await fileKeyStore({ file: data.keys, pepper }), pepper }
  return { store: await inRedis(redis, pepper), pepper }
}

async function inRedis (place: RedisPlace, pepper: Uint8Array): Promise<KeyStore> {
  const client = await connectRedis(place, 'wait')
  try {
    const store = await redisKeyStore({ client, pepper })
    return {
      ...store,
      async close () {
        await store.close()
        client.disconnect()
      }
    }
  } catch (error) {
    client.disconnect()
    throw error
  }
}
