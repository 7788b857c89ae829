import { actionAttribute } from './attribute.ts'
import { type Clause, type ComparedRule, clausesOf, contradictionIn, itemsOf, rulesIn } from './clauses.ts'
import { type PolicySource, readDocument } from './document.ts'
import { type FilePolicy, testedPolicy } from './file-policy.ts'
import type { Finding } from './finding.ts'
import { type MappingNode, onOneLine, type Place, quote, shortened } from './node.ts'
import { readMapping } from './readers.ts'
import { findRoles } from './role-findings.ts'
import { coverageBy } from './rule-coverage.ts'
import type { Alternative, Atom } from './said.ts'
import { wordsOf } from './said-relations.ts'

export interface CheckPolicyOptions extends PolicySource {
  /** Every role that a credential can bring. Left out, it is not known, and no role is one that nobody has. */
  readonly heldRoles?: readonly string[]
}

/** A policy that a server would take, and what of it can have no effect. */
export interface PolicyCheck {
  readonly policy: FilePolicy
  /** In the order of the file. */
  readonly findings: readonly Finding[]
  /** False when so many rules are alike that not each was compared with each: there may be more to find. */
  readonly isComplete: boolean
}

/**
 * Looks for what is certain to be of no effect in a policy file: rules that never match, that a deny rule always overrides, or that say
 * nothing new, and roles that nobody can have. What is not found may still be of no effect: rules are compared in pairs.
 * @throws FMG_ERR_POLICY_INVALID with `source:line:column: what was expected`, when a server would not take the file.
 */
export function checkPolicy (text: string, options: CheckPolicyOptions): PolicyCheck {
  const root = readDocument(text, options)
  const policy = testedPolicy(root, text, options)
  const file = readMapping(root)
  const rules = rulesIn(file)
  const { findings, isComplete } = findRules(rules)
  const all = [...findings, ...findAssignments(file), ...findRoles(file, rules, options.heldRoles)]
  return { policy, findings: all.sort(({ place: a }, { place: b }) => a.line - b.line || a.column - b.column), isComplete }
}

function findRules (rules: readonly ComparedRule[]): Omit<PolicyCheck, 'policy'> {
  const allowing = coverageBy(rules.filter(({ effect }) => effect === 'allow'))
  const denying = coverageBy(rules.filter(({ effect }) => effect === 'deny'))
  const leftOut = new Set<ComparedRule>()
  const find = (rule: ComparedRule): readonly Finding[] => {
    const contradiction = contradictionIn(rule.clauses, 'matches')
    if (contradiction !== undefined) return [neverMatches(rule, contradiction)]
    // What it obliges to is due whoever decides.
    if (rule.hasObligations) return []
    const denial = rule.effect === 'allow' ? denying.coverOf(rule, 'matches', 'not-missed', leftOut) : undefined
    if (denial !== undefined) return [overridden(rule, denial)]
    const other = rule.effect === 'allow' ? allowing.coverOf(rule, 'matches', 'matches', leftOut) : denying.coverOf(rule, 'not-missed', 'not-missed', leftOut)
    if (other === undefined) return []
    leftOut.add(rule)
    return [redundant(rule, other)]
  }
  // Of two rules that say the same, the later one says nothing new.
  return { findings: rules.toReversed().flatMap(find), isComplete: allowing.isComplete() && denying.isComplete() }
}

function neverMatches ({ name, effect, place, clauses, hasObligations }: ComparedRule, contradiction: readonly Clause[]): Finding {
  const isDenying = (effect === 'deny' || hasObligations) && contradictionIn(clauses, 'not-missed') === undefined
  const consequence = isDenying ? 'it denies only what cannot be evaluated; say what it should do' : 'correct it, or remove the rule'
  return { kind: 'never-matches', place, rule: name, message: `rule ${quote(name)} never matches: ${inWords(contradiction)}; ${consequence}` }
}

/** What cannot be so. */
function inWords (clauses: readonly Clause[]): string {
  const said = clauses.map(({ place, said }) => `${onOneLine(shortened(said.map(textOf).join(' or ')))} (${place.line}:${place.column})`)
  const [{ name, isText } = actionAttribute] = clauses.map(({ attribute }) => attribute)
  const always = wordsOf(name)?.join(' or ') ?? (isText ? 'text' : '')
  const isSeveral = clauses.length > 1 || clauses.some(({ said }) => said.some(({ length }) => length > 1))
  return `${name} is ${always === '' ? '' : `${always}, and `}never ${said.join(' and ')}${isSeveral ? ' at once' : ''}${clauses.some(isNight) ? "; past midnight is between: ['22:00', '06:00']" : ''}`
}

function textOf (atoms: Alternative): string {
  return atoms.map(({ text }) => text).join(' and ')
}

/** After this time of day and before that. */
function isNight ({ said }: Clause): boolean {
  return said.some((atoms) => atoms.length > 1 && atoms.every((atom) => atom.kind === 'range' && atom.scale === 'time-of-day'))
}

function overridden ({ name, place }: ComparedRule, by: ComparedRule): Finding {
  return { kind: 'overridden', place, rule: name, message: `rule ${quote(name)} never allows: ${named(by)} denies whatever it matches; narrow that one, or remove this one` }
}

function redundant ({ name, effect, place }: ComparedRule, by: ComparedRule): Finding {
  return { kind: 'redundant', place, rule: name, message: `rule ${quote(name)} says nothing new: ${named(by)} ${effect === 'allow' ? 'allows' : 'denies'} whatever it does; remove it, or change one of them` }
}

function named ({ name, place }: ComparedRule): string {
  return `rule ${quote(name)} (${place.line}:${place.column})`
}

function findAssignments (file: MappingNode): readonly Finding[] {
  return itemsOf(file, 'assignments').flatMap((item) => {
    const mapping = readMapping(item)
    const clauses = [...clausesOf(mapping, 'principal', 'principal'), ...clausesOf(mapping, 'resource', 'resource')]
    const contradiction = contradictionIn(clauses, 'matches')
    if (contradiction !== undefined) return [neverAssigns(item.place, inWords(contradiction))]
    const byRole = clauses.find(({ attribute, said }) => attribute.name === 'principal.roles' && said.every((atoms) => atoms.some(asksForRole)))
    return byRole === undefined ? [] : [neverAssigns(item.place, `it asks for a role (${byRole.place.line}:${byRole.place.column}), and is for principals whose credential brings none`)]
  })
}

/** Whether a principal without roles misses this. */
function asksForRole (atom: Atom): boolean {
  return atom.kind !== 'looked-up' && atom.test([]) !== true
}

function neverAssigns (place: Place, why: string): Finding {
  return { kind: 'assignment-never-applies', place, message: `this assignment never applies: ${why}; correct it, or remove it` }
}
