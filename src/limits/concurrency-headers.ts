import { serializeList, type Item } from 'structured-headers'
import type { ConcurrencyLimit } from './concurrency.ts'

/**
 * The items of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11 section 3) of limits that count no time but requests in flight:
 * `"concurrency-principal";q=4;qu="concurrent-requests"`.
 */
export function concurrencyPolicyHeader (limits: readonly ConcurrencyLimit[]): string {
  return serializeList(limits.map(({ name, max }): Item => [`concurrency-${name}`, new Map<string, number | string>([['q', max], ['qu', 'concurrent-requests']])]))
}

/** The value of `RateLimit` (section 4) where all slots of this limit are taken. Nobody knows for how long: a second is worth a try. */
export function concurrencyHeader ({ name }: ConcurrencyLimit): string {
  return serializeList([[`concurrency-${name}`, new Map([['r', 0], ['t', 1]])]])
}
