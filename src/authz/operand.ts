import type { Owner, Question } from './attribute.ts'
import { everyMatch, type Match } from './match.ts'
import { type MappingNode, type Member, type PolicyNode, policyInvalid, quote, unexpected, unknownWord } from './node.ts'
import { operators } from './operators.ts'
import { isReference, parseReferences, resolve, resolveText } from './reference.ts'
import { readList } from './readers.ts'

/** As other languages spell them. */
const otherSpellings: ReadonlyMap<string, string> = new Map(Object.entries({
  '=': 'eq',
  '==': 'eq',
  '===': 'eq',
  equals: 'eq',
  is: 'eq',
  '!=': 'ne',
  '!==': 'ne',
  not: 'ne',
  notEquals: 'ne',
  '<': 'lt',
  '<=': 'lte',
  '>': 'gt',
  '>=': 'gte',
  notIn: 'nin',
  not_in: 'nin',
  startsWith: 'prefix',
  starts_with: 'prefix',
  endsWith: 'suffix',
  ends_with: 'suffix',
  has: 'exists',
  ipInRange: 'cidr',
  network: 'cidr',
  range: 'between'
}))

type Test = (value: unknown, question: Question) => Match

/** What stands behind an operator: known at load, or looked up for each question. */
type Operand =
  | { readonly kind: 'constant', readonly value: unknown }
  | { readonly kind: 'looked-up', readonly value: (question: Question) => unknown }

/** Reads an operator object; when it holds several operators, all must pass. Stars in operands are letters. */
export function readOperators (node: MappingNode, owners: readonly Owner[]): Test {
  if (node.members.size === 0) throw unexpected(node, `one of the operators ${[...operators.keys()].join(', ')}`)
  const tests = [...node.members].map(([name, member]) => readOperator(name, member, owners))
  return (value, question) => everyMatch(tests, (test) => test(value, question))
}

function readOperator (name: string, { place, value: node }: Member, owners: readonly Owner[]): Test {
  const operator = operators.get(name)
  const meant = otherSpellings.get(name)
  if (meant !== undefined) throw policyInvalid(place, `unknown operator ${quote(name)}; did you mean ${meant}?`)
  if (operator === undefined) throw unknownWord(place, 'operator', name, [...operators.keys()])
  const operand = readOperand(node, owners)
  if (operand.kind === 'looked-up') {
    return (value, question) => {
      const test = operator.prepare(operand.value(question))
      return test === undefined ? operator.unresolved : test(value)
    }
  }
  const test = operator.prepare(operand.value)
  if (test === undefined) throw unexpected(node, `${operator.expected} behind ${name}`)
  return test
}

function readOperand (node: PolicyNode, owners: readonly Owner[]): Operand {
  if (node.kind !== 'list') return readSingle(node, owners)
  const items = readList(node, (item) => readSingle(item, owners))
  if (items.every((item) => item.kind === 'constant')) return { kind: 'constant', value: items.map((item) => item.value) }
  return { kind: 'looked-up', value: (question) => items.map((item) => item.kind === 'constant' ? item.value : item.value(question)) }
}

function readSingle (node: PolicyNode, owners: readonly Owner[]): Operand {
  if (node.kind !== 'scalar' || node.value === null || node.value === '') throw unexpected(node, 'a value or a reference')
  if (typeof node.value !== 'string') return { kind: 'constant', value: node.value }
  const parts = parseReferences(node.value, owners, node.place)
  if (!parts.some(isReference)) return { kind: 'constant', value: node.value }
  const [first] = parts
  if (parts.length === 1 && isReference(first)) return { kind: 'looked-up', value: (question) => resolve(first, question) }
  return { kind: 'looked-up', value: (question) => resolveText(parts, question) }
}
