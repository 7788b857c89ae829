import { canonicalJson } from '../encoding.ts'
import { maxLineBytes } from './line.ts'

const text = '"[ !#-[\\]-~]*"'
const whole = '(?:0|[1-9][0-9]{0,14})'
// Of so few digits every decimal number is its own shortest form (ECMA-262 Number::toString), when it ends in no zero.
const fraction = '(?:0|[1-9][0-9]{0,8})(?:\\.[0-9]{0,5}[1-9])?'

/** The members that the log writes, in their order, when none of them needs an escape: the shape of nearly every line. */
const plainLine = new RegExp(`^\\{"action":${text}${[
  ['amends', whole],
  ['commitment', text],
  ['compute_ms', fraction],
  ['count', whole],
  ['credential_id', text],
  ['credential_method', text],
  ['decision', text],
  ['duration_ms', fraction],
  ['facts', text],
  ['http_status', whole],
  ['input_hash', text],
  ['model_digest', text],
  ['model_id', text],
  ['model_version', text],
  ['opening', text],
  ['org', text],
  ['output_hash', text],
  ['policy', text],
  ['reason', text],
  ['request_id', text],
  ['resource_id', text],
  ['resource_type', text],
  ['rule', text]
].map(([name = '', value = '']) => `(?:,"${name}":${value})?`).join('')},"seq":(${whole})(?:,"sketch":${text})?,"status":${text},"timestamp":${text}(?:,"user_id":${text})?\\}$`)

/**
 * The `seq` of the line that stands in `bytes` from `start` to `end`, or `undefined` when that is not an object in canonical
 * JSON (RFC 8785) of at most 65,535 bytes with a `seq`. Lines of the usual shape are not parsed, only matched.
 */
export function lineSeq (bytes: Buffer, start: number, end: number): number | undefined {
  if (end - start > maxLineBytes) return undefined
  const match = plainLine.exec(bytes.toString('latin1', start, end))
  return match !== null ? Number(match[1]) : parsedSeq(bytes.subarray(start, end))
}

function parsedSeq (line: Buffer): number | undefined {
  try {
    const value: unknown = JSON.parse(line.toString())
    if (typeof value !== 'object' || value === null || !('seq' in value)) return undefined
    // Compared as bytes, so that what is not UTF-8 is not canonical either.
    if (!Buffer.from(canonicalJson(value)).equals(line)) return undefined
    return Number.isSafeInteger(value.seq) ? Number(value.seq) : undefined
  } catch {
    return undefined
  }
}
