import { actionAttribute, type Owner, type Question } from './attribute.ts'
import { type Constraint, readConstraint, readConstraints, satisfies } from './constraint.ts'
import { type Place, type PolicyNode, policyInvalid, quote, unexpected } from './node.ts'
import { readObligations } from './obligations.ts'
import type { Decision, Obligations } from './policy.ts'
import { optional, readName, readShape, readWord, required } from './readers.ts'
import { buildIndex, type Entry, type Index } from './rule-index.ts'

/** The outcome of a question. */
export type Effect = 'allow' | 'deny'

/** What a rule does when it matches: allow, deny, or neither, and only say what is due when something else allows. */
export type RuleEffect = Effect | 'oblige'

/** A rule of the file. */
export interface Rule {
  readonly name: string
  readonly effect: RuleEffect
  readonly place: Place
  readonly constraints: readonly Constraint[]
  /** What is due whenever it matches, whoever decided. */
  readonly obligations: Obligations | undefined
}

const owners: readonly Owner[] = ['principal', 'resource']

/** Reads `policies:`. Names are unique, because records say which rule decided. */
export function readRules (node: PolicyNode, tiers?: readonly string[]): readonly Rule[] {
  if (node.kind !== 'list') throw unexpected(node, 'a list of rules')
  const names = new Set<string>()
  return node.items.map((item) => {
    const rule = readRule(item, tiers)
    if (names.has(rule.name)) throw policyInvalid(item.place, `expected each rule name once, got ${quote(rule.name)} again`)
    names.add(rule.name)
    return rule
  })
}

function readRule (node: PolicyNode, tiers: readonly string[] | undefined): Rule {
  const mapping = readShape(node, ['name', 'effect', 'principal', 'resource', 'action', 'condition', 'obligations'])
  const effect = readWord(required(mapping, 'effect'), ['allow', 'deny', 'oblige'])
  const obligations = optional(mapping, 'obligations', (value) => readObligations(value, tiers), undefined)
  if (effect === 'oblige') required(mapping, 'obligations')
  if (effect === 'deny' && (obligations?.mask ?? obligations?.tier) !== undefined) {
    throw unexpected(required(mapping, 'obligations'), 'nothing but record in the obligations of a rule that denies, which has no answer to mask')
  }
  // A forgotten action must not turn a permission to read into a permission to delete.
  if (effect === 'allow') required(mapping, 'action')
  const part = (name: string, owner: Owner): readonly Constraint[] => optional(mapping, name, (value) => readConstraints(value, owner, owners), [])
  return {
    name: readName(required(mapping, 'name')),
    effect,
    place: mapping.place,
    constraints: [
      ...optional(mapping, 'action', (value) => [readConstraint(value, actionAttribute, owners)], []),
      ...part('resource', 'resource'),
      ...part('principal', 'principal'),
      ...part('condition', 'context')
    ],
    obligations
  }
}

/** What a rule leads to. Nothing else of it is kept for decisions: the fewer and smaller, the faster they are found. */
interface Outcome {
  readonly effect: Effect
  readonly decision: Decision
  /** The decision when the rule cannot be evaluated: an allow rule then says nothing. */
  readonly unevaluable: Decision | undefined
}

/** Rules, ready to be asked. */
export type RuleSet = Index<Outcome>

/** Compiles rules. They are put in the order of their names: the order in the file changes nothing, not even the name reported. */
export function compileRules (rules: readonly Rule[]): RuleSet {
  return buildIndex(byName(rules).flatMap(({ name, effect, constraints }) => effect === 'oblige' ? [] : [{ filed: outcomeOf(name, effect), constraints }]))
}

/** Rules in the order of their names. */
export function byName (rules: readonly Rule[]): readonly Rule[] {
  return rules.toSorted((a, b) => a.name < b.name ? -1 : 1)
}

function outcomeOf (name: string, effect: Effect): Outcome {
  const rule = `rule:${name}`
  if (effect === 'allow') return { effect, decision: Object.freeze({ allowed: true, rule, reason: 'allowed' }), unevaluable: undefined }
  return { effect, decision: Object.freeze({ allowed: false, rule, reason: 'forbidden' }), unevaluable: policyError(rule) }
}

/** The denial of a question that this rule cannot answer. */
export function policyError (rule: string | null): Decision {
  return Object.freeze({ allowed: false, rule, reason: 'policy-error' })
}

/**
 * The decision of a rule of this effect that matches, else that of a deny rule that cannot be evaluated, else `undefined`.
 */
export function decideByRules (rules: readonly Entry<Outcome>[], effect: Effect, question: Question): Decision | undefined {
  let unevaluable: Decision | undefined
  for (const { filed, constraints } of rules) {
    if (filed.effect !== effect) continue
    const match = satisfies(question, constraints)
    if (match === true) return filed.decision
    if (match === undefined) unevaluable ??= filed.unevaluable
  }
  return unevaluable
}
