import type { FastifyRequest } from 'fastify'
import { areSameObligations } from '../authz/obligations.ts'
import type { Decision, Policy } from '../authz/policy.ts'
import type { Judgement } from './judgement.ts'

/** What a candidate policy says, where it is not what the live one says. */
export interface ShadowDecision extends Decision {
  readonly policy: string
}

/** Asks a candidate what was decided already. Never throws: nothing hangs on what it says. */
export type Shadow = (request: FastifyRequest, judgement: Judgement) => ShadowDecision | Promise<ShadowDecision | undefined> | undefined

/** Holds a candidate's decisions against those that count. One that throws is taken to deny, and logged. */
export function shadowOf (candidate: Policy): Shadow {
  return function shadow (request, { decision, question }) {
    // What no policy was asked is no policy's difference.
    if (question === null || decision.reason === 'insufficient-scope') return undefined
    const compare = (its: Decision): ShadowDecision | undefined => sayTheSame(its, decision) ? undefined : { ...its, policy: candidate.id }
    const fail = (error: unknown): ShadowDecision | undefined => {
      request.log.warn({ err: error, policy: candidate.id }, 'the shadow policy failed')
      return compare({ allowed: false, rule: null, reason: 'policy-error' })
    }
    try {
      const { principal, action, resource, context } = question
      const its = candidate.decide(principal, action, resource, context)
      return its instanceof Promise ? its.then(compare).catch(fail) : compare(its)
    } catch (error) {
      return fail(error)
    }
  }
}

function sayTheSame (one: Decision, other: Decision): boolean {
  return one.allowed === other.allowed && areSameObligations(one.obligations, other.obligations)
}
