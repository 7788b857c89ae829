import { Redis, type RedisOptions } from 'ioredis'
import type { Test } from 'tap'
import { randomBase62 } from '../../src/encoding.ts'

/** Starts every key of this test file: files run side by side on one Redis. */
export const keyPrefix = `test-${randomBase62(8)}:`

/**
 * The Redis that the tests may write to.
 * @throws {Error} when `REDIS_URL` is not set: a test that needs Redis fails rather than pass without it.
 */
export function redisUrl (): string {
  const url = process.env.REDIS_URL
  if (url === undefined || url === '') throw new Error('REDIS_URL is not set: run the tests with `npm test`, or set it to a Redis that may be written to')
  return url
}

/** A client that is gone when the test is; by default of the Redis that all tests share. */
export function connectRedis (t: Test, url = redisUrl(), options: RedisOptions = {}): Redis {
  const client = new Redis(url, options)
  // Without a listener a lost connection is printed; the commands that it fails tell the test.
  client.on('error', () => undefined)
  t.teardown(() => { client.disconnect() })
  return client
}
