import { canonicalJson } from '../encoding.ts'
import { csvHeader, toCsv } from './csv.ts'
import { readOrigin, type LogIndexOptions } from './log-index.ts'
import { toOcsf } from './ocsf.ts'
import { selectRecords } from './query.ts'
import type { LoggedRecord } from './read-records.ts'
import type { RecordFilter } from './record-filter.ts'

/** What an export may be written as: the log's own lines, a table, or events of the Open Cybersecurity Schema Framework, a line each. */
export const exportFormats = ['jsonl', 'csv', 'ocsf'] as const
export type ExportFormat = typeof exportFormats[number]

export interface ExportOptions extends LogIndexOptions, RecordFilter {
  readonly format: ExportFormat
}

/**
 * The records that fit, as text, a batch at a time, in little memory however many they are. As `jsonl` each is the very line of the log.
 * @throws FMG_ERR_FILE when there is no log in the folder, or the index cannot be written.
 * @throws FMG_ERR_LOG_INCONSISTENT for what is no part of a log.
 */
export async function * exportRecords ({ format, ...options }: ExportOptions): AsyncGenerator<string> {
  const write = await writerOf(format, options.directory)
  if (format === 'csv') yield csvHeader
  for await (const records of selectRecords(options)) if (records.length > 0) yield records.map(write).join('')
}

async function writerOf (format: ExportFormat, directory: string): Promise<(record: LoggedRecord) => string> {
  if (format === 'csv') return toCsv
  if (format === 'jsonl') return (record) => `${canonicalJson(record)}\n`
  const origin = await readOrigin(directory)
  return (record) => `${JSON.stringify(toOcsf(record, origin))}\n`
}
