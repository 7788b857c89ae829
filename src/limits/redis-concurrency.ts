import { randomBase62 } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { functionOf, havingMethods, integer, object, oneOf, optional, optionInvalid, string, withDefault } from '../options.ts'
import { checkSlotRequest, type Concurrency, type Lease, type SlotOutcome, type SlotRequest } from './concurrency.ts'
import { longestLeaseMs } from './concurrency-script.ts'
import { leaseCounts } from './lease-counts.ts'
import { leaseRenewal } from './lease-renewal.ts'
import type { RedisLike } from './run-script.ts'
import { callSlots, inCommands, type SlotCall } from './slot-call.ts'

export interface RedisConcurrencyOptions {
  /** Needs the rights `+evalsha +eval +time +pttl +pexpire +zadd +zcard +zrem +zrangebyscore +zremrangebyscore` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisLike
  /** Starts every key. Default `model-guard:slots:`. */
  readonly prefix?: string
  /** Milliseconds until an answer that has not come counts as none. Default 50. */
  readonly timeoutMs?: number
  /** Questions without an answer; further ones are answered as `whenUnavailable` says, so that a silent Redis does not fill the memory. Default 10,000. */
  readonly maxPending?: number
  /**
   * Milliseconds after which the slots of a node that died are free, 1,000 to 60,000. Leases are renewed five times in that time. Default 5,000.
   * A node that stands still for longer loses its leases, and takes them again when it goes on.
   */
  readonly leaseMs?: number
  /**
   * What happens while Redis does not answer. `deny`, the default: requests are refused, 503. `allow`: they have their slots, uncounted.
   * `local`: this node gives `max` ÷ live nodes slots of each limit, those among them that it held before.
   */
  readonly whenUnavailable?: 'deny' | 'allow' | 'local'
  /** The highest number of live nodes last known; `undefined` as long as there is none, and requests are refused. Needed by `local`. */
  readonly nodes?: () => number | undefined
  /** Milliseconds of a clock that no one can set back. Default `performance.now`. */
  readonly now?: () => number
}

/** Slots that are given after a round trip. */
export interface RedisConcurrency extends Concurrency {
  /** @throws FMG_ERR_LIMITER_UNAVAILABLE with reason `limiter-overloaded`, `limiter-timeout` or `limiter-error`. */
  acquire (request: SlotRequest): Promise<SlotOutcome>
}

const readOptions = object({
  client: havingMethods<RedisLike>('call'),
  prefix: withDefault(string(/^[^{}]+$/, 'a string without braces'), 'model-guard:slots:'),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 50),
  maxPending: withDefault(integer({ min: 1 }), 10_000),
  leaseMs: withDefault(integer({ min: 1000, max: longestLeaseMs }), 5000),
  whenUnavailable: withDefault(oneOf<'deny' | 'allow' | 'local'>('deny', 'allow', 'local'), 'deny'),
  nodes: optional(functionOf<() => number | undefined>()),
  now: withDefault(functionOf<() => number>(), () => performance.now())
})

/** A question that waits for its answer. */
interface Question {
  readonly request: SlotRequest
  readonly lease: Lease
  readonly resolve: (outcome: SlotOutcome) => void
  readonly reject: (error: Error) => void
  isAnswered: boolean
}

/** What one turn of the event loop has to say of one group. */
interface Turn {
  readonly released: Lease[]
  readonly taken: Question[]
}

/**
 * Counts requests in flight in Redis, for all nodes together, by leases that end by the clock of Redis: one command for all that one
 * turn of the event loop asks about a group, and one a heartbeat for all leases of a group that this node holds.
 *
 * What Redis forgot (it was emptied, or failed over to a replica that lags) is taken again by the next heartbeat: until then others may
 * be given the slots, and no run is ended for it. A release that does not arrive is repeated by the heartbeat, until the lease has ended
 * by itself.
 */
