import { maxSegment } from '../glob.ts'
import { type MappingNode, type PolicyNode, policyInvalid, quote, shortened, unexpected, unknownWord } from './node.ts'

// A name is printed and recorded: one that breaks its line, or turns the direction of writing, would look like something else.
const misleading = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\u200b\u2060\ufeff]/u

/** A string of at least one character. */
export function readText (node: PolicyNode, expected = 'a string'): string {
  if (node.kind !== 'scalar' || typeof node.value !== 'string' || node.value === '') throw unexpected(node, expected)
  return node.value
}

/** A name that can stand in a record: at most 256 characters, on one line, as it looks. */
export function readName (node: PolicyNode): string {
  const name = readText(node, 'a name')
  if (name.length > 256 || misleading.test(name)) throw unexpected(node, 'a name of at most 256 characters on one line')
  return name
}

/** The texts between the stars of a pattern; the whole when there is none. */
export function readSegments (pattern: string, node: PolicyNode): readonly string[] {
  const segments = pattern.split('*')
  if (segments.length > 1 && segments.some((segment) => segment.length > maxSegment)) throw unexpected(node, `at most ${maxSegment} characters beside a star`)
  return segments
}

/** A list of at least one of these. */
export function readList<T> (node: PolicyNode, read: (item: PolicyNode) => T): readonly T[] {
  if (node.kind === 'scalar' && typeof node.value === 'string') throw unexpected(node, `a list, like [${shortened(node.value)}]`)
  if (node.kind !== 'list' || node.items.length === 0) throw unexpected(node, 'a list of at least one')
  return node.items.map(read)
}

/** One of these words. */
export function readWord<const T extends string> (node: PolicyNode, words: readonly T[]): T {
  const text = readText(node, `one of ${words.join(', ')}`)
  const word = words.find((candidate) => candidate === text)
  if (word === undefined) throw unknownWord(node.place, 'word', text, words)
  return word
}

/** A mapping, whatever its names. */
export function readMapping (node: PolicyNode, expected = 'a mapping'): MappingNode {
  if (node.kind !== 'mapping') throw unexpected(node, expected)
  return node
}

/** A mapping with no other names than these; a mistyped one is refused with the nearest known word. */
export function readShape (node: PolicyNode, names: readonly string[]): MappingNode {
  const mapping = readMapping(node, `a mapping of ${names.join(', ')}`)
  for (const [name, member] of mapping.members) {
    if (!names.includes(name)) throw unknownWord(member.place, 'key', name, names)
  }
  return mapping
}

/** The member of this name, which must be there. */
export function required (mapping: MappingNode, name: string): PolicyNode {
  const member = mapping.members.get(name)
  if (member === undefined) throw policyInvalid(mapping.place, `expected ${quote(name)} in this mapping`)
  return member.value
}

/** The member of this name read by this reader, or the fallback when it is left out. */
export function optional<T, F> (mapping: MappingNode, name: string, read: (node: PolicyNode) => T, fallback: F): T | F {
  const member = mapping.members.get(name)
  return member === undefined ? fallback : read(member.value)
}

/** The bare values of members, in an object without a prototype, so that a member named `__proto__` is a member. */
export function plainRecord (members: MappingNode['members']): Readonly<Record<string, unknown>> {
  const record: Record<string, unknown> = { __proto__: null }
  for (const [name, { value }] of members) record[name] = plainValue(value)
  return Object.freeze(record)
}

function plainValue (node: PolicyNode): unknown {
  if (node.kind === 'scalar') return node.value
  return node.kind === 'list' ? Object.freeze(node.items.map(plainValue)) : plainRecord(node.members)
}
