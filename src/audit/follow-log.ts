import { EventEmitter, once } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { guardError } from '../errors.ts'
import { exists, makePrivateFolder, writeFileAtomic } from '../files.ts'
import { functionOf, havingMethods, integer, object, string, withDefault } from '../options.ts'
import { lineReader } from './line-reader.ts'
import type { AuditLog } from './log.ts'
import type { Sink } from './sink.ts'

export interface FollowLogOptions {
  /** The log, in this process. */
  readonly log: AuditLog
  /** Closed with the follower. */
  readonly sink: Sink
  /** Where it is kept how far the sink is: not within the log's folder. Made when it is not there: the sink then gets all that the log still keeps. */
  readonly positionFile: string
  /** Lines that are delivered together at most. Default 500. */
  readonly maxLines?: number | undefined
  /** The first pause after a failure; each further one is twice as long, up to 30 seconds. Default 200. */
  readonly retryMs?: number | undefined
  /** Told of every failure; it is tried again. Default: a process warning. */
  readonly onError?: ((error: Error) => void) | undefined
}

/** Delivers a log to a sink, for as long as both are there. */
export interface Follower {
  /** The seq that is delivered next: the sink has all lines before it. */
  readonly next: number
  /** Stops after what is being delivered, for which it waits as long as this. What is left is delivered by the next follower. Default 5000. */
  close (timeoutMs?: number): Promise<void>
}

const maxRetryMs = 30_000

const readOptions = object({
  log: havingMethods<AuditLog>('append', 'follow'),
  sink: havingMethods<Sink>('deliver', 'close'),
  positionFile: string(),
  maxLines: withDefault(integer({ min: 1 }), 500),
  retryMs: withDefault(integer({ min: 1, max: maxRetryMs }), 200),
  onError: withDefault(functionOf<(error: Error) => void>(), (error) => { process.emitWarning(error) })
})

/**
 * Mirrors the durable lines of a log, each at least once and in their order, from where the sink was when it was last followed. The log never waits: what a sink has not had
 * stands in the log's segments, which are neither compressed nor, for `maxHoldSeconds` of the log, deleted before.
 * @throws FMG_ERR_OPTION_INVALID for wrong options.
 * @throws FMG_ERR_FILE for a position that cannot be read or written.
 */
export async function followLog (options: FollowLogOptions): Promise<Follower> {
  const { log, sink, positionFile, maxLines, retryMs, onError } = readOptions(options, 'followLog')
  await makePrivateFolder(path.dirname(positionFile))
  const reader = lineReader(log.directory)
  const closing = new AbortController()
  let next = await readPosition(positionFile, log.origin)
  const events = new EventEmitter<{ grown: [], closed: [] }>()
  const hold = log.follow(next, () => { events.emit('grown') })
  const closed = once(events, 'closed')
  const running = run()

  async function run (): Promise<void> {
    for (let pauseMs = retryMs; !closing.signal.aborted;) {
      // Before it is looked, so that nothing that comes meanwhile is missed.
      const grown = new Promise<void>((resolve) => { events.removeAllListeners('grown').once('grown', resolve) })
      try {
        if (!await deliver()) await Promise.race([grown, closed])
        pauseMs = retryMs
      } catch (error) {
        onError(error instanceof Error ? error : new Error('a sink failed', { cause: error }))
        await setTimeout(pauseMs, undefined, { signal: closing.signal }).catch(() => {})
        pauseMs = Math.min(pauseMs * 2, maxRetryMs)
      }
    }
  }

  /** @returns whether there was anything to deliver. */
  async function deliver (): Promise<boolean> {
    const found = await reader.read(next, log.size, maxLines)
    if (found === undefined) return false
    const { firstSeq, lines } = found
    if (firstSeq > next) onError(guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: 'sink-too-late', cause: new Error(`records ${next} to ${firstSeq - 1} were retired before a sink had them`) }))
    const wanted = await sink.deliver({ origin: log.origin, firstSeq, lines, isFirstKept: firstSeq > next })
    next = wanted ?? firstSeq + lines.length
    const position = Math.max(0, next - (sink.overlap ?? 0))
    await writeFileAtomic(positionFile, `${JSON.stringify({ origin: log.origin, next: position })}\n`)
    hold.passed(position)
    return true
  }

  return {
    get next () { return next },
    async close (timeoutMs = 5000) {
      closing.abort()
      events.emit('closed')
      const patience = new AbortController()
      await Promise.race([running, setTimeout(timeoutMs, undefined, { signal: patience.signal }).catch(() => {})])
      patience.abort()
      hold.release()
      await sink.close()
    }
  }
}

const readSaved = object({ origin: string(), next: integer({ min: 0 }) })

async function readPosition (file: string, origin: string): Promise<number> {
  if (!await exists(file)) return 0
  const saved = await parsePosition(file)
  // Seqs of another log: what this one has before them would never be delivered.
  if (saved.origin !== origin) throw guardError('FMG_ERR_FILE', { detail: `${file} says how far a sink of the log ${saved.origin} is, not of ${origin}` })
  return saved.next
}

async function parsePosition (file: string): Promise<ReturnType<typeof readSaved>> {
  try {
    return readSaved(JSON.parse(await readFile(file, 'utf8')), 'position')
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} does not say how far a sink is`, cause })
  }
}
