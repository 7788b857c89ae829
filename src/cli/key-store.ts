import path from 'node:path'
import { fileKeyStore } from '../authn/file-key-store.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { readPepper } from '../authn/pepper.ts'
import { redisKeyStore } from '../authn/redis-key-store.ts'
import { UsageError, type Arguments } from './command.ts'

/** Says which store is meant, and where its pepper is. */
export const storeOptions = { store: { type: 'string' }, pepper: { type: 'string' } } as const
export const storeUsage = '--store FILE|REDIS-URL [--pepper FILE]'

/**
 * Opens the store that the arguments name for as long as it is used. The pepper of a file is by default `secrets/pepper` beside it;
 * that of a Redis must be named.
 */
export async function withStore<T> (args: Arguments, use: (store: KeyStore, pepper: Uint8Array) => Promise<T>): Promise<T> {
  const place = args.required('store')
  if (/^rediss?:/.test(place)) return await withRedisStore(place, await readPepper(args.required('pepper')), use)
  const pepper = await readPepper(args.text('pepper') ?? path.join(path.dirname(place), 'secrets', 'pepper'))
  return await closing(await fileKeyStore({ file: place, pepper }), (store) => use(store, pepper))
}

async function withRedisStore<T> (url: string, pepper: Uint8Array, use: (store: KeyStore, pepper: Uint8Array) => Promise<T>): Promise<T> {
  const { Redis } = await import('ioredis').catch(() => { throw new UsageError('a store in Redis needs the package ioredis') })
  // A command is asked and answered: a Redis that is not there is told at once.
  const client = new Redis(url, { maxRetriesPerRequest: 0 })
  client.on('error', () => undefined)
  try {
    return await closing(await redisKeyStore({ client, pepper }), (store) => use(store, pepper))
  } finally {
    client.disconnect()
  }
}

async function closing<T> (store: KeyStore, use: (store: KeyStore) => Promise<T>): Promise<T> {
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}
