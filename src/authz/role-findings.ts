import { type Clause, type ComparedRule, clausesOf, itemsOf } from './clauses.ts'
import type { Finding } from './finding.ts'
import { type MappingNode, type Member, type PolicyNode, quote } from './node.ts'
import { isGlob } from '../glob.ts'
import { nearestWord } from '../options.ts'
import { optional, readMapping, required } from './readers.ts'

/** A word that stands for a role. */
interface RoleWord {
  readonly word: string
  readonly node: PolicyNode
}

/**
 * Roles that are most likely misspelt, and, where it is known which roles credentials bring, roles and rules that are for nobody.
 * A role that a rule names need not be declared: the credential may bring it. Only one that is nearly a declared one is taken for a slip.
 */
export function findRoles (file: MappingNode, rules: readonly ComparedRule[], held: readonly string[] | undefined): readonly Finding[] {
  const declared = optional(file, 'roles', (node) => readMapping(node).members, new Map<string, Member>())
  const assigned = itemsOf(file, 'assignments').flatMap((item) => textsOf(required(readMapping(item), 'roles')))
  const known = [...declared.keys()]
  const brought = new Set([...held ?? [], ...assigned.map(({ word }) => word)])
  const misspelt = wordsIn(file, rules).flatMap(({ word, node }) => brought.has(word) ? [] : misspeltRole(word, node, known))
  if (held === undefined) return misspelt
  return [...misspelt, ...forNobody(declared, brought), ...rules.flatMap((rule) => ruleForNobody(rule, brought, known))]
}

/** Every word for a role in rules, in what assignments ask for, and in tests. */
function wordsIn (file: MappingNode, rules: readonly ComparedRule[]): readonly RoleWord[] {
  const said = [...rules.flatMap(({ clauses }) => clauses), ...itemsOf(file, 'assignments').flatMap((item) => clausesOf(readMapping(item), 'principal', 'principal'))]
  const tested = itemsOf(file, 'tests').flatMap((item) => optional(readMapping(required(readMapping(item), 'principal')), 'roles', textsOf, []))
  return [...said.flatMap(({ attribute, value }) => attribute.name === 'principal.roles' ? textsOf(value) : []), ...tested]
}

/** Operators behind which whole names stand. */
const namingOperators = ['eq', 'ne', 'in', 'nin']

function textsOf (node: PolicyNode): readonly RoleWord[] {
  if (node.kind === 'list') return node.items.flatMap(textsOf)
  if (node.kind === 'mapping') return [...node.members].flatMap(([name, { value }]) => namingOperators.includes(name) ? textsOf(value) : [])
  return typeof node.value === 'string' && !isGlob(node.value) ? [{ word: node.value, node }] : []
}

function misspeltRole (word: string, { place }: PolicyNode, known: readonly string[]): readonly Finding[] {
  // Short words are near to each other without being meant.
  if (word.length < 4 || word.length > 64 || known.includes(word)) return []
  const meant = nearestWord(word, known.filter(({ length }) => length > 3 && Math.abs(length - word.length) <= 2).slice(0, 1000))
  if (meant === undefined) return []
  return [{ kind: 'unknown-role', place, message: `role ${quote(word)} is not declared; did you mean ${meant}? If a credential brings it, name all roles that credentials bring (--held)` }]
}

function forNobody (declared: ReadonlyMap<string, Member>, brought: ReadonlySet<string>): readonly Finding[] {
  const parents = new Map([...declared].map(([name, { value }]) => [name, optional(readMapping(value), 'inherits', textsOf, [])]))
  const useful = new Set(brought)
  for (const name of useful) for (const { word } of parents.get(name) ?? []) useful.add(word)
  return [...declared].flatMap(([name, { place }]) => useful.has(name)
    ? []
    : [{ kind: 'role-nobody-has' as const, place, message: `nobody has role ${quote(name)}: no credential and no assignment brings it, and no role that somebody has inherits from it; grant it, or remove it` }])
}

/** A rule for roles of which nobody has any: holding a role is not holding those that it inherits from. */
function ruleForNobody ({ name, place, clauses }: ComparedRule, brought: ReadonlySet<string>, known: readonly string[]): readonly Finding[] {
  const asked = clauses.find((clause) => clause.attribute.name === 'principal.roles' && isForNobody(clause, brought))
  if (asked === undefined) return []
  const isInherited = textsOf(asked.value).some(({ word }) => known.includes(word))
  const hint = isInherited ? '; who inherits from a role does not have it: name the heirs' : ''
  return [{ kind: 'role-nobody-has', place, rule: name, message: `rule ${quote(name)} is for nobody: nobody has a role that it asks for (${asked.place.line}:${asked.place.column})${hint}` }]
}

function isForNobody ({ said }: Clause, brought: ReadonlySet<string>): boolean {
  return said.every((atoms) => atoms.some((atom) => (atom.kind === 'values' || atom.kind === 'text') && ![...brought].some((role) => atom.test(role) === true)))
}
