import type { Attribute, Owner, Question } from './attribute.ts'
import { compileGlob, isGlob, matchesSegments, type TextTest } from '../glob.ts'
import { equals, type Match, someMatch } from './match.ts'
import { type PolicyNode, type ScalarNode, unexpected } from './node.ts'
import { readOperators } from './operand.ts'
import { isReference, parseReferences, type Parts, resolve, resolveText, splitParts } from './reference.ts'
import { readSegments } from './readers.ts'

/** Whether an attribute's value matches what the file says of it. */
export type ValueTest = (value: unknown, question: Question) => Match

/** What the file says of an attribute. */
export interface Value {
  readonly test: ValueTest
  /** By what it can be looked up. */
  readonly keys?: Keys | undefined
}

/**
 * What a value that matches is, or a member of it: one of these strings (`whole`; and each of them matches), or a string that starts with
 * one of them (`start`).
 */
export interface Keys {
  readonly kind: 'whole' | 'start'
  readonly texts: readonly string[]
}

/** Reads a value, a pattern, a reference, an operator object, or a list of which any may match. */
export function readValues (node: PolicyNode, attribute: Attribute, owners: readonly Owner[]): Value {
  if (node.kind !== 'list') return readValue(node, attribute, owners)
  if (node.items.length === 0) throw unexpected(node, 'a list of at least one')
  const values = node.items.map((item) => readValue(item, attribute, owners))
  const keys = joinKeys(values)
  if (keys?.kind === 'whole') return oneOf(keys.texts)
  return { test: (given, question) => someMatch(values, (value) => value.test(given, question)), keys }
}

function joinKeys (values: readonly Value[]): Keys | undefined {
  const keys = values.flatMap((value) => value.keys ?? [])
  if (keys.length < values.length) return undefined
  return { kind: keys.every(({ kind }) => kind === 'whole') ? 'whole' : 'start', texts: [...new Set(keys.flatMap(({ texts }) => texts))] }
}

function readValue (node: PolicyNode, attribute: Attribute, owners: readonly Owner[]): Value {
  if (node.kind === 'mapping') return { test: readOperators(node, owners) }
  if (node.kind === 'list' || node.value === null || node.value === '') throw unexpected(node, 'a value, a list of values, or an operator object')
  const { value } = node
  if (typeof value === 'string') return readPattern(value, node, owners)
  // Quietly it would never match, and a deny rule would never deny.
  if (attribute.isText) throw unexpected(node, `a string, which ${attribute.name} always is (put it in quotes)`)
  return { test: (given) => equals(given, value) ?? false }
}

function readPattern (text: string, node: ScalarNode, owners: readonly Owner[]): Value {
  const parts = parseReferences(text, owners, node.place)
  const [first] = parts
  if (parts.length === 1 && isReference(first)) return { test: (given, question) => equals(given, resolve(first, question)) ?? false }
  const segments = readSegments(text, node)
  if (parts.some(isReference)) return { test: template(parts) }
  if (!isGlob(text)) return oneOf([text])
  const matches = compileGlob(segments)
  const starts = segments.slice(0, 1).filter((start) => start !== '')
  return { test: (given) => anyText(given, matches), keys: starts.length === 0 ? undefined : { kind: 'start', texts: starts } }
}

function oneOf (texts: readonly string[]): Value {
  return { test: texts.length === 1 ? onlyText(texts) : anyTextOf(new Set(texts)), keys: { kind: 'whole', texts } }
}

function onlyText ([only]: readonly string[]): ValueTest {
  return (given) => given === only || (Array.isArray(given) && given.includes(only))
}

function anyTextOf (known: ReadonlySet<string>): ValueTest {
  return (given) => anyText(given, (text) => known.has(text))
}

/** Text around references, stars among it: the stars are the file's, what the references stand for is taken letter by letter. */
function template (parts: Parts): ValueTest {
  const segments = splitParts(parts)
  return (given, question) => {
    const texts: string[] = []
    for (const segment of segments) {
      const text = resolveText(segment, question)
      if (text === undefined) return false
      texts.push(text)
    }
    return anyText(given, (text) => matchesSegments(texts, text))
  }
}

/** Patterns are for strings; of a list, any member may match. */
function anyText (given: unknown, matches: TextTest): boolean {
  if (typeof given === 'string') return matches(given)
  return Array.isArray(given) && given.some((member) => typeof member === 'string' && matches(member))
}
