import { isGlob, matchesSegments } from '../glob.ts'
import { equals, everyMatch, isScalar, type Scalar } from './match.ts'
import type { PolicyNode } from './node.ts'
import { operators, type OperatorTest } from './operators.ts'
import type { Range } from './range.ts'
import { parseTime } from './time.ts'

/**
 * What a policy file says of an attribute, as something that can be compared: any of these must match. Only for what was read without
 * an error by `readConstraint`, which decides; this is for the tool that compares rules with each other.
 */
export type Said = readonly Alternative[]

/** All of these must match. */
export type Alternative = readonly Atom[]

/** What is measured: numbers, moments, or times of a day that comes every day. */
export type Scale = 'number' | 'instant' | 'time-of-day'

/** One thing that is said. Of what depends on a question only its text is known, and whether it can match what is not there. */
export type Atom = { readonly text: string } & (
  | { readonly kind: 'values', readonly values: ReadonlySet<Scalar>, readonly test: OperatorTest }
  | { readonly kind: 'other-values', readonly values: ReadonlySet<Scalar>, readonly test: OperatorTest }
  | { readonly kind: 'text', readonly segments: readonly string[], readonly isOperator: boolean, readonly test: OperatorTest }
  | { readonly kind: 'range', readonly scale: Scale, readonly ranges: readonly Range[], readonly test: OperatorTest }
  | { readonly kind: 'network', readonly networks: readonly string[], readonly test: OperatorTest }
  | { readonly kind: 'exists', readonly isThere: boolean, readonly test: OperatorTest }
  | { readonly kind: 'looked-up', readonly isTwoValued: boolean, readonly needsValue: boolean }
)

/** Reads a value, a pattern, a reference, an operator object, or a list of them. */
export function readSaid (node: PolicyNode): Said {
  if (node.kind === 'list') return joinValues(node.items.flatMap(readSaid))
  if (node.kind === 'mapping') return [[...node.members].map(([name, { value }]) => operatorAtom(name, constantOf(value)))]
  return [[valueAtom(node.value)]]
}

/** A list of a thousand names is one set of names. */
function joinValues (alternatives: Said): Said {
  const names = alternatives.flatMap(([first, ...others]) => first?.kind === 'values' && others.length === 0 ? [first] : [])
  if (names.length < 2) return alternatives
  const joined = valuesAtom(names.flatMap(({ values }) => [...values]), names.map(({ text }) => text).join(', '))
  return [[joined], ...alternatives.filter((alternative) => !names.some((name) => alternative[0] === name))]
}

function constantOf (node: PolicyNode): unknown {
  const { value, items } = { value: undefined, items: undefined, ...node }
  return items?.map(constantOf) ?? value
}

function valueAtom (value: unknown): Atom {
  const text = JSON.stringify(value)
  if (isReferring(value)) return { kind: 'looked-up', text, isTwoValued: true, needsValue: true }
  if (typeof value === 'string' && isGlob(value)) return patternAtom(value.split('*'), text)
  return valuesAtom([value], text)
}

function isReferring (value: unknown): boolean {
  return Array.isArray(value) ? value.some(isReferring) : typeof value === 'string' && value.includes('${')
}

function valuesAtom (values: readonly unknown[], text: string): Atom & { readonly kind: 'values' } {
  const known = values.filter(isScalar)
  return { kind: 'values', text, values: new Set(known), test: (value) => equals(value, known) ?? false }
}

function patternAtom (segments: readonly string[], text: string): Atom {
  return { kind: 'text', text, segments, isOperator: false, test: (value) => typeof value === 'string' && matchesSegments(segments, value) }
}

const operatorsOfTwoValues = ['eq', 'in']
// Of what is not there they cannot say anything; `nin` can, where its reference leads to an empty list.
const operatorsOfAnything = ['nin', 'exists']

function operatorAtom (name: string, operand: unknown): Atom {
  const text = `${name} ${JSON.stringify(operand)}`
  if (isReferring(operand)) return { kind: 'looked-up', text, isTwoValued: operatorsOfTwoValues.includes(name), needsValue: !operatorsOfAnything.includes(name) }
  const operands: readonly unknown[] = Array.isArray(operand) ? operand : [operand]
  const prepared = [operators.get(name)?.prepare(operand)].filter((test) => test !== undefined)
  const test: OperatorTest = (value) => everyMatch(prepared, (one) => one(value))
  switch (name) {
    case 'eq': case 'in': return { ...valuesAtom(operands, text), test }
    case 'ne': case 'nin': return { kind: 'other-values', text, values: new Set(operands.filter(isScalar)), test }
    case 'prefix': return { kind: 'text', text, segments: [String(operand), ''], isOperator: true, test }
    case 'suffix': return { kind: 'text', text, segments: ['', String(operand)], isOperator: true, test }
    case 'exists': return { kind: 'exists', text, isThere: operand === true, test }
    case 'cidr': return { kind: 'network', text, networks: operands.map(String), test }
    default: return { kind: 'range', text, ...rangesOf(name, operands), test }
  }
}

const dayMs = 86_400_000
const start = { scale: 'number' as const, at: 0 }

function rangesOf (name: string, operands: readonly unknown[]): { readonly scale: Scale, readonly ranges: readonly Range[] } {
  const [{ scale, at } = start, { at: end } = start] = operands.map(pointOf)
  const [least, most] = scale === 'time-of-day' ? [0, dayMs] : [-Infinity, Infinity]
  const below: Range = { from: least, to: at, isToOpen: name === 'lt' || name === 'before' }
  const above: Range = { from: at, to: most, isFromOpen: name === 'gt' || name === 'after', isToOpen: scale === 'time-of-day' }
  if (name === 'between') return { scale, ranges: at <= end ? [{ from: at, to: end }] : [{ from: least, to: end }, above] }
  return { scale, ranges: [['lt', 'lte', 'before'].includes(name) ? below : above] }
}

/** A number, or a time in milliseconds. */
function pointOf (operand: unknown): { readonly scale: Scale, readonly at: number } {
  if (typeof operand === 'number') return { scale: 'number', at: operand }
  const { kind = 'instant', ms = NaN } = { ...parseTime(operand) }
  return { scale: kind, at: ms }
}
