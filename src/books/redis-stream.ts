import { setTimeout } from 'node:timers/promises'
import { anyThat, listOf, string } from '../options.ts'
import type { RedisClient } from './redis-client.ts'

/** An entry of a stream: its fields by name. */
export type StreamEntry = ReadonlyMap<string, string>

/** Reads a stream to its end, and on as it grows. */
export interface StreamFollower {
  /** Gives up the connection, which may have gone silent, for a new one, and reads on after this id. */
  restart (position: string): void
  close (): Promise<void>
}

const text = anyThat((value): value is string => typeof value === 'string', 'a string')
const anything = (value: unknown): unknown => value
const pauseMs = 100

/**
 * Gives `take` one entry after the other, each once, after the id `from`; waits for it before it gives the next.
 * @param onError told of every read that failed; it is tried again.
 */
export function followStream (client: RedisClient, key: string, from: string, take: (entry: StreamEntry) => Promise<void>, onError: (error: unknown) => void): StreamFollower {
  let reader = connect(client, from)
  const closing = new AbortController()
  const reading = follow()
  return {
    restart (after) {
      // Who was about to begin anew when it was closed would leave a connection open for ever.
      if (closing.signal.aborted) return
      reader.leave()
      reader = connect(client, after)
    },
    async close () {
      closing.abort()
      reader.leave()
      await reading
    }
  }

  async function follow (): Promise<void> {
    while (!closing.signal.aborted) await readOnce(reader).catch(pause)
  }

  async function pause (error: unknown): Promise<void> {
    if (closing.signal.aborted) return
    onError(error)
    await setTimeout(pauseMs)
  }

  async function readOnce (connection: Connection): Promise<void> {
    const answer = await connection.ask('XREAD', 'COUNT', 1000, 'BLOCK', 0, 'STREAMS', key, connection.position)
    // RESP2 puts each stream in a list of its own, RESP3 has a map, which ioredis gives as keys and values in a row.
    const streams = listOf(anything)(answer, 'XREAD')
    const entries = typeof streams[0] === 'string' ? streams[1] : listOf(anything)(streams[0], 'XREAD')[1]
    for (const [id, entry] of readEntries(entries)) {
      await take(entry)
      connection.position = id
    }
  }
}

/** The entries of an answer to XREAD or XREVRANGE, with their ids. */
export function readEntries (answer: unknown): readonly (readonly [id: string, entry: StreamEntry])[] {
  return listOf(listOf(anything))(answer, 'entries').map(([id, fields]) => [string()(id, 'id'), readPairs(fields)])
}

/** Names and values that stand in a row. */
export function readPairs (answer: unknown): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>()
  let name: string | undefined
  for (const word of listOf(text)(answer, 'fields')) {
    if (name === undefined) name = word
    else {
      pairs.set(name, word)
      name = undefined
    }
  }
  return pairs
}

interface Connection {
  /** Of the last entry that was taken from it. */
  position: string
  readonly ask: (command: string, ...args: (string | number)[]) => Promise<unknown>
  /** Fails what is asked at once: ioredis would leave it open for ever where the connection is just looking for its server. */
  readonly leave: () => void
}

function connect (client: RedisClient, position: string): Connection {
  const connection = client.duplicate()
  // ioredis prints what nobody listens for; the read that fails tells it.
  connection.on?.('error', () => undefined)
  const left = new AbortController()
  return {
    position,
    ask: async (command, ...args) => await new Promise((resolve, reject) => {
      left.signal.onabort = () => { reject(new Error('the connection was given up')) }
      connection.call(command, ...args).then(resolve, reject)
    }),
    leave () {
      connection.disconnect()
      left.abort()
    }
  }
}
