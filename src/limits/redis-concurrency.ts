import { randomInt } from 'node:crypto'
import { randomBase62 } from '../encoding.ts'
import { guardError, type GuardError } from '../errors.ts'
import { anyThat, functionOf, havingMethods, integer, object, optional, string, withDefault } from '../options.ts'
import { breaker } from './breaker.ts'
import { checkSlotRequest, type Concurrency, type Lease, type SlotOutcome, type SlotRequest } from './concurrency.ts'
import { longestLeaseMs } from './concurrency-script.ts'
import { leaseCounts } from './lease-counts.ts'
import { leaseRenewal } from './lease-renewal.ts'
import type { LiveNodes } from './live-nodes.ts'
import type { RedisLike } from './run-script.ts'
import { callSlots, inCommands, type SlotCall } from './slot-call.ts'
import { decideAlone } from './slots-alone.ts'
import { isOutage } from './unavailability.ts'

export interface RedisConcurrencyOptions {
  /** Needs the rights `+evalsha +eval +time +pttl +pexpire +zadd +zcard +zrem +zrangebyscore +zremrangebyscore` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisLike
  /** Starts every key. Default `model-guard:slots:`. */
  readonly prefix?: string
  /** Milliseconds until an answer that has not come counts as none. Default 50. */
  readonly timeoutMs?: number
  /** Questions without an answer; further ones are answered as each limit's `whenUnavailable` says, so that a silent Redis does not fill the memory. Default 10,000. */
  readonly maxPending?: number
  /**
   * Milliseconds after which the slots of a node that died are free, 1,000 to 60,000. Leases are renewed five times in that time. Default 5,000.
   * A node that stands still for longer loses its leases, and takes them again when it goes on.
   */
  readonly leaseMs?: number
  /** Among how many nodes limits that are `local` are divided: `liveNodes`, or `{ highest: 4 }` where there are never more. Default: nobody knows, and they refuse. */
  readonly nodes?: Pick<LiveNodes, 'highest'>
  /** Failures in a row after which Redis is no longer asked. Default 5. */
  readonly failures?: number
  /** Milliseconds until it is asked again whether it is there, the first time; each further one takes twice as long, 5,000 at most. Default 100. */
  readonly probeMs?: number
  /** Milliseconds of a clock that no one can set back. Default `performance.now`. */
  readonly now?: () => number
}

/** Slots that are given after a round trip. */
export interface RedisConcurrency extends Concurrency {
  /**
   * @throws FMG_ERR_LIMITER_UNAVAILABLE with reason `limiter-overloaded`, `limiter-timeout`, `limiter-error`, `limiter-outage`,
   * `limiter-nodes-unknown` or `limiter-part-too-small`.
   */
  acquire (request: SlotRequest): Promise<SlotOutcome>
  /** Asks no more whether Redis is back. */
  stop (): void
}

const readOptions = object({
  client: havingMethods<RedisLike>('call'),
  prefix: withDefault(string(/^[^{}]+$/, 'a string without braces'), 'model-guard:slots:'),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 50),
  maxPending: withDefault(integer({ min: 1 }), 10_000),
  leaseMs: withDefault(integer({ min: 1000, max: longestLeaseMs }), 5000),
  nodes: optional(anyThat((value): value is Pick<LiveNodes, 'highest'> => typeof value === 'object' && value !== null && 'highest' in value, 'an object with highest')),
  failures: withDefault(integer({ min: 1 }), 5),
  probeMs: withDefault(integer({ min: 1 }), 100),
  now: withDefault(functionOf<() => number>(), () => performance.now())
})

/** The longest time between two probes. */
const maxProbeMs = 5000

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
 *
 * While Redis cannot be reached it is not asked, and each limit does as its `whenUnavailable` says: `deny` refuses, `allow` gives slots
 * uncounted, `local` gives this node's part of them, `max` ÷ live nodes, those among them that it held before. Redis is told of them
 * when it is back.
 */
