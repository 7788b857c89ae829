import type { Principal } from '../principal.ts'
import { compileObliging, withDue } from './due.ts'
import type { ExplainedPolicy } from './explain.ts'
import { type Answer, answerOf, assign, withRoles } from './open-answer.ts'
import type { Context, Resource } from './policy.ts'
import { decideByRole } from './roles.ts'
import { byName, type Rule } from './rule.ts'

/** What comes of a question of which not everything is known. */
export interface Weighed {
  /** `unknown` where it hangs on what is not known. */
  readonly outcome: 'allow' | 'deny' | 'unknown'
  /** What decides, as far as one thing does. */
  readonly rule: string | null
  /** On what the outcome hangs, where it is unknown. */
  readonly because: readonly OpenAnswer[]
}

/** Something of which it is not known whether it matches. */
export interface OpenAnswer {
  /** `rule:…`, or `assignments`. */
  readonly rule: string
  /** What is not known. */
  readonly attributes: readonly string[]
}

interface RuleAnswer extends Answer {
  readonly rule: Rule
}

type Weigh = (principal: Principal, action: string, resource: Resource, context: Context, asked: Set<string>) => Weighed

/**
 * Asks every rule by itself. What is not known counts where it alone could change the outcome: a rule of which something else misses is
 * missed whatever it is. What hangs together (two rules of which always one matches) is not seen, and is unknown.
 */
export function weigher ({ roles, assignments, rules }: ExplainedPolicy): Weigh {
  const sorted = byName(rules)
  const obliging = compileObliging(rules)

  return function weigh (principal, action, resource, context, asked) {
    const bare = { principal, roles: principal.roles, action, resource, context }
    const assigned = assign(assignments, bare, asked)
    const unsure = [...new Set(assigned.open.flatMap(({ open }) => open))]
    const question = withRoles(bare, assigned.certain, unsure, asked)
    const answers = sorted.map((rule) => ({ rule, ...answerOf(rule.constraints, question, asked) }))
    const denying = answers.filter(({ rule, match }) => rule.effect === 'deny' && match !== false)
    const denied = denying.find(({ open, match }) => open.length === 0 && match === true) ?? denying.find(({ open }) => open.length === 0)
    if (denied !== undefined) return known('deny', nameOf(denied))

    const allowing = answers.filter(({ rule, match }) => rule.effect === 'allow' && match === true)
    const [allowed] = [decideByRole(roles, question)?.rule ?? [], ...allowing.filter(({ open }) => open.length === 0).map(nameOf)].flat()
    const byAssignment = assigned.open.filter((one) => decideByRole(roles, { ...bare, roles: one.roles }) !== undefined)
    const possible = [...allowing.map(openOf), ...byAssignment.map(({ open }) => ({ rule: 'assignments', attributes: open }))]
    if (allowed === undefined) return possible.length === 0 ? known('deny', null) : unknown([...denying.map(openOf), ...possible])

    // Whatever obliges and cannot be evaluated denies.
    const due = answers.filter(({ rule, open }) => rule.effect !== 'deny' && rule.obligations !== undefined && open.length > 0)
    if (denying.length + due.length > 0) return unknown([...denying, ...due].map(openOf))
    const decision = { allowed: true, rule: allowed, reason: 'allowed' } as const
    const final = obliging === undefined ? decision : withDue(decision, obliging, question)
    return known(final.allowed ? 'allow' : 'deny', final.rule)
  }
}

function nameOf ({ rule }: RuleAnswer): string {
  return `rule:${rule.name}`
}

function openOf (answer: RuleAnswer): OpenAnswer {
  return { rule: nameOf(answer), attributes: answer.open }
}

function known (outcome: 'allow' | 'deny', rule: string | null): Weighed {
  return { outcome, rule, because: [] }
}

function unknown (because: readonly OpenAnswer[]): Weighed {
  return { outcome: 'unknown', rule: null, because }
}
