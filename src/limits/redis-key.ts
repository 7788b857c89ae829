import { createHash } from 'node:crypto'

/** Longer parts are kept as their digest. */
const maxLength = 256

/**
 * The key of a budget: `<prefix>{<group>}:<key>`. Redis Cluster places it by what stands between the braces alone.
 * No two pairs of group and key share one: what is not printable ASCII, a brace, or `%` is written `%<hex>;`.
 * @param prefix holds no braces.
 */
export function redisKey (prefix: string, group: string, key: string): string {
  return `${prefix}{${printable(group)}}:${printable(key)}`
}

/** The key of what one principal alone spends from a budget. No budget has it. */
export function sharerKey (prefix: string, group: string, key: string, sharer: string): string {
  return `${redisKey(prefix, group, key)}%/${printable(sharer)}`
}

function printable (text: string): string {
  // Of `{}` a cluster takes the whole key, and places each key of the group elsewhere.
  if (text === '') return '%;'
  // UTF-16, because UTF-8 would make all lone surrogates one.
  if (text.length > maxLength) return `%sha256;${createHash('sha256').update(text, 'utf16le').digest('hex')}`
  return text.replace(/[^!-~]|[%{}]/g, (character) => `%${character.charCodeAt(0).toString(16)};`)
}
