import { guardError } from '../errors.ts'
import { listOf } from '../options.ts'
import type { SealedBook } from './key-book.ts'
import type { RedisClient } from './redis-client.ts'
import { readEntries, readPairs } from './redis-stream.ts'

/** What is asked of Redis about keys; each is one command, and rejects with FMG_ERR_KEY_UNAVAILABLE. */
export interface KeyCommands {
  /** Everything that is stored, and the id of the log's last entry at that moment. */
  load (): Promise<{ readonly sealed: SealedBook, readonly position: string }>
  /** Writes a record, the head and an entry of the log, all or nothing; `false` when the head is no longer `before`. */
  write (before: string, change: { readonly head: string, readonly keyId: string, readonly record: string }): Promise<boolean>
  /** Adds an entry to the log that carries this name and the head. */
  beat (name: string): Promise<void>
  noteUse (keyId: string, at: number): Promise<void>
  lastUses (): Promise<ReadonlyMap<string, number>>
  readonly logKey: string
}

const loadScript = `
return { redis.call('GET', KEYS[1]) or '', redis.call('HGETALL', KEYS[2]), redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1) }`

const writeScript = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'head', ARGV[2], 'key', ARGV[3], 'record', ARGV[4])
return 1`

const beatScript = `
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'head', redis.call('GET', KEYS[1]) or '', 'beat', ARGV[1])`

// By a script, as a map comes out of one as the same list whatever protocol the client speaks.
const usesScript = "return redis.call('HGETALL', KEYS[1])"

/** @param maxLogEntries about how many entries the log keeps. */
export function keyCommands (client: RedisClient, prefix: string, maxLogEntries: number): KeyCommands {
  // The braces keep all keys in one slot of a cluster.
  const [head, keys, log, uses] = [`{${prefix}}head`, `{${prefix}}keys`, `{${prefix}}log`, `{${prefix}}uses`]

  async function call (command: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.call(command, ...args)
    } catch (cause) {
      throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'key-store-error', cause })
    }
  }

  async function run (script: string, ...args: (string | number)[]): Promise<unknown> {
    return await call('EVAL', script, 3, head, keys, log, ...args)
  }

  return {
    logKey: log,
    async load () {
      const [storedHead, stored, last] = listOf((value) => value)(await run(loadScript), 'load')
      return { sealed: { head: String(storedHead), keys: readPairs(stored) }, position: readEntries(last)[0]?.[0] ?? '0-0' }
    },
    write: async (before, change) => Number(await run(writeScript, before, change.head, change.keyId, change.record, maxLogEntries)) === 1,
    async beat (name) { await run(beatScript, name, maxLogEntries) },
    async noteUse (keyId, at) { await call('HSET', uses, keyId, at) },
    lastUses: async () => new Map([...readPairs(await call('EVAL', usesScript, 1, uses))].map(([keyId, at]) => [keyId, Number(at)]))
  }
}
