import { randomBase62 } from '../encoding.ts'
import { integer, listOf, string } from '../options.ts'
import type { RedisLike } from './run-script.ts'

/** A block as it is written. */
export interface SealedBlock {
  readonly principal: string
  readonly text: string
  /** Milliseconds since the epoch. */
  readonly forgetAt: number
}

/** What is written, and what is asked. */
export interface BlockExchange {
  readonly blocks: readonly SealedBlock[]
  /** Everything after this number of changes is told. */
  readonly since: number
}

export interface BlockNews {
  /** Another one when Redis has lost changes that some node had heard of: it was emptied, or its place was taken by one that was behind. */
  readonly generation: string
  /** Number of the last change that there was. */
  readonly sequence: number
  /** Number of the last one that is told here: lower when there are more. */
  readonly told: number
  readonly texts: readonly string[]
}

/**
 * Writes blocks and tells what changed, in one step. KEYS: the generation, the number of changes, the principals by the number of
 * their last change, the principals by when they are forgotten, their blocks. What is over, or is more than the most, is left out,
 * what is forgotten first before the rest.
 */
const script = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SETNX', KEYS[1], ARGV[1])
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[2]) then redis.call('SET', KEYS[1], ARGV[1]) end
for index = 5, #ARGV, 3 do
  redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[2]), ARGV[index])
  redis.call('ZADD', KEYS[4], ARGV[index + 1], ARGV[index])
  redis.call('HSET', KEYS[5], ARGV[index], ARGV[index + 2])
end
local function leaveOut(principals)
  for _, principal in ipairs(principals) do
    redis.call('ZREM', KEYS[3], principal)
    redis.call('ZREM', KEYS[4], principal)
    redis.call('HDEL', KEYS[5], principal)
  end
end
leaveOut(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 1000))
local more = redis.call('ZCARD', KEYS[4]) - ARGV[3]
if more > 0 then leaveOut(redis.call('ZRANGE', KEYS[4], 0, more - 1)) end
local sequence = tonumber(redis.call('GET', KEYS[2]) or 0)
local changed = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[2], sequence, 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local told, texts = sequence, {}
for index = 1, #changed, 2 do texts[#texts + 1] = redis.call('HGET', KEYS[5], changed[index]) or '' end
if #texts == tonumber(ARGV[4]) then told = tonumber(changed[#changed]) end
return { redis.call('GET', KEYS[1]), sequence, told, texts }`

/** Blocks told in one answer. */
const maxTold = 1000

/** The one command by which nodes tell each other of blocks. */
export function blockCommand (client: RedisLike, prefix: string, maxBlocks: number): (exchange: BlockExchange) => Promise<BlockNews> {
  // The braces keep all keys in one slot of a cluster.
  const keys = ['generation', 'sequence', 'changes', 'ends', 'blocks'].map((name) => `{${prefix}}${name}`)
  return async ({ blocks, since }) => {
    const written = blocks.flatMap(({ principal, text, forgetAt }) => [principal, forgetAt, text])
    // Drawn anew each time: a Redis that was emptied and hears of this node first must not look as if it had not been.
    const [generation, sequence, told, texts] = listOf((value) => value)(await client.call('EVAL', script, keys.length, ...keys, randomBase62(12), since, maxBlocks, maxTold, ...written), 'blocks')
    return {
      generation: string()(generation, 'generation'),
      sequence: readCount(sequence, 'sequence'),
      told: readCount(told, 'told'),
      texts: listOf(String)(texts, 'texts')
    }
  }
}

const readCount = integer({ min: 0 })
