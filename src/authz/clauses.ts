import { actionAttribute, type Attribute, type Owner } from './attribute.ts'
import { readAttributes } from './constraint.ts'
import type { MappingNode, Place, PolicyNode } from './node.ts'
import { optional, readMapping, readName, readWord, required } from './readers.ts'
import type { RuleEffect } from './rule.ts'
import { readSaid, type Said } from './said.ts'
import { implies, isImpossible, type Outcome } from './said-relations.ts'

/** What a rule or an assignment says of one attribute. */
export interface Clause {
  readonly attribute: Attribute
  readonly place: Place
  readonly value: PolicyNode
  readonly said: Said
}

/** A rule of the file, to be compared with others. */
export interface ComparedRule {
  readonly name: string
  readonly effect: RuleEffect
  readonly place: Place
  readonly clauses: readonly Clause[]
  /** Leads to more than its effect whenever it matches, and denies what it cannot be evaluated for. */
  readonly hasObligations: boolean
}

/** The rules of a file that was read without an error. */
export function rulesIn (root: MappingNode): readonly ComparedRule[] {
  return itemsOf(root, 'policies').map((item) => {
    const mapping = readMapping(item)
    return {
      name: readName(required(mapping, 'name')),
      effect: readWord(required(mapping, 'effect'), ['allow', 'deny', 'oblige']),
      place: mapping.place,
      clauses: [
        ...optional(mapping, 'action', (value) => [clause({ attribute: actionAttribute, value })], []),
        ...clausesOf(mapping, 'resource', 'resource'),
        ...clausesOf(mapping, 'principal', 'principal'),
        ...clausesOf(mapping, 'condition', 'context')
      ],
      hasObligations: mapping.members.has('obligations')
    }
  })
}

/** The items of a list of the file, none when it is left out. */
export function itemsOf (mapping: MappingNode, name: string): readonly PolicyNode[] {
  return optional(mapping, name, (node) => ({ items: [], ...node }).items, [])
}

/** What a part of a rule or an assignment says. */
export function clausesOf (mapping: MappingNode, name: string, owner: Owner): readonly Clause[] {
  return optional(mapping, name, (node) => readAttributes(node, owner).map(clause), [])
}

function clause ({ attribute, value }: { readonly attribute: Attribute, readonly value: PolicyNode }): Clause {
  return { attribute, value, place: value.place, said: readSaid(value) }
}

/** Attributes that no question is without: there `*` says nothing. */
const alwaysThere = ['action', 'resource.type', 'resource.id', 'principal.id', 'principal.tier']

/** Clauses that some question does not fulfil. */
export function tellingClauses (clauses: readonly Clause[]): readonly Clause[] {
  return clauses.filter(({ attribute, said }) => !alwaysThere.includes(attribute.name) ||
    !said.some(([atom]) => atom?.kind === 'text' && atom.segments.every((segment) => segment === '')))
}

/** Whether each question of which `given` is known of the one has the outcome `wanted` of the other. `false` says that it is not certain. */
export function covers (wide: readonly Clause[], wanted: Outcome, narrow: readonly Clause[], given: Outcome): boolean {
  return wide.every(({ attribute, said }) => narrow.some((clause) => clause.attribute.name === attribute.name && implies(clause.said, given, said, wanted, attribute)))
}

/** What is said of one attribute, and cannot be so together. */
export function contradictionIn (clauses: readonly Clause[], outcome: Outcome): readonly Clause[] | undefined {
  const byAttribute = new Map<string, Clause[]>()
  for (const one of clauses) byAttribute.set(one.attribute.name, [...byAttribute.get(one.attribute.name) ?? [], one])
  return [...byAttribute.values()].find((same) => same.some(({ attribute }) => isImpossible(same.map(({ said }) => said), outcome, attribute)))
}
