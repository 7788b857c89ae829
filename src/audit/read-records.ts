import { guardError } from '../errors.ts'
import { maxLineBytes } from './line.ts'
import type { AuditRecord } from './record.ts'
import { listSegments, readLineBlocks, segmentsFolder, type LineBlock } from './segment-files.ts'

/** A record as it stands in the log. */
export interface LoggedRecord extends AuditRecord {
  readonly seq: number
}

export interface ReadRecordsOptions {
  /** The log's folder. It may be in use. */
  readonly directory: string
  /** Passes over records before this seq, without reading them; facts too. */
  readonly from?: number | undefined
  /** Passes over records before this time; milliseconds since the epoch. */
  readonly since?: number | undefined
  /** Passes over records of this time and later. */
  readonly until?: number | undefined
}

/**
 * The records of a log in their order, a batch at a time, in little memory however long it is. The end of a line that is being written is
 * not waited for. Records of facts come whatever their time, because later ones name them.
 * Reads, and does not verify: that is what `verifyLog` is for.
 * @throws FMG_ERR_FILE when there is no log in the folder.
 * @throws FMG_ERR_LOG_INCONSISTENT for a line that is no record.
 */
export async function * readRecords ({ directory, from = 0, since = -Infinity, until = Infinity }: ReadRecordsOptions): AsyncGenerator<readonly LoggedRecord[]> {
  const segments = await listSegments(segmentsFolder(directory))
  const isWanted = within(timestampOf(since), timestampOf(until))
  const first = Math.max(0, segments.findLastIndex(({ firstSeq }) => firstSeq <= from))
  for (const { file, firstSeq, maxBytes } of segments.slice(first)) {
    let seq = firstSeq
    for await (const block of readLineBlocks(file, { maxBytes })) {
      if (block.torn) {
        // Only the last segment is being written, and nothing that is written is longer than a line.
        if (file !== segments.at(-1)?.file || block.bytes.length > 1 + maxLineBytes) throw noRecord(file, block.offset)
        break
      }
      const { records, lines } = recordsIn(block, file, from - seq)
      seq += lines
      yield records.filter(isWanted)
    }
  }
}

/** RFC 3339 in UTC with milliseconds, as every record writes it: texts in the order of the times. */
function timestampOf (time: number): string {
  if (Number.isFinite(time)) return new Date(time).toISOString()
  return time < 0 ? '' : '~'
}

function within (since: string, until: string): (record: LoggedRecord) => boolean {
  return ({ action, timestamp }) => action === 'facts' || (timestamp >= since && timestamp < until)
}

/** @param skipped how many of the first lines are not read. */
function recordsIn ({ bytes, offset }: LineBlock, file: string, skipped: number): { records: LoggedRecord[], lines: number } {
  const records: LoggedRecord[] = []
  let lines = 0
  for (let start = 1, end; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(10, start)
    if (lines++ < skipped) continue
    const record = parseRecord(bytes.toString('utf8', start, end))
    if (record === undefined) throw noRecord(file, offset + start - 1)
    records.push(record)
  }
  return { records, lines }
}

function noRecord (file: string, offset: number): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${file} holds no record at byte ${offset}` })
}

/** Reads a line; `undefined` when it is no record. */
export function parseRecord (line: string): LoggedRecord | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

const texts = ['action', 'commitment', 'credential_id', 'credential_method', 'decision', 'facts', 'input_hash', 'model_digest', 'model_id', 'model_version', 'opening', 'org', 'output_hash',
  'policy', 'reason', 'request_id', 'resource_id', 'resource_type', 'rule', 'sketch', 'status', 'timestamp', 'user_id']
const numbers = ['amends', 'compute_ms', 'count', 'duration_ms', 'http_status', 'seq']
const kinds = new Map([...texts.map((name) => [name, 'string'] as const), ...numbers.map((name) => [name, 'number'] as const), ['detail', 'object']])

function isRecord (value: unknown): value is LoggedRecord {
  if (typeof value !== 'object' || value === null) return false
  if (!('action' in value && 'status' in value && 'timestamp' in value && 'seq' in value)) return false
  for (const [name, member] of Object.entries(value)) {
    const kind: string = member === null ? 'null' : typeof member
    if ((kinds.get(name) ?? kind) !== kind) return false
  }
  return true
}
