import { randomBase62 } from '../encoding.ts'
import { functionOf, havingMethods, integer, object, optionInvalid, string, withDefault } from '../options.ts'
import type { RedisLike } from './run-script.ts'

export interface LiveNodesOptions {
  /** Needs the rights `+eval +time +zadd +zcard +zremrangebyscore +pexpire` and the key. */
  readonly client: RedisLike
  /** Where nodes announce themselves: the same for all that share limits. Default `model-guard:nodes`. */
  readonly key?: string
  /** Milliseconds between two announcements. Default 1000. */
  readonly heartbeatMs?: number
  /** Milliseconds after its last announcement that a node counts as live. Default 5000. */
  readonly lifetimeMs?: number
  /** Milliseconds for which the highest number is remembered. They do not pass while Redis cannot be reached. Default 600,000. */
  readonly rememberMs?: number
  /** Milliseconds from any moment, only ever forward. Default `performance.now`. */
  readonly now?: () => number
}

/** How many nodes there are. */
export interface LiveNodes {
  /**
   * The highest number of nodes that were live at once, as far as this one has heard. `undefined` for a node that has not been
   * announced for long enough that all others have heard of it: their shares leave nothing for it.
   */
  readonly highest: number | undefined
  /** Announces no more. */
  stop (): void
}

const readOptions = object({
  client: havingMethods<RedisLike>('call'),
  key: withDefault(string(), 'model-guard:nodes'),
  heartbeatMs: withDefault(integer({ min: 10, max: 60_000 }), 1000),
  lifetimeMs: withDefault(integer({ min: 20 }), 5000),
  rememberMs: withDefault(integer({ min: 20 }), 600_000),
  now: withDefault(functionOf<() => number>(), () => performance.now())
})

// By the clock of Redis. One that was set back must not keep the dead alive.
const announceScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])`

/** Announces this node in Redis, until it is told to stop, and counts those that do the same. */
export function liveNodes (options: LiveNodesOptions): LiveNodes {
  const { client, key, heartbeatMs, lifetimeMs, rememberMs, now } = readOptions(options, 'liveNodes')
  if (lifetimeMs < 2 * heartbeatMs) throw optionInvalid('liveNodes.lifetimeMs', 'at least twice heartbeatMs', lifetimeMs)
  const node = randomBase62(16)
  /** Falling: of what was seen earlier only higher numbers matter. */
  let seen: { readonly at: number, readonly count: number }[] = []
  let first: number | undefined
  let last = 0
  let isAsking = false

  announce()
  const timer = setInterval(announce, heartbeatMs).unref()
  return {
    get highest () { return first !== undefined && last - first >= lifetimeMs ? seen[0]?.count : undefined },
    stop () { clearInterval(timer) }
  }

  function announce (): void {
    // One that is not answered is not sent again and again.
    if (isAsking) return
    isAsking = true
    client.call('EVAL', announceScript, 1, key, node, lifetimeMs).then(note, () => undefined).finally(() => { isAsking = false })
  }

  function note (answer: unknown): void {
    const count = Number(answer)
    if (!Number.isSafeInteger(count) || count < 1) return
    const at = now()
    // Who was silent for so long was forgotten by the others, unless they had come to know of it before.
    if (first === undefined || (at - last > lifetimeMs && last - first < lifetimeMs)) first = at
    last = at
    seen = [...seen.filter((earlier) => earlier.count > count && earlier.at >= at - rememberMs), { at, count }]
  }
}
