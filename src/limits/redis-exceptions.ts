import { readPrefix, redisBook, redisBookOptions, type RedisBookOptions } from '../books/redis-book.ts'
import { checkHeartbeat } from '../books/shared-book.ts'
import { object, withDefault } from '../options.ts'
import { bookExceptions, exceptionBookForm, exceptionOptions, type ExceptionOptions } from './exception-book.ts'
import type { Exceptions } from './exceptions.ts'

export interface RedisExceptionsOptions extends ExceptionOptions, Omit<RedisBookOptions, 'onStale' | 'onError'> {
  /** In braces, starts every key. Default `model-guard:limit-exceptions:`. */
  readonly prefix?: string
}

const { onStale: _serve, ...bookOptions } = redisBookOptions
const readOptions = object({ ...exceptionOptions, ...bookOptions, prefix: withDefault(readPrefix, 'model-guard:limit-exceptions:') })

/**
 * Exceptions in Redis, whole in the memory of every node: a change reaches a node in milliseconds, and one that was cut off in between
 * hears of it when it is back. Until then it goes by what it knew; what has an end date ends all the same.
 *
 * Who can write to Redis, but has not the pepper, can raise no quota, and take no lowered one away on a node that runs. What a MAC cannot
 * prevent: all exceptions, put back as they once were or emptied, are believed by a node that starts after that. A higher `epoch` ends
 * both.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when Redis cannot be reached, or the exceptions are not what their head says.
 */
export async function redisExceptions (options: RedisExceptionsOptions): Promise<Exceptions> {
  const { pepper, epoch, tiers, approval, maxExceptions, now, prefix, ...kept } = readOptions(options, 'redisExceptions')
  checkHeartbeat(kept, 'redisExceptions')
  const form = exceptionBookForm(pepper, epoch)
  return await bookExceptions(form, async (onChange) => await redisBook(form, prefix, { ...kept, onStale: 'serve' }, onChange), { tiers, approval, maxExceptions, now, onError: kept.onError })
}
