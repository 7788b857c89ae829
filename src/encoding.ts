import { randomBytes } from 'node:crypto'

const base62Alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** A uniformly random base62 string of this many characters (5.95 bits each). */
export function randomBase62 (length: number): string {
  let text = ''
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      // 248 = 4 × 62: larger bytes are drawn again, or the first characters would come up more often.
      if (byte < 248 && text.length < length) text += base62Alphabet.charAt(byte % 62)
    }
  }
  return text
}

/** A non-negative integer in base62, left-padded with `0` to this length. */
export function toBase62 (value: number, length: number): string {
  let text = ''
  for (let rest = value; rest > 0; rest = Math.floor(rest / 62)) text = base62Alphabet.charAt(rest % 62) + text
  return text.padStart(length, '0')
}

/**
 * JSON Canonicalization Scheme (RFC 8785): members sorted by UTF-16 code units, no white space.
 * Members that are `undefined` are left out, as in `JSON.stringify`.
 * @throws {TypeError} for what JSON cannot hold: NaN, infinities, functions, big integers, lone surrogates.
 */
export function canonicalJson (value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
    members.sort(([a], [b]) => a < b ? -1 : 1)
    return `{${members.map(([name, member]) => `${canonicalString(name)}:${canonicalJson(member)}`).join(',')}}`
  }
  if (typeof value === 'string') return canonicalString(value)
  if (value === null || typeof value === 'boolean' || Number.isFinite(value)) return JSON.stringify(value)
  throw new TypeError(`no canonical JSON for ${typeof value}`)
}

function canonicalString (value: string): string {
  if (!value.isWellFormed()) throw new TypeError('no canonical JSON for a lone surrogate')
  return JSON.stringify(value)
}
