import { setImmediate } from 'node:timers/promises'
import { guardError } from '../errors.ts'
import { bufferPool } from './buffer-pool.ts'
import { assemble, hashLeaves, type Group } from './group.ts'
import type { Identities } from './identities.ts'
import { draftLine, type LineDraft } from './line.ts'
import type { AuditRecord } from './record.ts'
import type { SegmentWriter } from './segment-writer.ts'
import type { LogTree } from './tree.ts'

/** Told once of each record: its seq, or why it is not in the log (seq is then -1). Of one that was dropped there is no error, and the seq is -1. */
export type AppendDone = (error: Error | null, seq: number) => void

/**
 * When a caller is told that its record is in the log: when it is durable, or as soon as it waits to be. A record of `best-effort` may be dropped, when there
 * is no room for it or it cannot be written; so its number is known when it is durable, and nobody should wait for that. What is dropped is counted, and the
 * count recorded.
 */
export type Durability = 'before-response' | 'async' | 'best-effort'

export interface AppenderOptions {
  readonly segments: SegmentWriter
  /** The tree of what is durable already. */
  readonly tree: LogTree
  readonly durability: Durability
  readonly identities: Identities | undefined
  /** UTF-16 code units, about, that may wait, beside those being written, before more is refused. */
  readonly maxWaitingUnits: number
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  /** Told when more is durable. */
  readonly onDurable: () => void
  readonly onError: (error: Error) => void
}

/** Group commit: all that waits is made durable by one write and one sync, and meanwhile the next group gathers. */
export interface Appender {
  append (record: AuditRecord, done: AppendDone, durability?: Durability): void
  /** Records that are durable. */
  readonly size: number
  /** Takes what is durable into the tree. */
  integrate (): void
  /**
   * Resolves when everything that was appended before is durable or refused.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE when something whose caller was told at once could not be made durable and still waits.
   */
  flush (): Promise<void>
}

interface Waiting {
  readonly draft: LineDraft
  readonly done: AppendDone
  readonly durability: Durability | 'own'
  /** Counts it among what is not in the log. */
  readonly count: () => void
}

interface Flusher {
  resolve (): void
  reject (error: Error): void
}

const maxSpareBytes = 4_194_304

/** Milliseconds for which lines are gathered at most, where somebody waits for one of them, and where nobody does. */
const maxGatherMs = { waitedFor: 1, notWaitedFor: 10 }

/** Bytes of full tiles that may gather, when none can be published, before more is refused. */
const maxUnpublishedBytes = 268_435_456

