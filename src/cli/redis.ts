import type { Redis } from 'ioredis'
import { UsageError } from './command.ts'

/** Whether a store is named by the URL of a Redis. */
export function isRedisUrl (place: string): boolean {
  return /^rediss?:/.test(place)
}

/** A client for as long as it is used. */
export async function withRedis<T> (url: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const { Redis } = await import('ioredis').catch(() => { throw new UsageError('a store in Redis needs the package ioredis') })
  // A command is asked and answered: a Redis that is not there is told at once.
  const client = new Redis(url, { maxRetriesPerRequest: 0 })
  client.on('error', () => undefined)
  try {
    return await use(client)
  } finally {
    client.disconnect()
  }
}

/** Uses what is closed afterwards. */
export async function closing<S extends { close (): Promise<void> }, T> (opened: S, use: (opened: S) => Promise<T>): Promise<T> {
  try {
    return await use(opened)
  } finally {
    await opened.close()
  }
}
