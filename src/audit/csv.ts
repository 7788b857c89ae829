import { canonicalJson } from '../encoding.ts'
import type { LoggedRecord } from './read-records.ts'

/** Columns of the table, those that people look for first. */
const columns = ['seq', 'timestamp', 'action', 'status', 'reason', 'user_id', 'org', 'model_id', 'model_version', 'model_digest', 'duration_ms', 'compute_ms', 'http_status', 'decision', 'policy', 'rule',
  'credential_method', 'credential_id', 'request_id', 'resource_type', 'resource_id', 'input_hash', 'output_hash', 'facts', 'count', 'amends', 'detail'] as const satisfies readonly (keyof LoggedRecord)[]

/** The first line of a table (RFC 4180 section 2). */
export const csvHeader = `${columns.join(',')}\r\n`

/**
 * A record as a line of a table (RFC 4180 section 2). A text that a spreadsheet would take for a formula has an apostrophe put before it: callers
 * choose the ids of their requests.
 */
export function toCsv (record: LoggedRecord): string {
  return `${columns.map((name) => cell(record[name])).join(',')}\r\n`
}

function cell (value: LoggedRecord[keyof LoggedRecord]): string {
  if (value === undefined) return ''
  if (typeof value === 'number') return String(value)
  const text = typeof value === 'object' ? canonicalJson(value) : value
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}
