import { guardError } from '../errors.ts'
import { havingMethods, integer, object, oneOf, string, withDefault } from '../options.ts'
import { checkLimitRequest, readDifference } from './limit-request.ts'
import type { Charge, Limiter, LimitOutcome, LimitRequest } from './limiter.ts'
import { readAnswer, scriptArguments, type Question } from './redis-question.ts'
import { limitScript } from './redis-script.ts'
import { type RedisLike, scriptRunner } from './run-script.ts'

export interface RedisLimiterOptions {
  /** Needs the rights `+evalsha +eval +get +set +setrange +time` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisLike
  /** Starts every key. Default `model-guard:limit:`. */
  readonly prefix?: string
  /** Milliseconds until an answer that has not come counts as none. Default 50. */
  readonly timeoutMs?: number
  /**
   * Which questions of one turn may stand in one command: those about one group, or `all`. The latter is faster, and is for a Redis that is
   * one server, also behind Sentinels: a cluster would refuse it. Default `group`.
   */
  readonly together?: 'group' | 'all'
  /** Questions without an answer; further ones are refused at once, so that a silent Redis does not fill the memory. Default 10,000. */
  readonly maxPending?: number
}

/** A limiter that answers after a round trip. */
export interface RedisLimiter extends Limiter {
  /** @throws FMG_ERR_LIMITER_UNAVAILABLE with reason `limiter-overloaded`, `limiter-timeout` or `limiter-error`. */
  consume (request: LimitRequest): Promise<LimitOutcome>
  /** @throws as `consume`. What was not answered may have been settled. */
  settle (request: LimitRequest, charge: Charge, difference: number): Promise<void>
}

const readOptions = object({
  client: havingMethods<RedisLike>('call'),
  prefix: withDefault(string(/^[^{}]+$/, 'a string without braces'), 'model-guard:limit:'),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 50),
  together: withDefault(oneOf<'group' | 'all'>('group', 'all'), 'group'),
  maxPending: withDefault(integer({ min: 1 }), 10_000)
})

const runScript = scriptRunner(limitScript)

/** Questions in one call: Redis does nothing else meanwhile, and this process reads the answers to one while Redis works on the next. */
const maxTogether = 20

/** A question that waits for its answer. */
interface Waiting extends Question {
  readonly resolve: (outcome: LimitOutcome) => void
  readonly reject: (error: Error) => void
}

/**
 * Counts in Redis, for all nodes together, by the clock of Redis: one command a decision, and one for all questions about a
 * group that come in one turn of the event loop.
 *
 * A question that was not answered in time may still have been counted; it is never allowed. What Redis itself forgets
 * (a failover to a replica that lags) is not counted.
 */
export function redisLimiter (options: RedisLimiterOptions): RedisLimiter {
  const { client, prefix, timeoutMs, maxPending, together } = readOptions(options, 'redisLimiter')
  const gathered = new Map<string, Waiting[]>()
  let pending = 0

  return {
    consume: async (request) => await put(request, request.cost),
    async settle (request, { at, pooled }, difference) {
      await put(request, [readDifference(request, difference), at, ...pooled])
    }
  }

  function put (request: LimitRequest, what: Question['what']): Promise<LimitOutcome> {
    return new Promise((resolve, reject) => {
      checkLimitRequest(request)
      if (pending >= maxPending) throw unavailable('limiter-overloaded')
      pending++
      gather({ request, what, resolve, reject })
    })
  }

  function gather (question: Waiting): void {
    if (gathered.size === 0) setImmediate(askAll)
    const group = together === 'all' ? '' : question.request.group
    const questions = gathered.get(group)
    if (questions === undefined) gathered.set(group, [question])
    else questions.push(question)
  }

  function askAll (): void {
    for (const questions of gathered.values()) {
      for (let at = 0; at < questions.length; at += maxTogether) ask(questions.slice(at, at + maxTogether))
    }
    gathered.clear()
  }

  function ask (questions: readonly Waiting[]): void {
    const late = setTimeout(() => {
      // Timers run before the socket is read: after a stall of this process the answer may be waiting there.
      setImmediate(() => { refuse(questions, unavailable('limiter-timeout')) })
    }, timeoutMs)
    const release = (): void => {
      clearTimeout(late)
      pending -= questions.length
    }
    runScript(client, scriptArguments(prefix, questions)).finally(release)
      .then((answers) => { conclude(questions, answers) }, (cause: unknown) => { refuse(questions, unavailable('limiter-error', cause)) })
  }
}

function conclude (questions: readonly Waiting[], answers: unknown): void {
  for (const [index, { request, resolve, reject }] of questions.entries()) {
    const answer: unknown = Array.isArray(answers) ? answers[index] : undefined
    const outcome = readAnswer(answer, request)
    if (outcome === undefined) reject(unavailable('limiter-error', typeof answer === 'string' ? replyError(answer) : new Error('not the answer of the script')))
    else resolve(outcome)
  }
}

/** As clients name an answer that is an error. */
function replyError (message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' })
}

function refuse (questions: readonly Waiting[], error: Error): void {
  for (const { reject } of questions) reject(error)
}

function unavailable (reason: string, cause?: unknown): Error {
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason, cause })
}
