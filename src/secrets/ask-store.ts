import { randomInt } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { boundedFetch, type Fetch, type FetchRequest } from '../bounded-fetch.ts'
import { breaker } from '../breaker.ts'
import { guardError, isGuardError, type GuardError } from '../errors.ts'
import { functionOf, integer, withDefault, type Reader } from '../options.ts'

/** How patient the client of a key store is. */
export interface StorePatience {
  /** Milliseconds for one question, all its attempts and the pauses between them included. Default 10 000. */
  readonly timeoutMs?: number | undefined
  /** Attempts at one question, where the store is not reached, slow, or says that it is busy. Default 3. */
  readonly maxAttempts?: number | undefined
  /** Bytes of an answer. Default 1 MiB. */
  readonly maxAnswerBytes?: number | undefined
  /** Questions in a row that fail before the store is left alone. Default 5. */
  readonly maxFailures?: number | undefined
  /** Milliseconds for which it then is, but for one question each. Default 5000. */
  readonly restMs?: number | undefined
  readonly fetch?: Fetch | undefined
  /** Milliseconds, of any beginning. */
  readonly clock?: (() => number) | undefined
  /** From 0 to 1: where in its bounds a pause lies. */
  readonly random?: (() => number) | undefined
  readonly pause?: ((milliseconds: number) => Promise<unknown>) | undefined
}

/** Reads the members of {@link StorePatience}, to be put among those of a store's own options. */
export const patienceShape = {
  timeoutMs: withDefault(integer({ min: 1 }), 10_000),
  maxAttempts: withDefault(integer({ min: 1, max: 10 }), 3),
  maxAnswerBytes: withDefault(integer({ min: 1 }), 1_048_576),
  maxFailures: withDefault(integer({ min: 1 }), 5),
  restMs: withDefault(integer({ min: 1 }), 5000),
  fetch: withDefault(functionOf<Fetch>(), fetch),
  clock: withDefault(functionOf<() => number>(), () => performance.now()),
  random: withDefault(functionOf<() => number>(), () => randomInt(1000) / 1000),
  pause: withDefault(functionOf<(milliseconds: number) => Promise<unknown>>(), wait)
}

/** {@link StorePatience} as it was read. */
export type ReadPatience = { readonly [K in keyof typeof patienceShape]: ReturnType<(typeof patienceShape)[K]> }

/** An answer of a store: of any status but those that say that it is not up to answering. */
export interface StoreAnswer {
  readonly status: number
  readonly headers: Headers
  /** The body, which the caller wipes where it may hold a key. */
  readonly body: Buffer
}

/** A question. `headers` may be made anew for each attempt, since signatures and tokens grow old. */
export interface StoreQuestion extends Omit<FetchRequest, 'headers'> {
  readonly headers?: Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>)
  /** When a larger question that this one is part of ends, of the client's clock, if that is before this one's own end. */
  readonly until?: number
  /** Whether an answer says that the store is busy, in a way of its own. */
  readonly isBusy?: (answer: StoreAnswer) => boolean
}

/**
 * Asks a store.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `store-unreachable`, `store-slow`, `store-busy` (statuses 429 and 500 to 599), or `store-resting` while it is
 * left alone; never later than `timeoutMs`.
 */
export type AskStore = (url: string, question?: StoreQuestion) => Promise<StoreAnswer>

/** Makes the client of one store. Connections are kept, failures in a row counted, for all who use it together. */
export function askStore ({ timeoutMs, maxAttempts, maxAnswerBytes, maxFailures, restMs, fetch, clock, random, pause }: ReadPatience): AskStore {
  const gate = breaker({ failures: maxFailures, everyMs: restMs, clock })

  async function attempt (url: string, { headers, until, isBusy, ...request }: StoreQuestion, milliseconds: number): Promise<StoreAnswer> {
    const limits = { timeoutMs: Math.max(1, Math.floor(milliseconds)), maxBytes: maxAnswerBytes }
    try {
      const { status, headers: answered, read } = await boundedFetch(fetch, url, limits, { ...request, headers: typeof headers === 'function' ? headers() : headers ?? {} })
      if (status === 429 || status >= 500) throw storeFailure('store-busy', `status ${status}`)
      const answer = { status, headers: answered, body: await read() }
      if (isBusy?.(answer) === true) throw storeFailure('store-busy', `status ${status}`)
      return answer
    } catch (error) {
      if (isGuardError(error)) throw error
      const isLate = error instanceof DOMException && error.name === 'TimeoutError'
      throw storeFailure(isLate ? 'store-slow' : 'store-unreachable', describe(error))
    }
  }

  async function persist (url: string, question: StoreQuestion, until: number, left: number): Promise<StoreAnswer> {
    try {
      // What is left of the time is shared by the attempts that are left: a store that never answers is asked as often as one that refuses.
      return await attempt(url, question, (until - clock()) / left)
    } catch (error) {
      // Full jitter, so that a thousand nodes whose store went do not come back to it as one.
      const pauseMs = random() * 100 * 2 ** (maxAttempts - left)
      if (left === 1 || clock() + pauseMs >= until) throw error
      await pause(pauseMs)
    }
    return await persist(url, question, until, left - 1)
  }

  return async function ask (url, question = {}) {
    if (gate.wait() > 0) throw storeFailure('store-resting', 'not asked again yet after failing')
    try {
      const answer = await persist(url, question, Math.min(clock() + timeoutMs, question.until ?? Infinity), maxAttempts)
      gate.close()
      return answer
    } catch (error) {
      gate.fail()
      throw error
    }
  }
}

/** That a store does not give what it is asked for. `why` goes to logs: a status or a system's own words, never what was sent or answered. */
export function storeFailure (reason: string, why: string): GuardError {
  return guardError('FMG_ERR_KEY_UNAVAILABLE', { reason, cause: new Error(why) })
}

/** That a store does not answer this status with what it was asked for: `store-denied` (401, 403), `store-missing` (404) or `store-refused`. */
export function statusFailure ({ status, body }: StoreAnswer): GuardError {
  // What it says of its reasons may quote the question.
  body.fill(0)
  return storeFailure(status === 401 || status === 403 ? 'store-denied' : status === 404 ? 'store-missing' : 'store-refused', `status ${status}`)
}

/** `fetch failed` says nothing; what is below it does. */
function describe (error: unknown): string {
  const told: readonly unknown[] = [error, Reflect.get(Object(error), 'cause')]
  return told.filter((part) => part instanceof Error).map(({ message }) => message).join(': ')
}

/**
 * Reads JSON that a store answered.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `store-garbage` when it is not what was expected; what it was is not told, it may be a key.
 */
export function readAnswer<T> (read: Reader<T>, { body }: StoreAnswer): T {
  const text = body.toString()
  body.fill(0)
  try {
    return read(JSON.parse(text), 'answer')
  } catch {
    throw storeFailure('store-garbage', 'an answer that is not what it should be')
  }
}
