import { listOf } from '../options.ts'
import type { RedisClient } from './redis-client.ts'
import { readEntries, readPairs } from './redis-stream.ts'
import type { SealedBook } from './sealed-book.ts'

/** A change as it is written. */
export interface SealedChange {
  readonly head: string
  readonly id: string
  readonly text: string
  /** Ids of records to take away. */
  readonly ended: readonly string[]
}

/** What is asked of Redis about a book; each is one command, and rejects with what `unavailable` makes of the cause. */
export interface BookCommands {
  /** Everything that is stored, and the id of the log's last entry at that moment. */
  load (): Promise<{ readonly sealed: SealedBook, readonly position: string }>
  /** Writes a record, the head and an entry of the log, all or nothing; `false` when the head is no longer `before`. */
  write (before: string, change: SealedChange): Promise<boolean>
  /** Adds an entry to the log that carries this name and the head. */
  beat (name: string): Promise<void>
  readonly logKey: string
}

export interface BookCommandsOptions {
  readonly client: RedisClient
  readonly prefix: string
  /** What the records are called, together. */
  readonly plural: string
  /** About how many entries the log keeps. */
  readonly maxLogEntries: number
  readonly unavailable: (cause: unknown) => Error
}

const loadScript = `
return { redis.call('GET', KEYS[1]) or '', redis.call('HGETALL', KEYS[2]), redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1) }`

const writeScript = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
for index = 6, #ARGV do redis.call('HDEL', KEYS[2], ARGV[index]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'head', ARGV[2], 'id', ARGV[3], 'record', ARGV[4])
return 1`

const beatScript = `
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'head', redis.call('GET', KEYS[1]) or '', 'beat', ARGV[1])`

/** The commands of a book whose keys start with this prefix. */
export function bookCommands ({ client, prefix, plural, maxLogEntries, unavailable }: BookCommandsOptions): BookCommands {
  // The braces keep all keys in one slot of a cluster.
  const [head, texts, log] = [`{${prefix}}head`, `{${prefix}}${plural}`, `{${prefix}}log`]

  async function run (script: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.call('EVAL', script, 3, head, texts, log, ...args)
    } catch (cause) {
      throw unavailable(cause)
    }
  }

  return {
    logKey: log,
    async load () {
      const [storedHead, stored, last] = listOf((value) => value)(await run(loadScript), 'load')
      return { sealed: { head: String(storedHead), texts: readPairs(stored) }, position: readEntries(last)[0]?.[0] ?? '0-0' }
    },
    write: async (before, { head: after, id, text, ended }) => Number(await run(writeScript, before, after, id, text, maxLogEntries, ...ended)) === 1,
    async beat (name) { await run(beatScript, name, maxLogEntries) }
  }
}
