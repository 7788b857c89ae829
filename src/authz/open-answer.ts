import type { Assignments } from './assignments.ts'
import type { Question } from './attribute.ts'
import { type Constraint, satisfies } from './constraint.ts'
import type { Match } from './match.ts'

/** Whether what is known of a question matches, and what is not known of the rest. */
export interface Answer {
  readonly match: Match
  /** Names of what is not known. */
  readonly open: readonly string[]
}

/** The roles that the question's principal has for certain, and those that it may be assigned. */
export interface AssignedRoles {
  readonly certain: readonly string[]
  readonly open: readonly { readonly roles: readonly string[], readonly open: readonly string[] }[]
}

/** Who is assigned roles may be so by what is not known. */
export function assign ({ all }: Assignments, question: Question, asked: Set<string>): AssignedRoles {
  if (question.roles.length > 0) return { certain: question.roles, open: [] }
  const matching = all.map(({ filed, constraints }) => ({ roles: filed, ...answerOf(constraints, question, asked) })).filter(({ match }) => match === true)
  return {
    certain: matching.filter(({ open }) => open.length === 0).flatMap(({ roles }) => roles),
    open: matching.filter(({ open }) => open.length > 0)
  }
}

/** The question with these roles. Who asks for them asks for that which they hang on. */
export function withRoles (question: Question, roles: readonly string[], names: readonly string[], asked: Set<string>): Question {
  return {
    ...question,
    get roles () {
      for (const name of names) asked.add(name)
      return roles
    }
  }
}

/**
 * Asks each of these by itself: what is missed whatever is not known is missed.
 * @param asked to which the question's own getters add the names of what is not known.
 */
export function answerOf (constraints: readonly Constraint[], question: Question, asked: Set<string>): Answer {
  const open = new Set<string>()
  let match: Match = true
  for (const constraint of constraints) {
    asked.clear()
    const one = satisfies(question, [constraint])
    for (const name of asked) open.add(name)
    if (asked.size > 0) continue
    if (one === false) return { match: false, open: [] }
    if (one === undefined) match = undefined
  }
  return { match, open: [...open] }
}
