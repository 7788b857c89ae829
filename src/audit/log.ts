import { statfs } from 'node:fs/promises'
import { guardError } from '../errors.ts'
import { lockFolder, makePrivateFolder, type Lock } from '../files.ts'
import { createAppender, type AppendDone, type Appender, type Durability } from './appender.ts'
import type { Checkpoint } from './checkpoint.ts'
import { keepHourly } from './kept-checkpoints.ts'
import { createHolds, type LogHold } from './holds.ts'
import { readLogOptions, type LogOptions, type ReadLogOptions } from './log-options.ts'
import { formatVerifierKey, parseVerifierKey } from './note.ts'
import { createPublisher } from './publisher.ts'
import type { AuditRecord } from './record.ts'
import { recoverLog, type Recovered, type Repair } from './recover.ts'
import { publishInTime } from './schedule.ts'
import { segmentsFolder } from './segment-files.ts'
import { openSegmentWriter, type SegmentWriter } from './segment-writer.ts'
import { startUpkeep, type Upkeep } from './upkeep.ts'
import { createWitnesses } from './witnesses.ts'

/** A tamper-evident log of records: durable lines, a Merkle tree over them, signed checkpoints of that tree. */
export interface AuditLog {
  /**
   * Appends a record under the next seq, without a gap. `done` is called once: with the seq, or with
   * FMG_ERR_AUDIT_UNAVAILABLE when the record is not in the log and will not be. At once (before `append` returns) when the
   * record is refused because too many wait, when the log is closed, and always for `async` records. Of a `best-effort` record that was dropped
   * there is no error, and the seq is -1.
   * Never throws, whatever the record holds.
   * @param durability of this record; default: that of the log.
   */
  append (record: AuditRecord, done: AppendDone, durability?: Durability): void
  /** Whether so little of the disk is free that what is left is kept for records of principals. */
  isLow (): Promise<boolean>
  /**
   * Publishes a checkpoint that covers everything appended before, now instead of within the interval.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE, or what the signer or the file system says.
   */
  checkpoint (): Promise<Checkpoint>
  /**
   * For what mirrors the log: tells when more is durable, and keeps the segments that it still needs.
   * @param from the seq that it needs first.
   */
  follow (from: number, onDurable: () => void): LogHold
  /** The log's folder. */
  readonly directory: string
  /** Of records whose `append` says nothing else. */
  readonly durability: Durability
  /** Names the log. */
  readonly origin: string
  /** Records that are durable. */
  readonly size: number
  /** What verifies the checkpoints: C2SP signed-note `vkey`. */
  readonly verifierKey: string
  /**
   * Takes no more records, makes durable what waits, publishes a last checkpoint and lets go of the folder. Each step has a
   * time-out; a step that fails does not keep the next from being tried, and the first failure is what `close` rejects with.
   * A folder into which lines are still being written then stays locked until the process ends.
   */
  close (): Promise<void>
}

/**
 * Opens a log, a new one where there is none, and mends what a crash has left: a torn last line is cut, tiles are rebuilt,
 * and each such repair is itself a record (`log:recover`).
 * @throws FMG_ERR_OPTION_INVALID for wrong options.
 * @throws FMG_ERR_FILE when another process holds the folder.
 * @throws FMG_ERR_LOG_INCONSISTENT when the log contradicts its checkpoint or itself.
 */
export async function openLog (options: LogOptions): Promise<AuditLog> {
  const settings = readLogOptions(options, 'audit')
  const verifierKey = formatVerifierKey(settings.origin, settings.signer.publicKey)
  await makePrivateFolder(segmentsFolder(settings.directory))
  const lock = await lockFolder(settings.directory)
  try {
    return await openLocked(settings, verifierKey, lock)
  } catch (error) {
    await lock.release()
    throw error
  }
}

async function openLocked (settings: ReadLogOptions, verifierKey: string, lock: Lock): Promise<AuditLog> {
  const recovered = await recoverLog(settings.directory, parseVerifierKey(verifierKey))
  const segments = await openSegmentWriter({
    folder: segmentsFolder(settings.directory), maxBytes: settings.maxSegmentBytes, maxSeconds: settings.maxSegmentSeconds, newest: recovered.newest, clock: settings.clock
  })
  try {
    return await startLog({ settings, verifierKey, lock, recovered, segments })
  } catch (error) {
    await segments.close()
    throw error
  }
}

