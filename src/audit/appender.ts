import { setImmediate } from 'node:timers/promises'
import { guardError } from '../errors.ts'
import { bufferPool } from './buffer-pool.ts'
import { assemble, hashLeaves, type Group } from './group.ts'
import type { Identities } from './identities.ts'
import { draftLine, type LineDraft } from './line.ts'
import type { AuditRecord } from './record.ts'
import type { SegmentWriter } from './segment-writer.ts'
import type { LogTree } from './tree.ts'

/** Told once of each record: its seq, or why it is not in the log (seq is then -1). */
export type AppendDone = (error: Error | null, seq: number) => void

/** When a caller is told that its record is in the log: when it is durable, or as soon as it waits to be. */
export type Durability = 'before-response' | 'async'

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
  readonly onError: (error: Error) => void
}

/** Group commit: all that waits is made durable by one write and one sync, and meanwhile the next group gathers. */
export interface Appender {
  append (record: AuditRecord, done: AppendDone): void
  /** Records that are durable. */
  readonly size: number
  /** Takes what is durable into the tree. */
  integrate (): void
  /**
   * Resolves when everything that was appended before is durable or refused.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE when in `async` mode it could not be made durable and still waits.
   */
  flush (): Promise<void>
}

interface Waiting {
  readonly draft: LineDraft
  readonly done: AppendDone
}

interface Flusher {
  resolve (): void
  reject (error: Error): void
}

const maxSpareBytes = 4_194_304

/** Milliseconds for which lines are gathered at most: nobody waits for them in `async` mode. */
const maxGatherMs: Readonly<Record<Durability, number>> = { 'before-response': 1, async: 10 }

/** Bytes of full tiles that may gather, when none can be published, before more is refused. */
const maxUnpublishedBytes = 268_435_456

/** Starts at the seq that follows the tree. */
export function createAppender (options: AppenderOptions): Appender {
  const { segments, tree, durability, identities } = options
  const groups: Group[] = []
  // One group is being written while the one before waits to be taken into the tree.
  const pool = bufferPool(maxSpareBytes)
  let waiting: Waiting[] = []
  let flushers: Flusher[] = []
  let waitingUnits = 0
  let nextSeq = tree.size
  let underWay = 0
  let running = false
  /** Requests that were refused since the log could last be written; -1 when it can be. */
  let refused = -1

  function append (record: AuditRecord, done: AppendDone): void {
    const draft = draftLine(record)
    const units = unitsOf(draft)
    if (waitingUnits + units > options.maxWaitingUnits || tree.fullBytes > maxUnpublishedBytes) {
      done(guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: 'audit-overloaded' }), -1)
      return
    }
    waitingUnits += units
    const seq = nextSeq + underWay + waiting.length
    waiting.push({ draft, done: durability === 'async' ? ignore : done })
    start()
    if (durability === 'async') done(null, seq)
  }

  function start (): void {
    if (running) return
    running = true
    run().catch(report)
  }

  async function run (): Promise<void> {
    while (waiting.length > 0 || flushers.length > 0) {
      await gather()
      const written = await commit()
      // What waits in `async` mode waits for the next append or flush to try again; else all of it was refused.
      if (!written && durability === 'async') break
    }
    running = false
  }

  /**
   * Waits for as long as every turn of the event loop brings more to write, but not for long: a sync takes a processor as long for many
   * lines as for one. Who is alone waits for one turn.
   */
  async function gather (): Promise<void> {
    const until = performance.now() + maxGatherMs[durability]
    let seen = -1
    while (waiting.length > seen && flushers.length === 0 && performance.now() < until) {
      seen = waiting.length
      await setImmediate()
    }
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
    const batch = waiting
    waiting = []
    waitingUnits = 0
    if (refused > 0 && batch.length > 0) batch.push(outage(refused))
    underWay = batch.length
    return batch
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
    refused = -1
    for (const [index, { done }] of batch.entries()) call(done, null, first + index)
  }

  function fail (batch: Waiting[], flushed: readonly Flusher[], error: Error): void {
    underWay = 0
    report(error)
    if (durability === 'async') keep(batch)
    else refuse(batch, error)
    for (const flusher of [...flushed, ...flushers.splice(0)]) {
      if (durability === 'async') flusher.reject(error)
      else flusher.resolve()
    }
  }

  /** They were told that they are in: they wait for the next try, under the numbers that they were told. */
  function keep (batch: readonly Waiting[]): void {
    waiting = batch.concat(waiting)
    if (refused === -1) waiting.push(outage(0))
    refused = 0
    waitingUnits = waiting.reduce((sum, { draft }) => sum + unitsOf(draft), 0)
  }

  function refuse (batch: Waiting[], error: Error): void {
    if (refused > 0) batch.pop()
    const all = batch.concat(waiting)
    waiting = []
    waitingUnits = 0
    refused = Math.max(refused, 0) + all.length
    for (const { done } of all) call(done, error, -1)
  }

  /** The outage is itself recorded, as soon as that is possible. */
  function outage (count: number): Waiting {
    const timestamp = new Date(options.clock()).toISOString()
    const record: AuditRecord = { timestamp, action: 'log:recover', status: 'error', reason: 'write-failed' }
    return { draft: draftLine(count === 0 ? record : { ...record, count }), done: ignore }
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
