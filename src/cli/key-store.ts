import path from 'node:path'
import { fileKeyStore } from '../authn/file-key-store.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { readPepper } from '../pepper.ts'
import { redisKeyStore } from '../authn/redis-key-store.ts'
import type { Arguments } from './command.ts'
import { closing, isRedisUrl, withRedis } from './redis.ts'
import { secretNamed } from './references.ts'

/** Says which store is meant, and where its pepper is. */
export const storeOptions = { store: { type: 'string' }, pepper: { type: 'string' } } as const
export const storeUsage = '--store FILE|REDIS-URL [--pepper SECRET]'

/** The pepper of a store: that of a file is by default `secrets/pepper` beside it, that of a Redis must be named. */
export async function pepperOf (args: Arguments): Promise<Buffer> {
  const place = args.required('store')
  const named = isRedisUrl(place) ? args.required('pepper') : args.text('pepper')
  return await readPepper(named === undefined ? path.join(path.dirname(place), 'secrets', 'pepper') : secretNamed(named))
}

/** Opens the store that the arguments name for as long as it is used. */
export async function withStore<T> (args: Arguments, use: (store: KeyStore, pepper: Uint8Array) => Promise<T>): Promise<T> {
  const place = args.required('store')
  const pepper = await pepperOf(args)
  const useStore = async (store: KeyStore): Promise<T> => await use(store, pepper)
  if (isRedisUrl(place)) return await withRedis(place, async (client) => await closing(await redisKeyStore({ client, pepper }), useStore))
  return await closing(await fileKeyStore({ file: place, pepper }), useStore)
}