interface LogParts {
  readonly settings: ReadLogOptions
  readonly verifierKey: string
  readonly lock: Lock
  readonly recovered: Recovered
  readonly segments: SegmentWriter
}

async function startLog ({ settings, verifierKey, lock, recovered, segments }: LogParts): Promise<AuditLog> {
  const { tree, published, repairs } = recovered
  const holds = createHolds()
  const appender = createAppender({ ...settings, segments, tree, onDurable: holds.tell })
  const witnesses = createWitnesses(settings)
  const publisher = createPublisher({
    ...settings, tree, key: parseVerifierKey(verifierKey), last: published, onCheckpoint, keep: keepHourly(settings.directory, settings.clock)
  })
  const schedule = publishInTime({ ...settings, tree, publish: checkpoint })
  let whenPublished = (_checkpoint: Checkpoint): void => {}
  let closing: Promise<void> | undefined

  function onCheckpoint (checkpoint: Checkpoint): void {
    whenPublished(checkpoint)
    witnesses.offer(checkpoint)
    settings.onCheckpoint(checkpoint)
  }

  async function checkpoint (): Promise<Checkpoint> {
    await appender.flush()
    appender.integrate()
    return await publisher.publish()
  }

  async function finish (upkeep: Upkeep): Promise<void> {
    schedule.stop()
    const { closeTimeoutMs } = settings
    const kept = await settle(upkeep.stop(), closeTimeoutMs)
    const flushed = await settle(appender.flush(), closeTimeoutMs)
    appender.integrate()
    const checkpointed = await settle(publisher.publish(), closeTimeoutMs)
    await settle(witnesses.close(), closeTimeoutMs)
    // What hangs may still write: nobody else may have the folder before this process is gone.
    const hanging = [kept, flushed, checkpointed].some((step) => step instanceof Overdue)
    const released = hanging ? undefined : await settle(release(), closeTimeoutMs)
    const failure = kept ?? flushed ?? checkpointed ?? released
    if (failure !== undefined) throw failure
  }

  async function release (): Promise<void> {
    try {
      await segments.close()
    } finally {
      await lock.release()
    }
  }

  await recordRepairs(appender, repairs, settings.clock)
  // A new log begins with a checkpoint of nothing: a log without one has lost it.
  if (published === undefined) await checkpoint()
  else if (tree.size > published.size || repairs.length > 0) schedule.wake()
  // Whoever closed it last may not have lived to hear of a witness.
  else witnesses.offer(published)
  const upkeep = startUpkeep({ ...settings, held: holds.passed, append: (record, done) => { appender.append(record, done, 'before-response') }, checkpoint })
  whenPublished = ({ size }) => { upkeep.wake(size) }
  upkeep.wake(published?.size ?? 0)

  return {
    verifierKey,
    directory: settings.directory,
    durability: settings.durability,
    origin: settings.origin,
    checkpoint,
    follow: holds.follow,
    get size () { return appender.size },
    isLow: async () => await freeBytes(settings.directory) < settings.reservedBytes,
    append (record, done, durability) {
      if (closing !== undefined) {
        done(guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: 'audit-closed' }), -1)
        return
      }
      appender.append(record, done, durability)
      schedule.wake()
    },
    close () {
      closing ??= finish(upkeep)
      return closing
    }
  }
}

async function freeBytes (directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

async function recordRepairs (appender: Appender, repairs: readonly Repair[], clock: () => number): Promise<void> {
  await Promise.all(repairs.map(({ reason, detail }) => new Promise<void>((resolve, reject) => {
    const timestamp = new Date(clock()).toISOString()
    appender.append({ timestamp, action: 'log:recover', status: 'success', reason, detail }, (error) => { if (error === null) resolve(); else reject(error) }, 'before-response')
  })))
}

/** A step of closing that took too long. */
class Overdue extends Error {}

/** Waits for a step, but not for ever; gives its failure instead of throwing it. */
async function settle (step: Promise<unknown>, timeoutMs: number): Promise<Error | undefined> {
  let timer: NodeJS.Timeout | undefined
  const overdue = new Promise<Error>((resolve) => {
    timer = setTimeout(() => { resolve(new Overdue(`no end within ${timeoutMs} ms`)) }, timeoutMs)
  })
  const failure = await Promise.race([overdue, step.then(() => undefined, toError)])
  clearTimeout(timer)
  return failure
}

function toError (thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('closing failed', { cause: thrown })
}
