import { closeSync, fdatasync, openSync, write } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { openLog } from '../../src/audit/log.ts'
import { logOptions, recordOf } from './records.ts'

/** Records that are handed over before other work gets a turn. */
const turnRecords = 1000

/** What a writer did. */
export interface Written {
  readonly records: number
  readonly perSecond: number
  /** Milliseconds from a record to its being durable, of each; empty where nobody waited. */
  readonly waitsMs: readonly number[]
}

/** Writes for so many seconds into a folder of its own. */
export type Writer = (folder: string, seconds: number) => Promise<Written>

/** The log, nobody waiting: Merkle tree, tiles and signed checkpoints included, until all of it is on disk. */
export async function logAsync (folder: string, seconds: number): Promise<Written> {
  const log = await openLog(logOptions(folder, 'async'))
  const start = performance.now()
  let index = 0
  let records = 0
  const append = (): boolean => {
    const before = records
    log.append(recordOf(index++), (error) => { if (error === null) records++ })
    return records > before
  }
  while (performance.now() - start < seconds * 1000) {
    // As much as fits into what may wait.
    for (let turn = 0; turn < turnRecords && append(); turn++);
    await nextTurn()
  }
  await log.checkpoint()
  const perSecond = records / (performance.now() - start) * 1000
  await log.close()
  return { records, perSecond, waitsMs: [] }
}

/** pino to a file, nobody waiting: lines, no tree, nothing signed. */
export async function pinoAsync (folder: string, seconds: number): Promise<Written> {
  const destination = pino.destination({ dest: path.join(folder, 'pino.jsonl'), sync: false, mkdir: true })
  const logger = pino({ base: null }, destination)
  const start = performance.now()
  let records = 0
  while (performance.now() - start < seconds * 1000) {
    for (let turn = 0; turn < turnRecords; turn++) logger.info(recordOf(records++))
    await nextTurn()
  }
  await new Promise<void>((resolve, reject) => { destination.flush((error) => { if (error) reject(error); else resolve() }) })
  const perSecond = records / (performance.now() - start) * 1000
  destination.end()
  return { records, perSecond, waitsMs: [] }
}

/** The log, this many callers each waiting for its record to be durable before it writes the next. */
export function logDurable (callers: number): Writer {
  return async (folder, seconds) => {
    const log = await openLog(logOptions(folder, 'before-response'))
    const written = await waiting(callers, seconds, (index, done) => { log.append(recordOf(index), done) })
    await log.close()
    return written
  }
}

/** One write and one fdatasync a record, one after the other. */
export async function syncEach (folder: string, seconds: number): Promise<Written> {
  const fd = openSync(path.join(folder, 'each.jsonl'), 'ax', 0o600)
  const written = await waiting(1, seconds, (index, done) => {
    write(fd, `${JSON.stringify(recordOf(index))}\n`, (error) => {
      if (error === null) fdatasync(fd, done)
      else done(error)
    })
  })
  closeSync(fd)
  return written
}

/** A commit every five milliseconds, which is how group commit is mostly done. */
export function timedCommit (callers: number): Writer {
  return async (folder, seconds) => {
    const fd = openSync(path.join(folder, 'timed.jsonl'), 'ax', 0o600)
    let lines: string[] = []
    let told: ((error: Error | null) => void)[] = []
    const timer = setInterval(() => {
      const [text, waiters] = [lines.join(''), told]
      lines = []
      told = []
      write(fd, text, () => { fdatasync(fd, (error) => { for (const done of waiters) done(error) }) })
    }, 5)
    const written = await waiting(callers, seconds, (index, done) => {
      lines.push(`${JSON.stringify(recordOf(index))}\n`)
      told.push(done)
    })
    clearInterval(timer)
    closeSync(fd)
    return written
  }
}

async function waiting (callers: number, seconds: number, append: (index: number, done: (error: Error | null) => void) => void): Promise<Written> {
  const start = performance.now()
  const end = start + seconds * 1000
  const waitsMs: number[] = []
  const call = async (): Promise<void> => {
    for (let begun = performance.now(); begun < end; begun = performance.now()) {
      await new Promise<void>((resolve, reject) => { append(waitsMs.length, (error) => { if (error === null) resolve(); else reject(error) }) })
      waitsMs.push(performance.now() - begun)
    }
  }
  await Promise.all(Array.from({ length: callers }, call))
  return { records: waitsMs.length, perSecond: waitsMs.length / (performance.now() - start) * 1000, waitsMs }
}

async function nextTurn (): Promise<void> {
  await new Promise(setImmediate)
}
