import { guardError } from '../errors.ts'
import { nearestWord } from '../options.ts'

/** Where something stands in a policy file; lines and columns count from 1. */
export interface Place {
  readonly source: string
  readonly line: number
  readonly column: number
}

/** A value of a policy file that knows where it stands. */
export type PolicyNode = ScalarNode | ListNode | MappingNode

export interface ScalarNode {
  readonly kind: 'scalar'
  readonly place: Place
  readonly value: string | number | boolean | null
}

export interface ListNode {
  readonly kind: 'list'
  readonly place: Place
  readonly items: readonly PolicyNode[]
}

export interface MappingNode {
  readonly kind: 'mapping'
  readonly place: Place
  readonly members: ReadonlyMap<string, Member>
}

/** A named value; its place is the name's. */
export interface Member {
  readonly place: Place
  readonly value: PolicyNode
}

/** The refusal of a policy file: `source:line:column: what was expected`. */
export function policyInvalid (place: Place, expected: string, cause?: unknown): Error {
  return guardError('FMG_ERR_POLICY_INVALID', { detail: `${place.source}:${place.line}:${place.column}: ${expected}`, cause })
}

/** The refusal of one value: what was expected, and what stood there. */
export function unexpected (node: PolicyNode, expected: string): Error {
  return policyInvalid(node.place, `expected ${onOneLine(expected)}, got ${describe(node)}`)
}

/** The refusal of a word: what it should have been, with the nearest known one. */
export function unknownWord (place: Place, kind: string, word: string, known: readonly string[]): Error {
  // Edit distance costs the product of the lengths: a word of a megabyte is not compared at all, nor one with every role of a large file.
  const similar = word.length > 64 ? [] : known.filter((other) => Math.abs(other.length - word.length) <= 2 && sharesLetter(word, other)).slice(0, 1000)
  const nearest = nearestWord(word, similar)
  const hint = nearest === undefined ? `known are ${known.slice(0, 20).join(', ') || 'none'}` : `did you mean ${nearest}?`
  return policyInvalid(place, `unknown ${kind} ${quote(word)}; ${hint}`)
}

/** Two short words are within two edits of each other without a letter in common. */
function sharesLetter (word: string, other: string): boolean {
  return Array.from(other).some((letter) => word.includes(letter))
}

/** A text in quotes for a message: on one line, and cut when long. */
export function quote (text: string): string {
  return onOneLine(JSON.stringify(shortened(text)))
}

/** A text for a message, on one line. */
export function onOneLine (text: string): string {
  return text.replace(unprintable, escapeCharacter)
}

/** A text that is cut when it is long. */
export function shortened (text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

// Beyond what JSON escapes: what breaks lines, and what turns the direction of writing, in somebody's terminal.
const unprintable = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\u200b\u2060\ufeff]/gu

function escapeCharacter (character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function describe (node: PolicyNode): string {
  if (node.kind === 'list' && node.items.length === 0) return 'an empty list'
  if (node.kind !== 'scalar') return `a ${node.kind}`
  if (node.value === null) return 'nothing'
  return typeof node.value === 'string' ? quote(node.value) : String(node.value)
}
