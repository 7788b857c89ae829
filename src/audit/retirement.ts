import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists, writeFileAtomic } from '../files.ts'
import { integer, object } from '../options.ts'
import { readEntry } from './prove-record.ts'

/** What a record `log:retire` says: that the records before this seq are no longer kept, and what they were. */
export interface Retirement {
  readonly before: number
  /** Root of the first `before` records, base64. */
  readonly root: string
}

/** What the log's folder says of the last retirement: where the record of it stands, and from which seq on it deletes. */
export interface RetirementNote {
  readonly from: number
  readonly before: number
  /** Seq of the record. */
  readonly seq: number
}

/** Action of the record. */
export const retireAction = 'log:retire'

const prefix = Buffer.from(`{"action":"${retireAction}",`)
// The first letter of the action: tells most lines apart at the cost of one byte.
const letterAt = prefix.indexOf(retireAction)

/** What the line that stands in `bytes` from `start` to `end` says, when it is one of a retirement. */
export function retirementIn (bytes: Buffer, start: number, end: number): Retirement | undefined {
  if (bytes[start + letterAt] !== prefix[letterAt] || end - start < prefix.length || bytes.compare(prefix, 0, prefix.length, start, start + prefix.length) !== 0) return undefined
  const { detail }: { readonly detail?: unknown } = JSON.parse(bytes.toString('utf8', start, end)) as object
  const before: unknown = Reflect.get(Object(detail), 'before')
  const root: unknown = Reflect.get(Object(detail), 'root')
  return Number.isSafeInteger(before) && typeof root === 'string' ? { before: Number(before), root } : undefined
}

function noteFile (directory: string): string {
  return path.join(directory, 'retired')
}

const seq = integer({ min: 0 })
const readNote = object({ from: seq, before: seq, seq })

/**
 * The last retirement that this log has begun.
 * @throws FMG_ERR_LOG_INCONSISTENT for a note that is none.
 */
export async function readRetirement (directory: string): Promise<RetirementNote | undefined> {
  const file = noteFile(directory)
  if (!await exists(file)) return undefined
  try {
    return readNote(JSON.parse(await readFile(file, 'utf8')), 'retired')
  } catch (cause) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${file} does not say what was retired`, cause })
  }
}

/** Notes a retirement, whose record is under a published checkpoint by then. */
export async function writeRetirement (directory: string, note: RetirementNote): Promise<void> {
  await writeFileAtomic(noteFile(directory), `${JSON.stringify(note)}\n`)
}

/**
 * The seq before which records may be missing: the note says where the record of it is, and that is read. Reads one entry bundle, and verifies nothing:
 * that the record is in the tree is for `verifyLog` to say.
 */
export async function retiredBefore (directory: string, size: number): Promise<number> {
  const note = await readRetirement(directory)
  if (note === undefined) return 0
  const line = await readEntry(directory, note.seq, size)
  return line === undefined ? 0 : retirementIn(Buffer.from(line), 0, line.length)?.before ?? 0
}
