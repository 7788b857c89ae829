import type { AppendDone } from './appender.ts'
import type { Checkpoint } from './checkpoint.ts'
import { compressSegment, removeUnfinished } from './compress-segment.ts'
import { fromDigest } from './merkle.ts'
import type { AuditRecord } from './record.ts'
import { finishRetiring, retireSegments } from './retire-segments.ts'
import { retireAction } from './retirement.ts'
import { listSegments, segmentsFolder, type SegmentFile } from './segment-files.ts'
import { isCompressed } from './segment-source.ts'
import { firstTime } from './segment-time.ts'
import { tileHashes } from './tile-hashes.ts'
import { tileWidth } from './tiles.ts'

export interface UpkeepOptions {
  readonly directory: string
  readonly compressSegments: boolean
  /** How long records are kept; left out, for ever. */
  readonly retainSeconds: number | undefined
  /** How much longer records are kept that something which follows the log has not had. */
  readonly maxHoldSeconds: number
  /** Everything before this seq has been passed by all that follow the log. */
  readonly held: () => number
  readonly append: (record: AuditRecord, done: AppendDone) => void
  /** Publishes one that covers everything appended before. */
  readonly checkpoint: () => Promise<Checkpoint>
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  readonly onError: (error: Error) => void
}

/** What is done with segments that are no longer written: away from the path of records, one thing after the other. */
export interface Upkeep {
  /** Looks whether there is something to do, now that the published checkpoint has this size. */
  wake (checkpointSize: number): void
  /** Stops, and resolves when nothing is being written any more. */
  stop (): Promise<void>
}

/** How long is waited after a failure: what fails may fail because the disk is full. */
const pauseMs = 60_000
/** How often is looked for records that have grown old, in a log that gets no new ones. */
const lookMs = 3_600_000

/** Begins with what a crash has left unfinished. */
export function startUpkeep ({ directory, compressSegments, retainSeconds, maxHoldSeconds, held, append, checkpoint, clock, onError }: UpkeepOptions): Upkeep {
  const stopping = new AbortController()
  const times = new Map<number, number>()
  let published = 0
  let notBefore = -Infinity
  let isAwake = false
  let running: Promise<void> = Promise.resolve()
  const timer = retainSeconds === undefined ? undefined : setInterval(wake, Math.min(lookMs, retainSeconds * 1000)).unref()
  enqueue(async () => {
    await finishRetiring(directory)
    await removeUnfinished(segmentsFolder(directory))
  })

  function wake (): void {
    if (isAwake || (!compressSegments && retainSeconds === undefined) || clock() < notBefore) return
    isAwake = true
    enqueue(async () => {
      isAwake = false
      await retire()
      await compress()
    })
  }

  function enqueue (work: () => Promise<void>): void {
    running = running.then(async () => {
      if (!stopping.signal.aborted) await work()
    }).catch((error: unknown) => {
      if (stopping.signal.aborted) return
      notBefore = clock() + pauseMs
      onError(error instanceof Error ? error : new Error('upkeep failed', { cause: error }))
    })
  }

  /**
   * The segments that a later one follows under the checkpoint, as far as its full bundles go: only such are read neither when the log is opened nor to
   * complete the bundle that grows.
   */
  async function settled (): Promise<{ readonly segments: readonly SegmentFile[], readonly next: readonly SegmentFile[] }> {
    const segments = await listSegments(segmentsFolder(directory))
    const count = segments.slice(1).filter(({ firstSeq }) => firstSeq <= published - published % tileWidth).length
    return { segments: segments.slice(0, count), next: segments.slice(1, count + 1) }
  }

  async function compress (): Promise<void> {
    if (!compressSegments) return
    const { segments, next } = await settled()
    // What follows the log reads on where it was in a file, and shippers have no other.
    const count = next.filter(({ firstSeq }) => firstSeq <= held()).length
    for (const { file } of segments.slice(0, count)) if (!isCompressed(file)) await compressSegment(file, stopping.signal)
  }

  /** The record is durable and under a published checkpoint before anything is deleted. */
  async function retire (): Promise<void> {
    if (retainSeconds === undefined) return
    // What an earlier one could not delete would be forgotten with its note.
    await finishRetiring(directory)
    const { segments: [first], next } = await settled()
    const until = clock() - retainSeconds * 1000
    const overdue = await lastDue(next, until - maxHoldSeconds * 1000) ?? 0
    const before = await lastDue(next.filter(({ firstSeq }) => firstSeq <= Math.max(overdue, held())), until)
    if (first === undefined || before === undefined) return
    const root = fromDigest(await tileHashes(directory, published)(0, before)).toString('base64')
    const seq = await record({ timestamp: new Date(clock()).toISOString(), action: retireAction, status: 'success', reason: 'retention', detail: { before, root } })
    await checkpoint()
    await retireSegments(directory, { from: first.firstSeq, before, seq })
  }

  /** First seq of the last of these segments before which everything is older. */
  async function lastDue (next: readonly SegmentFile[], until: number): Promise<number | undefined> {
    let due: number | undefined
    for (const { file, firstSeq, maxBytes } of next) {
      const time = times.get(firstSeq) ?? await firstTime(file, { maxBytes }) ?? Infinity
      times.set(firstSeq, time)
      if (time > until) break
      due = firstSeq
    }
    return due
  }

  async function record (item: AuditRecord): Promise<number> {
    return await new Promise((resolve, reject) => {
      append(item, (error, seq) => { if (error === null) resolve(seq); else reject(error) })
    })
  }

  return {
    wake (size) {
      published = size
      wake()
    },
    async stop () {
      clearInterval(timer)
      stopping.abort()
      await running
    }
  }
}
