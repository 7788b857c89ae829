import type { Attribute } from './attribute.ts'
import { matchesSegments } from '../glob.ts'
import { prepareNetworks } from '../networks.ts'
import type { Scalar } from './match.ts'
import type { OperatorTest } from './operators.ts'
import { areApart, isWithin } from './range.ts'
import type { Alternative, Atom, Said } from './said.ts'

/**
 * What is known, or asked, of the outcome of a test: that it matches, or that it does not miss (it matches, or cannot be evaluated, which
 * is enough for a deny rule).
 */
export type Outcome = 'matches' | 'not-missed'

/** Attributes that are one text, if they are there: of others a value may be a list, which matches by any of its members. */
export function isOneText ({ name, isText }: Attribute): boolean {
  return isText && name !== 'principal.roles' && name !== 'principal.scopes'
}

/** What some attributes always are. */
const wordsByAttribute: ReadonlyMap<string, readonly string[]> = new Map([
  ['principal.type', ['user', 'service']],
  ['principal.credential.method', ['api-key', 'jwt', 'mtls', 'session']]
])

/** The only values that an attribute ever has, where they are few and known. */
export function wordsOf (name: string): readonly string[] | undefined {
  return wordsByAttribute.get(name)
}

/** Whether every value of which `given` is known of `one` has `wanted` of `other`. `false` says that it is not certain. */
export function implies (one: Said, given: Outcome, other: Said, wanted: Outcome, attribute: Attribute): boolean {
  return one.every((alternative) => apart(alternative).every((single) => other.some((candidate) =>
    candidate.every((atom) => single.some((known) => atomImplies(known, given, atom, wanted, isOneText(attribute)))))))
}

/** Each of a list of names may be among another's names, or fit one of its patterns. */
function apart (alternative: Alternative): readonly Alternative[] {
  const [first] = alternative
  if (first?.kind !== 'values' || alternative.length > 1) return [alternative]
  return [...first.values].map((value) => [{ ...first, values: new Set([value]) }])
}

function atomImplies (one: Atom, given: Outcome, other: Atom, wanted: Outcome, isText: boolean): boolean {
  if (one.kind === other.kind && one.text === other.text) return true
  switch (other.kind) {
    case 'looked-up': return false
    case 'exists': return other.isThere && (given === 'matches' ? needsValue(one) : isTwoValued(one) && needsValue(one))
    case 'values': return one.kind === 'values' && isSubset(one.values, other.values)
    case 'text': return impliesText(one, given, other)
    case 'other-values': return impliesOthers(one, given, other.values, wanted, isText)
    case 'range': return one.kind === 'range' ? one.scale === other.scale && isWithin(one.ranges, other.ranges) : impliesTest(one, other.test, wanted, isText)
    case 'network': return one.kind === 'network' ? one.networks.every((network) => isInNetworks(network, other.networks)) : impliesTest(one, other.test, wanted, isText)
  }
}

function isSubset (one: ReadonlySet<Scalar>, other: ReadonlySet<Scalar>): boolean {
  return one.size <= other.size && [...one].every((value) => other.has(value))
}

/** Whether it cannot match what is not there. */
function needsValue (atom: Atom): boolean {
  if (atom.kind === 'looked-up') return atom.needsValue
  return atom.kind !== 'exists' || atom.isThere
}

/** Whether it can always be evaluated. */
function isTwoValued (atom: Atom): boolean {
  if (atom.kind === 'looked-up') return atom.isTwoValued
  return atom.kind === 'values' || atom.kind === 'exists' || (atom.kind === 'text' && !atom.isOperator)
}

// No file holds it, for it is no character: stars of one pattern cannot be taken for letters of another.
const star = '\ud800'

function impliesText (one: Atom, given: Outcome, { segments, isOperator }: Atom & { kind: 'text' }): boolean {
  if (one.kind === 'values') return [...one.values].every((value) => typeof value === 'string' && matchesSegments(segments, value))
  // What is no text makes the operator impossible to evaluate, and misses the pattern.
  if (one.kind !== 'text' || (given === 'not-missed' && one.isOperator && !isOperator)) return false
  return matchesSegments(segments, one.segments.join(star))
}

function impliesOthers (one: Atom, given: Outcome, values: ReadonlySet<Scalar>, wanted: Outcome, isText: boolean): boolean {
  if (one.kind === 'other-values') return isSubset(values, one.values)
  if ([...values].some((value) => !isExcluded(one, value, 'matches'))) return false
  // Two of different kinds cannot be compared, which is not to match.
  if (one.kind === 'range') return one.scale === 'number' && given === 'matches' && (wanted === 'not-missed' || [...values].every((value) => typeof value === 'number'))
  return isText && (one.kind === 'values' || one.kind === 'text') && (wanted === 'not-missed' || [...values].every((value) => typeof value === 'string'))
}

