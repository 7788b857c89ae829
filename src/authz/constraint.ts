import { type Attribute, attributeOf, isGroup, type Owner, type Question } from './attribute.ts'
import { everyMatch, type Match } from './match.ts'
import { type MappingNode, type Place, type PolicyNode, policyInvalid } from './node.ts'
import { readMapping } from './readers.ts'
import { readValues, type Value } from './value.ts'

/** What a rule says of one attribute. */
export interface Constraint extends Value {
  readonly attribute: Attribute
  /** Where it is said. */
  readonly place: Place
}

/** Whether everything that was said matches. A getter that throws makes it impossible to evaluate. */
export function satisfies (question: Question, constraints: readonly Constraint[]): Match {
  try {
    return everyMatch(constraints, ({ attribute, test }) => test(attribute.read(question), question))
  } catch {
    return undefined
  }
}

/** Reads what the file says of one attribute; references may lead to these owners. */
export function readConstraint (node: PolicyNode, attribute: Attribute, owners: readonly Owner[]): Constraint {
  return { attribute, place: node.place, ...readValues(node, attribute, owners) }
}

/** Reads what a mapping says of an owner's attributes. */
export function readConstraints (node: PolicyNode, owner: Owner, owners: readonly Owner[]): readonly Constraint[] {
  return readAttributes(node, owner).map(({ attribute, value }) => readConstraint(value, attribute, owners))
}

/** An attribute, and what stands behind its name. */
export interface AttributeNode {
  readonly attribute: Attribute
  readonly value: PolicyNode
}

/** The attributes of an owner that a mapping speaks of. */
export function readAttributes (node: PolicyNode, owner: Owner): readonly AttributeNode[] {
  return attributesIn(readMapping(node, `a mapping of attributes of the ${owner}`), owner, '')
}

function attributesIn (mapping: MappingNode, owner: Owner, prefix: string): readonly AttributeNode[] {
  // An empty mapping would match everything, which nobody writes by intent.
  if (mapping.members.size === 0) throw policyInvalid(mapping.place, 'expected at least one attribute; leave the key out to match everything')
  return [...mapping.members].flatMap(([name, { place, value }]) => {
    if (prefix === '' && isGroup(owner, name)) return attributesIn(readMapping(value), owner, `${name}.`)
    return [{ attribute: attributeOf(owner, prefix + name, place), value }]
  })
}
