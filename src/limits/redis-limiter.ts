import { createHash } from 'node:crypto'
import { guardError } from '../errors.ts'
import { havingMethods, integer, object, string, withDefault } from '../options.ts'
import { limitOutcome } from './decision.ts'
import type { Limiter, LimitOutcome, LimitRequest, Window } from './limiter.ts'
import { redisKey } from './redis-key.ts'
import { limitScript } from './redis-script.ts'
import { checkLimitRequest } from './windows.ts'

/** What is needed of a Redis client: ioredis and its Cluster fit as they are, any other in one line. */
export interface RedisLike {
  /** Sends one command; rejects when Redis answers with an error or not at all. */
  call (command: string, ...args: (string | number | Buffer)[]): Promise<unknown>
}

export interface RedisLimiterOptions {
  /** Needs the rights `+evalsha +eval +get +set +time` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisLike
  /** Starts every key. Default `model-guard:limit:`. */
  readonly prefix?: string
  /** Milliseconds until an answer that has not come counts as none. Default 50. */
  readonly timeoutMs?: number
  /** Questions without an answer; further ones are refused at once, so that a silent Redis does not fill the memory. Default 10,000. */
  readonly maxPending?: number
}

/** A limiter that answers after a round trip. */
export interface RedisLimiter extends Limiter {
  /** @throws FMG_ERR_LIMITER_UNAVAILABLE with reason `limiter-overloaded`, `limiter-timeout` or `limiter-error`. */
  consume (request: LimitRequest): Promise<LimitOutcome>
}

const readOptions = object({
  client: havingMethods<RedisLike>('call'),
  prefix: withDefault(string(/^[^{}]+$/, 'a string without braces'), 'model-guard:limit:'),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 50),
  maxPending: withDefault(integer({ min: 1 }), 10_000)
})

const digest = createHash('sha1').update(limitScript).digest('hex')

/**
 * Counts in Redis, for all nodes together: one command a decision, by the clock of Redis.
 *
 * A question that was not answered in time may still have been counted; it is never allowed. What Redis itself forgets
 * (a failover to a replica that lags) is not counted.
 */
export function redisLimiter (options: RedisLimiterOptions): RedisLimiter {
  const { client, prefix, timeoutMs, maxPending } = readOptions(options, 'redisLimiter')
  let pending = 0

  return { consume }

  async function consume (request: LimitRequest): Promise<LimitOutcome> {
    checkLimitRequest(request)
    if (pending >= maxPending) throw unavailable('limiter-overloaded')
    return readAnswer(await inTime(ask(request), timeoutMs), request.windows)
  }

  async function ask ({ key, group, windows, cost }: LimitRequest): Promise<unknown> {
    const args = [1, redisKey(prefix, group, key), cost, ...windows.flatMap(windowArguments)]
    pending++
    return await runScript(client, args)
      .catch((cause: unknown) => { throw unavailable('limiter-error', cause) })
      .finally(() => { pending-- })
  }
}

function windowArguments ({ name, quota, windowSeconds }: Window): (string | number)[] {
  return [name, quota, windowSeconds * 1e6]
}

async function runScript (client: RedisLike, args: readonly (string | number)[]): Promise<unknown> {
  try {
    return await client.call('EVALSHA', digest, ...args)
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
    // The first question to this Redis, or the first after a restart or SCRIPT FLUSH: EVAL also keeps the script.
    return await client.call('EVAL', limitScript, ...args)
  }
}

async function inTime<T> (answer: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    // Timers run before the socket is read: after a stall of this process the answer may be waiting there.
    timer = setTimeout(() => setImmediate(() => { reject(unavailable('limiter-timeout')) }), timeoutMs)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}

function readAnswer (answer: unknown, windows: readonly Window[]): LimitOutcome {
  // Some clients are set to give numbers as strings.
  const numbers = Array.isArray(answer) ? answer.map((number) => Number.parseInt(String(number), 10)) : []
  const [binding = NaN, used = NaN, untilMoreRoom = NaN, wait = NaN] = numbers
  const window = windows[binding - 1]
  if (window === undefined || !(used >= 0 && untilMoreRoom >= 0 && wait >= 0)) throw unavailable('limiter-error')
  return limitOutcome(window, used, untilMoreRoom, wait)
}

function unavailable (reason: string, cause?: unknown): Error {
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason, cause })
}
