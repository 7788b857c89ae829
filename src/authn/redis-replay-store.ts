import { guardError } from '../errors.ts'
import { havingMethods, integer, object, string, withDefault } from '../options.ts'
import type { ReplayStore } from './replay-store.ts'

/** What is needed of a Redis client: ioredis and its Cluster fit as they are, any other in one line. */
export interface RedisCommands {
  /** Sends one command; rejects when Redis answers with an error or not at all. */
  call (command: string, ...args: (string | number | Buffer)[]): Promise<unknown>
}

export interface RedisReplayStoreOptions {
  /** Needs the right `+set` and the keys below the prefix. */
  readonly client: RedisCommands
  /** Starts every key. Default `model-guard:replay:`. */
  readonly prefix?: string
  /** Milliseconds until an answer that has not come counts as none. Default 50. */
  readonly timeoutMs?: number
}

const readOptions = object({
  client: havingMethods<RedisCommands>('call'),
  prefix: withDefault(string(), 'model-guard:replay:'),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 50)
})

/** A replay store for all nodes together. What Redis itself forgets (a failover to a replica that lags) can be used again. */
export function redisReplayStore (options: RedisReplayStoreOptions): ReplayStore {
  const { client, prefix, timeoutMs } = readOptions(options, 'redisReplayStore')
  return {
    async remember (id, lifetimeMs) {
      const answer = await inTime(client.call('SET', prefix + id, 1, 'NX', 'PX', Math.ceil(lifetimeMs)), timeoutMs)
      if (answer === null) return false
      if (answer === 'OK') return true
      throw unavailable('replay-store-error', new Error('not the answer of SET'))
    }
  }
}

async function inTime (asked: Promise<unknown>, timeoutMs: number): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    // Timers run before the socket is read: after a stall of this process the answer may be waiting there.
    const late = setTimeout(() => { setImmediate(() => { reject(unavailable('replay-store-timeout')) }) }, timeoutMs)
    asked.finally(() => { clearTimeout(late) }).then(resolve, (cause: unknown) => { reject(unavailable('replay-store-error', cause)) })
  })
}

function unavailable (reason: string, cause?: unknown): Error {
  return guardError('FMG_ERR_REPLAY_UNAVAILABLE', { reason, cause })
}
