import type { FilePolicy } from '../authz/file-policy.ts'
import type { Principal } from '../principal.ts'
import { judgeAt } from './judge-again.ts'
import type { PrincipalUse, UsedQuestion } from './principal-use.ts'
import type { RecordedQuestions } from './recorded-questions.ts'

/** Roles of a principal: all that were seen at its requests, and those that it can do without. */
export interface HeldRoles {
  readonly held: readonly string[]
  /** Taken away all at once, every recorded question is decided alike. The broadest come first. */
  readonly unneeded: readonly string[]
}

/**
 * Takes away one role after the other, the broadest first, and puts everything that was asked to the policy again. What is not known must
 * not be touched either. None is unneeded where the log does not say what all was judged.
 * @param breadth how much a role permits.
 */
export function heldRoles (policy: FilePolicy, breadth: (role: string) => number, questions: RecordedQuestions, { roles, asked, isPartial }: PrincipalUse): HeldRoles {
  const cases = [...asked.values()].map((used) => ({ ...used, held: heldAt(used), before: answer(used, used.question.principal) }))
  const held = [...new Set([...roles, ...cases.flatMap((one) => one.held)])].sort((a, b) => breadth(b) - breadth(a))
  const gone = new Set<string>()
  for (const role of isPartial ? [] : held) {
    gone.add(role)
    const isNeeded = cases.some((one) => one.held.includes(role) && answer(one, withRoles(one.question.principal, one.held.filter((other) => !gone.has(other)))) !== one.before)
    if (isNeeded) gone.delete(role)
  }
  return { held, unneeded: [...gone] }

  function heldAt ({ question: { principal, action, resource, context } }: UsedQuestion): readonly string[] {
    return policy.explainRoles(principal, action, resource, context).held
  }

  function answer ({ question, time }: UsedQuestion, principal: Principal): string {
    const { outcome, because } = judgeAt(policy, questions, { ...question, principal }, time)
    return JSON.stringify([outcome, because])
  }
}

/** Tells how much a role permits, of all that any role of the policy does. One that reaches every org is broader than any that does not. */
export function roleBreadth ({ permissions }: FilePolicy): (role: string) => number {
  const all = [...new Set([...permissions.values()].flatMap(({ own }) => own))]
  const known = new Map<string, number>()
  return (name) => {
    const role = permissions.get(name)
    if (role === undefined) return 0
    const breadth = known.get(name) ?? all.filter(({ type, action }) => role.permits(type.text, action.text)).length + (role.reachesEveryOrg ? all.length : 0)
    known.set(name, breadth)
    return breadth
  }
}

/** A principal with these roles and no others: nobody is assigned roles who has the one without a name. */
function withRoles (principal: Principal, left: readonly string[]): Principal {
  const { type, org, team, tier, scopes, attributes, credential } = principal
  const roles = left.length > 0 || principal.roles.length > 0 ? left : ['']
  return { get id () { return principal.id }, type, org, team, tier, roles, scopes, attributes, credential }
}
