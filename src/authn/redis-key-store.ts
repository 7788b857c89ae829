import { integer, object, withDefault } from '../options.ts'
import { bookKeyStore, keyBookForm } from './key-book.ts'
import type { KeyStore } from './key-store.ts'
import { readPepperBytes } from '../pepper.ts'
import { readPrefix, redisBook, redisBookOptions, type RedisBookOptions } from '../books/redis-book.ts'
import { redisKeyUses } from './redis-key-uses.ts'
import { checkHeartbeat } from '../books/shared-book.ts'

export interface RedisKeyStoreOptions extends RedisBookOptions {
  /** At least 32 bytes, kept apart from Redis; the records' MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Records of another epoch are not known: a higher one voids a store that was in foreign hands. Default 0. */
  readonly epoch?: number
  /** In braces, starts every key. Default `model-guard:keys:`. */
  readonly prefix?: string
}

const readOptions = object({
  ...redisBookOptions,
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  prefix: withDefault(readPrefix, 'model-guard:keys:')
})

/**
 * Key records in Redis, whole in the memory of every node; a node that has not heard of changes for too long refuses every key.
 *
 * Who can write to Redis, but has not the pepper, can stop the keys from working. He cannot make one, raise its role or bring a
 * revoked one back on a node that runs. What a MAC cannot prevent: a whole store, put back as it once was, is believed by a node that
 * starts after that; a revocation that is taken away before any node has read it is lost. A higher `epoch` ends both.
 * @throws FMG_ERR_KEY_UNAVAILABLE when Redis cannot be reached, or its records are not what their head says.
 */
export async function redisKeyStore (options: RedisKeyStoreOptions): Promise<KeyStore> {
  const { pepper, epoch, prefix, ...kept } = readOptions(options, 'redisKeyStore')
  checkHeartbeat(kept, 'redisKeyStore')
  const form = keyBookForm(pepper, epoch)
  return await bookKeyStore(form, async (onChange) => await redisBook(form, prefix, kept, onChange), redisKeyUses(kept.client, prefix, kept.onError))
}