/** Ranges and networks cannot be evaluated for a list, and one that holds such a value has the value. */
function impliesTest (one: Atom, test: OperatorTest, wanted: Outcome, isText: boolean): boolean {
  if (one.kind !== 'values') return false
  return [...one.values].every((value) => wanted === 'matches' ? isText && test(value) === true : test(value) !== false)
}

function isInNetworks (network: string, others: readonly string[]): boolean {
  const [address = '', bits] = network.split('/')
  return others.some((other) => {
    const [, otherBits] = other.split('/')
    const isWider = bits === undefined || Number(bits) >= Number(otherBits)
    return other === network || (isWider && address.includes(':') === other.includes(':') && prepareNetworks([other])?.(address) === true)
  })
}

/** Whether no value can have this outcome of everything that is said; `false` says that it is not certain. */
export function isImpossible (saids: readonly Said[], outcome: Outcome, attribute: Attribute): boolean {
  const possible = saids.map((said) => said.filter((alternative) => !excludesItself(alternative, outcome, attribute)))
  if (possible.some((said) => said.length === 0)) return true
  const [first = [], second = [], ...others] = possible
  // Long lists said twice of one attribute are rare, and are not multiplied out.
  if (second.length === 0 || others.length > 0 || first.length * second.length > 1000) return false
  return first.every((one) => second.every((other) => excludesItself([...one, ...other], outcome, attribute)))
}

function excludesItself (atoms: Alternative, outcome: Outcome, attribute: Attribute): boolean {
  const isText = isOneText(attribute)
  const words = wordsOf(attribute.name)
  if (words !== undefined && words.every((word) => atoms.some((atom) => isExcluded(atom, word, outcome)))) return true
  if (outcome === 'matches' && attribute.isText && atoms.some((atom) => isNeverText(atom, isText))) return true
  return atoms.some((atom, index) =>
    (atom.kind === 'values' && [...atom.values].every((value) => atoms.some((other) => excludesValue(other, value, outcome, isText)))) ||
    atoms.slice(index + 1).some((other) => areExclusive(atom, other, outcome, isText)))
}

/** Whether the test of this very value has another outcome. */
function isExcluded (atom: Atom, value: Scalar, outcome: Outcome): boolean {
  if (atom.kind === 'looked-up') return false
  return outcome === 'matches' ? atom.test(value) !== true : atom.test(value) === false
}

function isNeverText (atom: Atom, isText: boolean): boolean {
  if (atom.kind === 'values') return [...atom.values].every((value) => typeof value !== 'string')
  if (atom.kind === 'other-values') return isText && [...atom.values].some((value) => typeof value !== 'string')
  return atom.kind === 'range' && atom.scale === 'number'
}

/** Whether what has this value, alone or in a list, has another outcome here. */
function excludesValue (atom: Atom, value: Scalar, outcome: Outcome, isText: boolean): boolean {
  if (atom.kind === 'other-values') return atom.values.has(value)
  // Of a list these cannot be evaluated.
  if (atom.kind === 'range' || atom.kind === 'network') return (isText || outcome === 'matches') && isExcluded(atom, value, outcome)
  return isText && isExcluded(atom, value, outcome)
}

function areExclusive (one: Atom, other: Atom, outcome: Outcome, isText: boolean): boolean {
  if (isAbsent(one) || isAbsent(other)) {
    const present = isAbsent(one) ? other : one
    return needsValue(present) && (outcome === 'matches' || isTwoValued(present))
  }
  if (one.kind === 'range' && other.kind === 'range') return outcome === 'matches' && one.scale === other.scale && areApart(one.ranges, other.ranges)
  if (one.kind !== 'text' || other.kind !== 'text') return outcome === 'matches' && isNumber(one, other)
  return isText && (outcome === 'matches' || (isTwoValued(one) && isTwoValued(other))) && haveOtherEnds(one.segments, other.segments)
}

function isAbsent (atom: Atom): boolean {
  return atom.kind === 'exists' && !atom.isThere
}

/** Whether one asks for a text, or a list with one, and the other for a number. */
function isNumber (one: Atom, other: Atom): boolean {
  const [text, range] = one.kind === 'text' ? [one, other] : [other, one]
  return text.kind === 'text' && range.kind === 'range' && range.scale === 'number'
}

function haveOtherEnds (one: readonly string[], other: readonly string[]): boolean {
  const [head = '', otherHead = ''] = [one[0], other[0]]
  const [tail = '', otherTail = ''] = [one.at(-1), other.at(-1)]
  return !(head.startsWith(otherHead) || otherHead.startsWith(head)) || !(tail.endsWith(otherTail) || otherTail.endsWith(tail))
}
