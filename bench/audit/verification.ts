import { createHash } from 'node:crypto'
import { closeSync, openSync, readdirSync, readSync } from 'node:fs'
import path from 'node:path'
import { openLog } from '../../src/audit/log.ts'
import { queryLog } from '../../src/audit/query.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { logOptions, recordOf } from './records.ts'

// Fewer than a log lets wait.
const checkpointEvery = 10_000

/** Writes a log of so many records. */
export async function writeLog (directory: string, records: number): Promise<void> {
  const log = await openLog(logOptions(directory, 'async'))
  for (let index = 0; index < records; index++) {
    log.append(recordOf(index), (error) => { if (error !== null) throw error })
    if (index % checkpointEvery === 0) await log.checkpoint()
  }
  await log.close()
}

/** Milliseconds of one SHA-256 over all lines, as they are read from the files. */
export function hashLines (directory: string): number {
  const start = performance.now()
  const hash = createHash('sha256')
  const bytes = Buffer.alloc(1_048_576)
  const folder = path.join(directory, 'segments')
  for (const name of readdirSync(folder).sort()) {
    const fd = openSync(path.join(folder, name), 'r')
    for (let read = readSync(fd, bytes); read > 0; read = readSync(fd, bytes)) hash.update(bytes.subarray(0, read))
    closeSync(fd)
  }
  hash.digest()
  return performance.now() - start
}

/** Milliseconds of a whole verification. */
export async function verify (directory: string, workers: number): Promise<number> {
  const start = performance.now()
  const { ok, size } = await verifyLog({ directory, workers })
  if (!ok || size === 0) throw new Error('the log does not hold')
  return performance.now() - start
}

/** Milliseconds of a search for one principal's records. */
export async function search (directory: string): Promise<number> {
  const start = performance.now()
  const { matches } = await queryLog({ directory, where: { user_id: [recordOf(0).user_id ?? ''] } })
  if (matches === 0) throw new Error('nothing was found')
  return performance.now() - start
}
