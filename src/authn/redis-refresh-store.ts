import { guardError } from '../errors.ts'
import { anyThat, havingMethods, integer, object, string, withDefault } from '../options.ts'
import { readPepperBytes } from '../pepper.ts'
import { recordSeal } from '../books/record-seal.ts'
import type { RedisCommands } from './redis-replay-store.ts'
import { maxFollowers, type RefreshFamily, type RefreshStore } from './refresh-store.ts'

export interface RedisRefreshStoreOptions {
  /** Needs the rights `+eval +get +hget +hset +hmget +del +pexpireat +exists` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisCommands
  /** At least 32 bytes, kept apart from Redis; the records' MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Families of another epoch are not known. Default 0. */
  readonly epoch?: number
  /** Starts every key. Default `model-guard:refresh:`. */
  readonly prefix?: string
}

const readOptions = object({
  client: havingMethods<RedisCommands>('call'),
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  prefix: withDefault(string(), 'model-guard:refresh:')
})

const readFamily = object({
  familyId: string(),
  content: anyThat((value): value is string => typeof value === 'string', 'a string'),
  expiresAt: integer({ min: 0 })
})

const beginScript = `
redis.call('HSET', KEYS[1], 'family', ARGV[1], 'live', ARGV[2], 'used', '', 'at', 0)
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1`

// Digests stand between spaces, so that none is part of another.
const turnScript = `
local stored = redis.call('HMGET', KEYS[1], 'family', 'live', 'used', 'at')
if not stored[1] then return 'gone' end
if stored[1] ~= ARGV[5] then return 'changed' end
local live, followers = ' ' .. stored[2] .. ' ', 0
for _ in string.gmatch(stored[2], '%S+') do followers = followers + 1 end
if string.find(live, ' ' .. ARGV[1] .. ' ', 1, true) then
  redis.call('HSET', KEYS[1], 'family', ARGV[6], 'live', ARGV[2], 'used', ARGV[1], 'at', ARGV[3])
  return 'turned'
end
if stored[3] == ARGV[1] and tonumber(ARGV[3]) < tonumber(stored[4]) + tonumber(ARGV[4]) and followers < tonumber(ARGV[7]) then
  redis.call('HSET', KEYS[1], 'family', ARGV[6], 'live', stored[2] .. ' ' .. ARGV[2])
  return 'turned'
end
redis.call('DEL', KEYS[1])
return 'reused'`

/**
 * Refresh families for all nodes together; Redis forgets each when it ends. What a family stands for carries a MAC that holds for this family alone:
 * who can write to Redis, but has not the pepper, cannot make one or widen it. He can bring one back, while it lasts, of which he has a token.
 */
export function redisRefreshStore (options: RedisRefreshStoreOptions): RefreshStore {
  const { client, pepper, epoch, prefix } = readOptions(options, 'redisRefreshStore')
  const seal = recordSeal('refresh-store', pepper, epoch)
  // The braces are for the id alone: families spread over a cluster.
  const keyOf = (familyId: string): string => `${prefix}{${familyId}}`

  async function call (command: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.call(command, ...args)
    } catch (cause) {
      throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'refresh-store-error', cause })
    }
  }

  async function load (familyId: string, now: number): Promise<{ readonly text: string, readonly family: RefreshFamily } | null> {
    const text = await call('HGET', keyOf(familyId), 'family')
    const content = typeof text === 'string' ? seal.open('record', text) : null
    if (typeof text !== 'string' || content === null) return null
    const family = readFamily(content, 'family')
    // Redis forgets by its own clock; and one family's record is no other's.
    return family.familyId === familyId && now < family.expiresAt ? { text, family } : null
  }

  return {
    async begin (family, digest) {
      await call('EVAL', beginScript, 1, keyOf(family.familyId), seal.seal('record', family), digest, family.expiresAt)
    },
    find: async (familyId, now) => (await load(familyId, now))?.family ?? null,
    async turn (turn) {
      const { familyId, used, next, content, now, graceMs } = turn
      for (;;) {
        const before = await load(familyId, now)
        if (before === null) return 'gone'
        const after = content === undefined ? before.text : seal.seal('record', { ...before.family, content })
        const outcome = await call('EVAL', turnScript, 1, keyOf(familyId), used, next, now, graceMs, before.text, after, maxFollowers)
        if (outcome === 'turned' || outcome === 'reused' || outcome === 'gone') return outcome
      }
    },
    async end (familyId) { await call('DEL', keyOf(familyId)) }
  }
}
