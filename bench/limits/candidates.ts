import LocalStore from '@fastify/rate-limit/store/LocalStore.js'
import RedisStore from '@fastify/rate-limit/store/RedisStore.js'
import { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterUnion, type RateLimiterAbstract } from 'rate-limiter-flexible'
import { leasedLimiter } from '../../src/limits/leased-limiter.ts'
import type { Limiter, LimitRequest } from '../../src/limits/limiter.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { Window } from '../../src/limits/windows.ts'

/** Something that decides whether the identity of this number may ask once more. Throws when it may not: that is not worth measuring. */
export type Decide = (identity: number) => Promise<void> | undefined

/** One subject of the comparison. */
export interface Candidate {
  readonly name: string
  readonly store: 'memory' | 'redis'
  readonly windows: number
  readonly decide: Decide
  readonly stop: () => Promise<void>
}

/** Identities that ask in turn, each of an org of its own: in a cluster no two of them are asked about in one command. */
export const identities = 100

const quota = 100_000_000_000
const seconds = [1, 60, 3600, 600, 86_400, 7 * 86_400] as const
const counts = [1, 3, 6] as const
const keys = Array.from({ length: identities }, (_, index) => `principal-${index}`)

/** All of them; those of Redis on connections of their own. */
export function candidates (redisUrl: string): readonly Candidate[] {
  return counts.flatMap((count) => [
    guard('guard', 'memory', count, memoryLimiter()),
    flexible('memory', count, (options) => new RateLimiterMemory(options)),
    ...count === 1 ? [fastify('memory', new LocalStore(false, false, 5000))] : [],
    ...redisCandidates(redisUrl, count)
  ])
}

function redisCandidates (url: string, count: number): readonly Candidate[] {
  const connect = (): Redis => new Redis(url)
  const own = connect()
  const byGroup = connect()
  const ofLeases = connect()
  const theirs = connect()
  const leased = leasedLimiter({ limiter: redisLimiter({ client: ofLeases, prefix: `leased-${count}:`, timeoutMs: 5000, together: 'all' }) })
  return [
    { ...guard('guard', 'redis', count, redisLimiter({ client: own, prefix: `guard-${count}:`, timeoutMs: 5000, together: 'all' })), stop: quit(own) },
    { ...guard('guard, as in a cluster', 'redis', count, redisLimiter({ client: byGroup, prefix: `group-${count}:`, timeoutMs: 5000 })), stop: quit(byGroup) },
    { ...guard('guard, leased', 'redis', count, leased), stop: async () => { await leased.close(); await ofLeases.quit() } },
    { ...flexible('redis', count, (options) => new RateLimiterRedis({ ...options, storeClient: theirs })), stop: quit(theirs) },
    ...count === 1 ? [fastifyOnRedis(connect())] : []
  ]
}

function quit (client: Redis): () => Promise<void> {
  return async () => { await client.quit() }
}

async function nothing (): Promise<void> {}

function guard (name: string, store: Candidate['store'], count: number, limiter: Limiter): Candidate {
  const windows: readonly Window[] = seconds.slice(0, count).map((windowSeconds) => ({ name: `w${windowSeconds}`, quota, windowSeconds }))
  // As a plugin does: the request is built anew, the windows are kept.
  const requestOf = (identity: number): LimitRequest => ({ group: keys[identity] ?? '', budgets: [{ key: 'principal', windows }], cost: 1 })
  const check = ({ allowed }: { readonly allowed: boolean }): void => { if (!allowed) throw new Error(`${name} refused`) }
  return {
    name,
    store,
    windows: count,
    stop: nothing,
    decide (identity) {
      const outcome = limiter.consume(requestOf(identity))
      if (outcome instanceof Promise) return outcome.then(check)
      check(outcome)
      return undefined
    }
  }
}

function flexible (store: Candidate['store'], count: number, make: (options: { points: number, duration: number, keyPrefix: string }) => RateLimiterAbstract): Candidate {
  const limiters = seconds.slice(0, count).map((duration) => make({ points: quota, duration, keyPrefix: `flexible-${count}-${duration}` }))
  const [only] = limiters
  const limiter: { consume (key: string): Promise<unknown> } = count === 1 && only !== undefined ? only : new RateLimiterUnion(...limiters)
  return { name: 'rate-limiter-flexible', store, windows: count, stop: nothing, decide: async (identity) => { await limiter.consume(keys[identity] ?? '') } }
}

function fastify (store: Candidate['store'], counter: LocalStore | RedisStore): Candidate {
  return {
    name: '@fastify/rate-limit',
    store,
    windows: 1,
    stop: nothing,
    decide: (identity) => new Promise((resolve, reject) => {
      counter.incr(keys[identity] ?? '', (error) => {
        if (error === null) resolve()
        else reject(error)
      }, 60_000, quota)
    })
  }
}

function fastifyOnRedis (client: Redis): Candidate {
  return { ...fastify('redis', new RedisStore(false, false, client, 'fastify-')), stop: quit(client) }
}
