import { functionOf, havingMethods, integer, oneOf, string, withDefault } from '../options.ts'
import { followBook, type BookChange } from './change-book.ts'
import { pulse } from './pulse.ts'
import { bookCommands } from './redis-book-commands.ts'
import type { RedisClient } from './redis-client.ts'
import { followStream, type StreamEntry } from './redis-stream.ts'
import { emptyBook, openHead, readBook, reportForged, unavailable, type Book, type BookForm, type BookRecord } from './sealed-book.ts'
import type { OnChange, OnStale, SharedBook } from './shared-book.ts'

/** How a book in Redis is kept. */
export interface RedisBookOptions {
  /** Needs the rights `+eval +get +set +hset +hdel +hgetall +xadd +xread +xrevrange` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisClient
  /** Milliseconds between two questions whether this node still hears what is written. Default 1000. */
  readonly heartbeatMs?: number
  /** Milliseconds that this node may be without news. Default 5000. */
  readonly maxStalenessMs?: number
  /** What a node does that has been without news for longer: `refuse` (503), or `serve` by what it knew. Default `refuse`. */
  readonly onStale?: OnStale
  /** About how many entries the log keeps; a node that missed more reads the whole store again. Default 10,000. */
  readonly maxLogEntries?: number
  /** Told of forged records, of a store that was rolled back, and of silence. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Milliseconds from any moment, only ever forward. Default `performance.now`. */
  readonly clock?: () => number
}

/** Readers of these options. */
export const redisBookOptions = {
  client: havingMethods<RedisClient>('call', 'duplicate'),
  heartbeatMs: withDefault(integer({ min: 10, max: 60_000 }), 1000),
  maxStalenessMs: withDefault(integer({ min: 20 }), 5000),
  onStale: withDefault(oneOf<OnStale>('refuse', 'serve'), 'refuse'),
  maxLogEntries: withDefault(integer({ min: 1 }), 10_000),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error: unknown) => { process.emitWarning(String(error)) }),
  clock: withDefault(functionOf<() => number>(), () => performance.now())
}

/** Starts every key, in braces. */
export const readPrefix = string(/^[^{}]+$/, 'a string without braces')

/**
 * A book in Redis, whole in the memory of every node. A change is one entry of a Redis stream, which every node reads from where
 * it stands: a connection that was cut loses nothing.
 *
 * A node writes its own heartbeat into the stream and waits to read it there: whatever was written before the heartbeat was sent has
 * then been read, through the same primary and the same stream. Each entry carries the book's head with the number of changes, so
 * that an entry that was trimmed or taken away is missed, and the book read again.
 * @throws the form's error when Redis cannot be reached, or the records are not what their head says.
 */
export async function redisBook<R extends BookRecord> (form: BookForm<R>, prefix: string, options: Required<RedisBookOptions>, onChange: OnChange<R> = () => undefined): Promise<SharedBook<R>> {
  const { client, heartbeatMs, maxStalenessMs, onStale, maxLogEntries, onError, clock } = options
  const commands = bookCommands({ client, prefix, plural: form.plural, maxLogEntries, unavailable: (cause) => unavailable(form, 'error', cause) })
  let book = emptyBook<R>()
  const heart = pulse({
    heartbeatMs,
    maxStalenessMs,
    clock,
    sequence: () => book.sequence,
    send: async (name) => { await commands.beat(name) },
    onSilence,
    onError,
    unavailable: (what) => unavailable(form, what)
  })
  const stream = followStream(client, commands.logKey, await load(), take, onError)
  heart.start()

  return {
    get current () { return book },
    isTrusted: () => onStale === 'serve' || heart.isFresh(),
    async load () { await load() },
    change,
    async close () {
      heart.stop()
      await stream.close()
    }
  }

  /** Reads everything; gives the position of the log that it was read at. */
  async function load (): Promise<string> {
    const before = book
    const { sealed, position } = await commands.load()
    const next = readBook(form, sealed, before)
    reportForged(form, before, next, onError)
    if (book === before) turnTo(next)
    // Records that the log has brought meanwhile stay what they are: others of the same text would be changes.
    else if (next.sequence > book.sequence) turnTo(readBook(form, sealed, book))
    return position
  }

  function turnTo (next: Book<R>): void {
    const before = book
    book = next
    onChange(next, before)
  }

  async function change (edit: (current: Book<R>) => BookChange<R> | null): Promise<R | null> {
    let isLoaded = false
    for (;;) {
      const before = book
      const made = edit(before)
      if (made === null && isLoaded) return null
      if (made !== null && await commands.write(before.head, { ...made, head: made.next.head })) {
        // The log may have brought this very book meanwhile, or a later one.
        if (made.next.sequence > book.sequence) turnTo(made.next)
        return made.record
      }
      await load()
      isLoaded = true
      // A client that lost the connection asks again, and is told that it came too late: after itself.
      if (made !== null && book.texts.get(made.id) === made.text) return made.record
    }
  }

  async function take (entry: StreamEntry): Promise<void> {
    try {
      const head = entry.get('head') ?? ''
      const { sequence } = openHead(form, head)
      if (sequence > book.sequence) {
        const next = followBook(form, book, head, entry.get('id') ?? '', entry.get('record') ?? '')
        if (next === null) await load()
        else turnTo(next)
      }
      heart.heard(entry.get('beat'), sequence)
    } catch (error) {
      // Passed over, or one bad entry would end all news; what it told of is missed at the next heartbeat.
      onError(error)
    }
  }

  /** What was heard last may be gone, and the log begin anew. */
  async function onSilence (): Promise<void> {
    stream.restart(await load())
  }
}
