import { guardError } from '../errors.ts'
import { functionOf, havingMethods, integer, object, oneOf, optionInvalid, string, withDefault } from '../options.ts'
import { addToBook, changeInBook, followBook, type BookChange } from './change-book.ts'
import { emptyBook, findInBook, openHead, readBook, reportForged, type KeyBook } from './key-book.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'
import { pulse } from './pulse.ts'
import { readPepperBytes } from './pepper.ts'
import { recordSeal } from './record-seal.ts'
import type { RedisClient } from './redis-client.ts'
import { keyCommands } from './redis-key-commands.ts'
import { followStream, type StreamEntry } from './redis-stream.ts'

export interface RedisKeyStoreOptions {
  /** Needs the rights `+eval +get +set +hset +hgetall +xadd +xread +xrevrange` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisClient
  /** At least 32 bytes, kept apart from Redis; the records' MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Records of another epoch are not known: a higher one voids a store that was in foreign hands. Default 0. */
  readonly epoch?: number
  /** In braces, starts every key. Default `model-guard:keys:`. */
  readonly prefix?: string
  /** Milliseconds between two questions whether this node still hears what is written. Default 1000. */
  readonly heartbeatMs?: number
  /** Milliseconds that this node may be without news. Default 5000. */
  readonly maxStalenessMs?: number
  /** What a node does that has been without news for longer: `refuse` every key (503), or `serve` by what it knew. Default `refuse`. */
  readonly onStale?: 'refuse' | 'serve'
  /** About how many entries the log keeps; a node that missed more reads the whole store again. Default 10,000. */
  readonly maxLogEntries?: number
  /** Told of forged records, of a store that was rolled back, and of silence. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Milliseconds from any moment, only ever forward. Default `performance.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  client: havingMethods<RedisClient>('call', 'duplicate'),
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  prefix: withDefault(string(/^[^{}]+$/, 'a string without braces'), 'model-guard:keys:'),
  heartbeatMs: withDefault(integer({ min: 10, max: 60_000 }), 1000),
  maxStalenessMs: withDefault(integer({ min: 20 }), 5000),
  onStale: withDefault(oneOf('refuse', 'serve'), 'refuse'),
  maxLogEntries: withDefault(integer({ min: 1 }), 10_000),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error) => { process.emitWarning(String(error)) }),
  clock: withDefault(functionOf<() => number>(), () => performance.now())
})

/**
 * Key records in Redis, whole in the memory of every node. A change is one entry of a Redis stream, which every node reads from where
 * it stands: a connection that was cut loses nothing.
 *
 * A node writes its own heartbeat into the stream and waits to read it there: whatever was written before the heartbeat was sent has
 * then been read, through the same primary and the same stream. Each entry carries the store's head with the number of changes, so
 * that an entry that was trimmed or taken away is missed, and the store read again.
 *
 * Who can write to Redis, but has not the pepper, can stop the keys from working. He cannot make one, raise its role or bring a
 * revoked one back on a node that runs. What a MAC cannot prevent: a whole store, put back as it once was, is believed by a node that
 * starts after that; a revocation that is taken away before any node has read it is lost. A higher `epoch` ends both.
 * @throws FMG_ERR_KEY_UNAVAILABLE when Redis cannot be reached, or its records are not what their head says.
 */
export async function redisKeyStore (options: RedisKeyStoreOptions): Promise<KeyStore> {
  const { client, pepper, epoch, prefix, heartbeatMs, maxStalenessMs, onStale, maxLogEntries, onError, clock } = readOptions(options, 'redisKeyStore')
  if (maxStalenessMs < 2 * heartbeatMs) throw optionInvalid('redisKeyStore.maxStalenessMs', `at least twice heartbeatMs (${heartbeatMs})`, maxStalenessMs)
  const seal = recordSeal(pepper, epoch)
  const commands = keyCommands(client, prefix, maxLogEntries)
  let book = emptyBook
  const heart = pulse({ heartbeatMs, maxStalenessMs, clock, sequence: () => book.sequence, send: async (name) => { await commands.beat(name) }, onSilence, onError })
  const stream = followStream(client, commands.logKey, await load(), take, onError)
  heart.start()

  return {
    recall: (keyId) => isTrusted() ? book.records.get(keyId) ?? null : null,
    find (keyId) {
      if (!isTrusted()) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'key-store-stale' })
      return findInBook(book, keyId)
    },
    async list () {
      await load()
      return [...book.records.values()]
    },
    async add (record) { await change((current) => addToBook(seal, current, record)) },
    update: async (keyId, edit) => await change((current) => changeInBook(seal, current, keyId, edit)),
    noteUse (keyId, at) { commands.noteUse(keyId, at).catch(onError) },
    lastUses: async () => await commands.lastUses(),
    async close () {
      heart.stop()
      await stream.close()
    }
  }

  function isTrusted (): boolean {
    return onStale === 'serve' || heart.isFresh()
  }

  /** Reads everything; gives the position of the log that it was read at. */
  async function load (): Promise<string> {
    const before = book
    const { sealed, position } = await commands.load()
    const next = readBook(seal, sealed, before)
    reportForged(before, next, onError)
    advance(next)
    return position
  }

  /** The log may have brought a later book meanwhile, or this very one. */
  function advance (next: KeyBook): void {
    if (next.sequence >= book.sequence) book = next
  }

  async function change (edit: (current: KeyBook) => BookChange | null): Promise<KeyRecord | null> {
    await load()
    for (;;) {
      const before = book
      const made = edit(before)
      if (made === null) return null
      const { next, record, text } = made
      const written = await commands.write(before.head, { head: next.head, keyId: record.keyId, record: text })
      if (written) advance(next)
      else await load()
      // A client that lost the connection asks again, and is told that it came too late: after itself.
      if (written || book.keys.get(record.keyId) === text) return record
    }
  }

  async function take (entry: StreamEntry): Promise<void> {
    try {
      const head = entry.get('head') ?? ''
      const { sequence } = openHead(seal, head)
      if (sequence > book.sequence) {
        const next = followBook(seal, book, head, entry.get('key') ?? '', entry.get('record') ?? '')
        if (next === null) await load()
        else book = next
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
