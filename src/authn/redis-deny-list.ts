import { functionOf, integer, object, withDefault } from '../options.ts'
import { bookDenyList, denialBookForm } from './denial-book.ts'
import type { SharedDenyList } from './deny-list.ts'
import { readPepperBytes } from '../pepper.ts'
import { readPrefix, redisBook, redisBookOptions, type RedisBookOptions } from '../books/redis-book.ts'
import { checkHeartbeat } from '../books/shared-book.ts'

export interface RedisDenyListOptions extends RedisBookOptions {
  /** At least 32 bytes, kept apart from Redis; the MACs of denials are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Denials of another epoch are not known: a higher one begins a new list. Default 0. */
  readonly epoch?: number
  /** In braces, starts every key. Default `model-guard:denials:`. */
  readonly prefix?: string
  /** By which denials end. Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const readOptions = object({
  ...redisBookOptions,
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  prefix: withDefault(readPrefix, 'model-guard:denials:'),
  now: withDefault(functionOf<() => number>(), Date.now)
})

/**
 * A deny-list of all nodes together, whole in the memory of each. A denial reaches a node in milliseconds, and one that was cut off
 * in between hears of it when it is back; a node that has not heard for too long refuses every token with a 503, or serves, as told.
 *
 * Who can write to Redis, but has not the pepper, cannot take a denial back on a node that runs, nor deny anything. What a MAC cannot
 * prevent: a whole list, put back as it once was or emptied, is believed by a node that starts after that.
 * @throws FMG_ERR_DENY_LIST_UNAVAILABLE when Redis cannot be reached, or the denials are not what their head says.
 */
export async function redisDenyList (options: RedisDenyListOptions): Promise<SharedDenyList> {
  const { pepper, epoch, prefix, now, ...kept } = readOptions(options, 'redisDenyList')
  checkHeartbeat(kept, 'redisDenyList')
  const form = denialBookForm(pepper, epoch)
  return bookDenyList(form, await redisBook(form, prefix, kept), now)
}