export function redisConcurrency (options: RedisConcurrencyOptions): RedisConcurrency {
  const { client, prefix, timeoutMs, maxPending, leaseMs, nodes, failures, probeMs, now } = readOptions(options, 'redisConcurrency')
  const node = randomBase62(12)
  const held = leaseCounts()
  const renewal = leaseRenewal({ held, leaseMs, now, send: async (call) => await callSlots(client, prefix, leaseMs, call) })
  const gathered = new Map<string, Turn>()
  const fuse = breaker({ failures, probe, probeMs, maxProbeMs, random: () => randomInt(2 ** 32) / 2 ** 32, schedule, onOpen: () => undefined, onClose: () => undefined })
  /** Of the last question that failed: in a cluster only some groups may be out of reach. */
  let lost = ''
  let asked = 0
  let pending = 0

  return { acquire, release, stop: () => { fuse.stop() } }

  function acquire (request: SlotRequest): Promise<SlotOutcome> {
    return new Promise((resolve, reject) => {
      checkSlotRequest(request)
      const { group, slots } = request
      const lease = { id: `${node}:${(asked++).toString(36)}`, group, keys: slots.map(({ key }) => key) }
      const question = { request, lease, resolve, reject, isAnswered: false }
      if (fuse.isOpen || pending >= maxPending) {
        answerAlone(question, unavailable(fuse.isOpen ? 'limiter-outage' : 'limiter-overloaded'))
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
    for (const [group, turn] of gathered) for (const call of inCommands({ ...turn, renewed: [] })) say(group, call)
    gathered.clear()
  }

  function say (group: string, call: SlotCall<Question>): void {
    const { released, taken } = call
    const { turn } = fuse
    const fail = (error: GuardError): void => {
      if (isOutage(error)) noteFailure(group, turn, error)
      for (const question of taken) answerAlone(question, error)
    }
    const settle = expire(timeoutMs, () => { fail(unavailable('limiter-timeout')) })
    callSlots(client, prefix, leaseMs, call).finally(() => {
      settle()
      pending -= taken.length
    }).then((answers) => {
      fuse.succeeded(turn)
      for (const [index, question] of taken.entries()) conclude(question, Array.isArray(answers) ? answers[index] : undefined)
    }, (cause: unknown) => {
      renewal.repeat(released)
      fail(unavailable('limiter-error', cause))
    })
  }

  function noteFailure (group: string, turn: number, error: GuardError): void {
    lost = group
    fuse.failed(turn, error)
  }

  /** Asks what changes nothing. */
  async function probe (): Promise<void> {
    await new Promise<unknown>((resolve, reject) => {
      const settle = expire(timeoutMs, () => { reject(unavailable('limiter-timeout')) })
      callSlots(client, prefix, leaseMs, { released: [{ id: node, group: lost, keys: ['probe'] }], renewed: [], taken: [] }).finally(settle).then(resolve, reject)
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
    else answerAlone(question, unavailable('limiter-error', typeof answer === 'string' ? replyError(answer) : new Error('not the answer of the script')))
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
  function answerAlone (question: Question, error: GuardError): void {
    if (question.isAnswered) return
    const decision = decideAlone(question.request, error, held, nodes?.highest)
    if (decision === null) {
      give(question)
    } else if (decision instanceof Error) {
      question.isAnswered = true
      question.reject(decision)
    } else {
      reply(question, { allowed: false, limit: decision })
    }
  }
}

function unavailable (reason: string, cause?: unknown): GuardError {
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason, cause })
}

/** As clients name an answer that is an error. */
function replyError (message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' })
}

/** Calls back after this time, unless cancelled by what it gives. */
function expire (milliseconds: number, callback: () => void): () => void {
  // Timers run before the socket is read: after a stall of this process the answer may be waiting there.
  const timer = setTimeout(() => { setImmediate(callback) }, milliseconds)
  return () => { clearTimeout(timer) }
}

function schedule (run: () => void, delayMs: number): () => void {
  const timer = setTimeout(run, delayMs).unref()
  return () => { clearTimeout(timer) }
}
