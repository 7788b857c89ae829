import { equals, isScalar, type Match, opposite, someMatch } from './match.ts'
import { prepareNetworks } from '../networks.ts'
import { parseTime, timeOf } from './time.ts'

/** Whether a value of the question passes; it may be missing or of any kind. */
export type OperatorTest = (value: unknown) => Match

/** One operator: `{ gte: 3 }`. */
export interface Operator {
  /** What must stand behind it, for the message. */
  readonly expected: string
  /** The test for this operand, or `undefined` when the operand is not what was expected. */
  readonly prepare: (operand: unknown) => OperatorTest | undefined
  /** The answer when a reference leads to no such operand: what asks for equality does not match, all else cannot be evaluated. */
  readonly unresolved: Match
}

function operator (expected: string, prepare: Operator['prepare'], unresolved?: false): Operator {
  return { expected, prepare, unresolved }
}

const scalar = 'a string, a number, true or false'
const time = 'a time like 2026-01-31T08:00:00Z or 08:00'

/**
 * Every operator, one entry each. Kinds are held strictly: a comparison across kinds, or with what is not there, cannot be evaluated.
 * Only `eq`, `in` and `exists` answer for what is not there.
 */
export const operators: ReadonlyMap<string, Operator> = new Map(Object.entries({
  eq: operator(scalar, when(isScalar, (value, operand) => equals(value, operand) ?? false), false),
  ne: operator(scalar, when(isScalar, (value, operand) => opposite(equals(value, operand)))),
  in: operator('a list of strings, numbers, true or false', when(isList, (value, operand) => equals(value, operand) ?? false), false),
  nin: operator('a list of strings, numbers, true or false', when(isList, (value, operand) => opposite(equals(value, operand)))),
  lt: operator('a number', when(isNumber, (value, operand) => isNumber(value) ? value < operand : undefined)),
  lte: operator('a number', when(isNumber, (value, operand) => isNumber(value) ? value <= operand : undefined)),
  gt: operator('a number', when(isNumber, (value, operand) => isNumber(value) ? value > operand : undefined)),
  gte: operator('a number', when(isNumber, (value, operand) => isNumber(value) ? value >= operand : undefined)),
  prefix: operator('a string', when(isText, (value, operand) => anyText(value, (text) => text.startsWith(operand)))),
  suffix: operator('a string', when(isText, (value, operand) => anyText(value, (text) => text.endsWith(operand)))),
  exists: operator('true or false', when(isBoolean, (value, operand) => (value !== undefined) === operand)),
  cidr: operator('an address, a network like 10.0.0.0/8, or a list of them', (operand) => prepareNetworks(isList(operand) ? operand : [operand])),
  before: operator(time, whenTime((ms, bound) => ms < bound)),
  after: operator(time, whenTime((ms, bound) => ms > bound)),
  between: operator('a list of two numbers or two times, the lower first', between)
}))

function when<T> (isOperand: (operand: unknown) => operand is T, test: (value: unknown, operand: T) => Match): Operator['prepare'] {
  return (operand) => isOperand(operand) ? (value) => test(value, operand) : undefined
}

function isList (value: unknown): value is readonly unknown[] {
  return Array.isArray(value)
}

function isNumber (value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isBoolean (value: unknown): value is boolean {
  return typeof value === 'boolean'
}

/** A list passes when any of its members does. */
function anyText (value: unknown, test: (text: string) => boolean): Match {
  return someMatch(isList(value) ? value : [value], (member) => typeof member === 'string' ? test(member) : undefined)
}

function whenTime (compare: (ms: number, bound: number) => boolean): Operator['prepare'] {
  return (operand) => {
    const bound = parseTime(operand)
    return bound === undefined ? undefined : (value) => compareTime(timeOf(value, bound.kind), (ms) => compare(ms, bound.ms))
  }
}

function compareTime (ms: number | undefined, compare: (ms: number) => boolean): Match {
  return ms === undefined ? undefined : compare(ms)
}

/** Both ends are included. A time of day may run past midnight: 22:00 to 06:00. */
function between (operand: unknown): OperatorTest | undefined {
  const [from, to, ...others] = isList(operand) ? operand : []
  if (others.length > 0) return undefined
  if (isNumber(from) && isNumber(to)) return from > to ? undefined : (value) => isNumber(value) ? value >= from && value <= to : undefined
  const start = parseTime(from)
  const end = parseTime(to)
  if (start === undefined || start.kind !== end?.kind) return undefined
  const { kind } = start
  if (start.ms <= end.ms) return (value) => compareTime(timeOf(value, kind), (ms) => ms >= start.ms && ms <= end.ms)
  return kind === 'instant' ? undefined : (value) => compareTime(timeOf(value, kind), (ms) => ms >= start.ms || ms <= end.ms)
}