/** Starts at the seq that follows the tree. */
export function createAppender (options: AppenderOptions): Appender {
  const { segments, tree, identities } = options
  const groups: Group[] = []
  // One group is being written while the one before waits to be taken into the tree.
  const pool = bufferPool(maxSpareBytes)
  let waiting: Waiting[] = []
  let flushers: Flusher[] = []
  let waitingUnits = 0
  let nextSeq = tree.size
  let underWay = 0
  let running = false
  /** Whether the log could not be written when that was last tried. */
  let failing = false
  /** Requests that were refused, and records that were dropped, of which no record tells yet. */
  let refused = 0
  let dropped = 0

  function append (record: AuditRecord, done: AppendDone, durability = options.durability): void {
    const draft = draftLine(record)
    const units = unitsOf(draft)
    const isOptional = durability === 'best-effort'
    // A tally stands for as many requests as it counts.
    const requests = record.count ?? 1
    // Half of the room is kept from what may be dropped.
    if (waitingUnits + units > options.maxWaitingUnits / (isOptional ? 2 : 1) || tree.fullBytes > maxUnpublishedBytes) {
      if (isOptional) dropped += requests
      done(isOptional ? null : guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: 'audit-overloaded' }), -1)
      return
    }
    const seq = nextSeq + underWay + waiting.length
    const isTold = durability === 'async'
    add({ draft, done: isTold ? ignore : done, durability, count: () => { if (isOptional) dropped += requests; else refused += requests } })
    start()
    if (isTold) done(null, seq)
  }

  function add (item: Waiting): void {
    waiting.push(item)
    waitingUnits += unitsOf(item.draft)
  }

  function start (): void {
    if (running) return
    running = true
    run().catch(report)
  }

  async function run (): Promise<void> {
    while (waiting.length > 0 || flushers.length > 0) {
      await gather()
      // What was kept waits for the next append or flush to try again.
      if (!await commit()) break
    }
    running = false
  }

  /**
   * Waits for as long as every turn of the event loop brings more to write, but not for long: a sync takes a processor as long for many
   * lines as for one. Who is alone waits for one turn.
   */
  async function gather (): Promise<void> {
    const begun = performance.now()
    let seen = -1
    while (waiting.length > seen && flushers.length === 0 && performance.now() < begun + longest()) {
      seen = waiting.length
      await setImmediate()
    }
  }

  function longest (): number {
    return waiting.some(({ durability }) => durability === 'before-response') ? maxGatherMs.waitedFor : maxGatherMs.notWaitedFor
  }

  async function commit (): Promise<boolean> {
    const batch = take()
    const flushed = flushers
    flushers = []
    try {
      if (batch.length > 0) await write(batch)
    } catch (cause) {
      fail(batch, flushed, guardError('FMG_ERR_AUDIT_UNAVAILABLE', { cause, reason: 'audit-unwritable' }))
      return false
    }
    for (const flusher of flushed) flusher.resolve()
    return true
  }

  function take (): Waiting[] {
    if (waiting.length > 0) addNotes()
    const batch = waiting
    waiting = []
    waitingUnits = 0
    underWay = batch.length
    return batch
  }

  /** An outage, and what was dropped, is itself recorded, as soon as that is possible. */
  function addNotes (): void {
    if (failing || refused > 0) add(note('write-failed', refused, (count) => { refused += count }))
    if (dropped > 0) add(note('dropped', dropped, (count) => { dropped += count }))
    failing = false
    refused = 0
    dropped = 0
  }

  async function write (batch: readonly Waiting[]): Promise<void> {
    // A pseudonym is durable before the first line that uses it.
    if (identities?.pending === true) await identities.flush()
    const first = nextSeq
    const group = assemble(batch.map(({ draft }) => draft), first, pool)
    const sync = await segments.write(group.bytes.subarray(1), first)
    const synced = sync()
    // While the disk works: hashing then costs nobody's answer any time.
    integrate()
    hashLeaves(group)
    await synced
    groups.push(group)
    nextSeq += batch.length
    underWay = 0
    for (const [index, { done }] of batch.entries()) call(done, null, first + index)
    options.onDurable()
  }

  function fail (batch: readonly Waiting[], flushed: readonly Flusher[], error: Error): void {
    underWay = 0
    report(error)
    const all = batch.concat(waiting)
    const kept = all.findLastIndex(({ durability }) => durability === 'async') + 1
    waiting = []
    waitingUnits = 0
    // Who was told that it is in waits for the next try, under the number that it was told: nobody before it leaves a gap.
    for (const item of all.slice(0, kept)) add(item.durability === 'async' || item.durability === 'own' ? item : note('write-failed', 1, (count) => { refused += count }))
    for (const { count } of all.slice(kept)) count()
    failing = !waiting.some(({ durability }) => durability === 'own')
    for (const { durability, done } of all) call(done, durability === 'best-effort' ? null : error, -1)
    for (const flusher of [...flushed, ...flushers.splice(0)]) {
      if (waiting.length > 0) flusher.reject(error)
      else flusher.resolve()
    }
  }

  function note (reason: string, count: number, restore: (count: number) => void): Waiting {
    const record: AuditRecord = { timestamp: new Date(options.clock()).toISOString(), action: 'log:recover', status: 'error', reason }
    return { draft: draftLine(count === 0 ? record : { ...record, count }), done: ignore, durability: 'own', count: () => { restore(count) } }
  }

  // Outside of this turn: a throwing listener is an uncaught exception, not a log that never writes again.
  function report (error: Error): void {
    queueMicrotask(() => { options.onError(error) })
  }

  function call (done: AppendDone, error: Error | null, seq: number): void {
    try {
      done(error, seq)
    } catch (thrown) {
      // One caller's fault must not keep the others waiting.
      report(thrown instanceof Error ? thrown : new Error('an append callback threw', { cause: thrown }))
    }
  }

  function integrate (): void {
    for (const { bytes, lines } of groups.splice(0)) {
      let start = 1
      for (const { end, leaf } of lines) {
        tree.append(bytes, start, end, leaf)
        start = end + 1
      }
      pool.give(bytes)
    }
  }

  function flush (): Promise<void> {
    return new Promise((resolve, reject) => {
      flushers.push({ resolve, reject })
      start()
    })
  }

  return { append, integrate, flush, get size () { return nextSeq } }
}

function unitsOf ({ head, tail }: LineDraft): number {
  return head.length + tail.length
}

function ignore (): void {}
