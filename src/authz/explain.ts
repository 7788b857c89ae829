import type { Principal } from '../principal.ts'
import { type Assignments, assignRoles } from './assignments.ts'
import type { Question } from './attribute.ts'
import { satisfies } from './constraint.ts'
import type { Match } from './match.ts'
import type { Place } from './node.ts'
import type { Context, Resource } from './policy.ts'
import { isOwnOrg, type Role } from './roles.ts'
import type { Rule, RuleEffect } from './rule.ts'

/** What roles have to do with a question. */
export interface RoleExplanation {
  /** Roles of the principal, or those that it is assigned for this resource. */
  readonly held: readonly string[]
  /** Roles that permit the action on this type of resource. */
  readonly roles: readonly RoleAnswer[]
}

/** How a policy comes to its decision, and what would change it. */
export interface Explanation extends RoleExplanation {
  readonly rules: readonly RuleAnswer[]
}

/** A role that permits what was asked. */
export interface RoleAnswer {
  readonly role: string
  /** By the credential, or by an assignment. */
  readonly isHeld: boolean
  /** Whether it reaches this resource: its org is the holder's own, or the role reaches every org. */
  readonly reaches: boolean
}

/** What a rule says of a question. */
export interface RuleAnswer {
  readonly rule: string
  readonly effect: RuleEffect
  readonly place: Place
  readonly outcome: Outcome
  /** What of it does not match. */
  readonly unmet: readonly UnmetConstraint[]
}

/** Something that is said of an attribute, and is not so. */
export interface UnmetConstraint {
  readonly attribute: string
  readonly place: Place
  readonly outcome: Exclude<Outcome, 'matches'>
}

type Outcome = 'matches' | 'misses' | 'cannot be evaluated'

/** What a policy is made of, as far as it can be explained. */
export interface ExplainedPolicy {
  readonly roles: ReadonlyMap<string, Role>
  readonly assignments: Assignments
  readonly rules: readonly Rule[]
}

/** Asks every rule and role by itself. It takes the longer the more there are: for people, not for requests. */
export function explain (policy: ExplainedPolicy, principal: Principal, action: string, resource: Resource, context: Context): Explanation {
  const question = assignRoles(policy.assignments, { principal, roles: principal.roles, action, resource, context })
  return {
    ...rolesIn(policy, question),
    rules: policy.rules.map((rule) => answerOf(rule, question))
  }
}

/** Asks the roles alone, which takes no longer for many rules. */
export function explainRoles (policy: ExplainedPolicy, principal: Principal, action: string, resource: Resource, context: Context): RoleExplanation {
  return rolesIn(policy, assignRoles(policy.assignments, { principal, roles: principal.roles, action, resource, context }))
}

function rolesIn ({ roles }: ExplainedPolicy, question: Question): RoleExplanation {
  const { roles: held, resource, action } = question
  return {
    held,
    roles: [...roles].flatMap(([role, { permits, reachesEveryOrg }]) => permits(resource.type, action)
      ? [{ role, isHeld: held.includes(role), reaches: reachesEveryOrg || isOwnOrg(question) }]
      : [])
  }
}

function answerOf ({ name, effect, place, constraints }: Rule, question: Question): RuleAnswer {
  return {
    rule: name,
    effect,
    place,
    outcome: outcomeOf(satisfies(question, constraints)),
    unmet: constraints.flatMap((constraint) => {
      const outcome = outcomeOf(satisfies(question, [constraint]))
      return outcome === 'matches' ? [] : [{ attribute: constraint.attribute.name, place: constraint.place, outcome }]
    })
  }
}

function outcomeOf (match: Match): Outcome {
  if (match === undefined) return 'cannot be evaluated'
  return match ? 'matches' : 'misses'
}