export function redisConcurrency (options: RedisConcurrencyOptions): RedisConcurrency {
  const { client, prefix, timeoutMs, maxPending, leaseMs, whenUnavailable, nodes, now } = readOptions(options, 'redisConcurrency')
  if (whenUnavailable === 'local' && nodes === undefined) throw optionInvalid('redisConcurrency.nodes', 'given with whenUnavailable: local', nodes)
  const node = randomBase62(12)
  const held = leaseCounts()
  const renewal = leaseRenewal({ held, leaseMs, now, send: async (call) => await callSlots(client, prefix, leaseMs, call) })
  const gathered = new Map<string, Turn>()
  let asked = 0
  let pending = 0

  return { acquire, release }

  function acquire (request: SlotRequest): Promise<SlotOutcome> {
    return new Promise((resolve, reject) => {
      checkSlotRequest(request)
      const { group, slots } = request
      const lease = { id: `${node}:${(asked++).toString(36)}`, group, keys: slots.map(({ key }) => key) }
      const question = { request, lease, resolve, reject, isAnswered: false }
      if (pending >= maxPending) {
        answerAlone(question, 'limiter-overloaded')
        return
      }
      pending++
      turnOf(group).taken.push(question)
    })
  }

  function release (lease: Lease): void {
    if (held.remove(lease)) turnOf(lease.group).released.push(lease)
  }

  function turnOf (group: string): Turn {
    if (gathered.size === 0) setImmediate(endTurn)
    const turn = gathered.get(group) ?? { released: [], taken: [] }
    gathered.set(group, turn)
    return turn
  }

  function endTurn (): void {
    for (const turn of gathered.values()) for (const call of inCommands({ ...turn, renewed: [] })) say(call)
    gathered.clear()
  }

  function say (call: SlotCall<Question>): void {
    const { released, taken } = call
    const late = setTimeout(() => {
      // Timers run before the socket is read: after a stall of this process the answer may be waiting there.
      setImmediate(() => { for (const question of taken) answerAlone(question, 'limiter-timeout') })
    }, timeoutMs)
    const settle = (): void => {
      clearTimeout(late)
      pending -= taken.length
    }
    callSlots(client, prefix, leaseMs, call).finally(settle).then((answers) => {
      for (const [index, question] of taken.entries()) conclude(question, Array.isArray(answers) ? answers[index] : undefined)
    }, (cause: unknown) => {
      renewal.repeat(released)
      for (const question of taken) answerAlone(question, 'limiter-error', cause)
    })
  }

  function conclude (question: Question, answer: unknown): void {
    const { request: { slots }, lease, isAnswered } = question
    // Some clients are set to give numbers as strings.
    const number = typeof answer === 'number' ? answer : Number.parseInt(String(answer), 10)
    const limit = slots[number - 1]?.limit
    if (number === 0 && !isAnswered) give(question)
    // It came too late, and the request was refused, or is over already.
    else if (number === 0 && !held.has(lease)) turnOf(lease.group).released.push(lease)
    else if (limit !== undefined) reply(question, { allowed: false, limit })
    else answerAlone(question, 'limiter-error', new Error(typeof answer === 'string' ? answer : 'not the answer of the script'))
  }

  function give (question: Question): void {
    held.add(question.lease)
    renewal.start()
    reply(question, { allowed: true, lease: question.lease })
  }

  function reply (question: Question, outcome: SlotOutcome): void {
    question.isAnswered = true
    question.resolve(outcome)
  }

  /** Answers for a Redis that does not. */
  function answerAlone (question: Question, reason: string, cause?: unknown): void {
    if (question.isAnswered) return
    const { request: { group, slots } } = question
    const live = whenUnavailable === 'local' ? nodes?.() : undefined
    if (whenUnavailable === 'allow') {
      give(question)
    } else if (live === undefined) {
      question.isAnswered = true
      question.reject(guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason, cause }))
    } else {
      // Not `>=`: a number of nodes that is none refuses.
      const taken = slots.find(({ key, limit: { max } }) => !(held.of(group, key) < Math.floor(max / Math.max(1, live))))
      if (taken === undefined) give(question)
      else reply(question, { allowed: false, limit: taken.limit })
    }
  }
}
