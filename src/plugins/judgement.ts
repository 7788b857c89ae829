import type { FastifyRequest } from 'fastify'
import type { Context, Decision, Obligations, Policy, Resource } from '../authz/policy.ts'
import type { Principal } from '../principal.ts'
import { isInScope, scopeFor, type ScopeParts } from '../scope.ts'
import type { Access } from './access.ts'
import { pluginName } from './pipeline.ts'

/** What the policy is asked. */
export interface Question {
  readonly principal: Principal
  readonly action: string
  readonly resource: Resource
  readonly context: Context
}

/** What the policy said of a request. */
export interface Judgement {
  readonly decision: Decision
  /** What it was asked; `null` where there was no principal to ask about. */
  readonly question: Question | null
  /** Headers of the refusal. */
  readonly headers?: Readonly<Record<string, string>>
}

type AccessRule = Exclude<Access, string>

/** Judges a request by the rule of its route. */
export type Judge = (request: FastifyRequest, rule: AccessRule) => Judgement | Promise<Judgement>

/** Under which `authorize` leaves its judge to what must know the decision before its turn. */
export const judging = Symbol('fastify-model-guard.judging')

/** Under which a request holds the question that was put to the policy. */
export const judged = Symbol('fastify-model-guard.judged')

declare module 'fastify' {
  interface FastifyRequest {
    /** Only where authorize is registered; `null` until the policy was asked. */
    [judged]?: Question | null
  }
  interface FastifyInstance {
    [judging]: {
      readonly policy: Policy
      /** Judges, and has `authorize` go by the same judgement when its turn comes. */
      readonly ahead: Judge
    }
  }
}

export interface JudgeOptions {
  readonly policy: Policy
  readonly context?: ((request: FastifyRequest) => Context) | undefined
}

const unknownPrincipal: Judgement = Object.freeze({ decision: Object.freeze({ allowed: false, rule: null, reason: 'no-match' }), question: null })
const outOfScope: Decision = Object.freeze({ allowed: false, rule: null, reason: 'insufficient-scope' })

/** A judge that asks once a request, whoever wants to know first. */
export function judgeOnce (options: JudgeOptions): { readonly judge: Judge, readonly ahead: Judge } {
  const judge = judgeBy(options)
  const known = new WeakMap<FastifyRequest, Judgement | Promise<Judgement>>()
  return {
    judge: (request, rule) => known.get(request) ?? judge(request, rule),
    ahead (request, rule) {
      const judgement = judge(request, rule)
      known.set(request, judgement)
      return judgement
    }
  }
}

/** Puts requests as questions to the policy. @throws what the resource's resolver, the context or the policy throws. */
function judgeBy ({ policy, context }: JudgeOptions): Judge {
  return function judge (request, { action, resource: resolver }) {
    const { principal } = request
    // Only in observe mode does a request without a principal come this far.
    if (principal === null) return unknownPrincipal
    const resource = resolver.resolve(request)
    const question = { principal, action, resource, context: contextOf(request, context) }
    const { limitedTo } = principal.credential
    const wanted = { type: resource.type, action, id: resource.id }
    if (limitedTo !== undefined && !isInScope(limitedTo, wanted)) return { decision: outOfScope, question, headers: { 'www-authenticate': scopeChallenge(wanted) } }
    const decision = policy.decide(principal, action, resource, question.context)
    if (decision instanceof Promise) return decision.then((later) => ({ decision: feasible(later, request), question }))
    return { decision: feasible(decision, request), question }
  }
}

/** RFC 6750 section 3.1. */
function scopeChallenge (wanted: ScopeParts): string {
  return `Bearer error="insufficient_scope", scope="${scopeFor(wanted)}"`
}

function contextOf (request: FastifyRequest, more: JudgeOptions['context']): Context {
  const own = { time: Date.now(), ip: request.ip, method: request.method, tls: request.protocol === 'https' }
  return more === undefined ? own : { ...more(request), ...own }
}

/** A decision that obliges to what nobody here can do denies, whoever made it. */
function feasible (decision: Decision, { server }: FastifyRequest): Decision {
  const { obligations, rule } = decision
  if (obligations === undefined) return decision
  const canCharge = obligations.tier === undefined || server.hasPlugin(pluginName('rate-limit'))
  return canCharge && isKnown(obligations) ? decision : { allowed: false, rule, reason: 'policy-error' }
}

/** A user's own policy may be no TypeScript. */
function isKnown (obligations: Obligations): boolean {
  return Object.entries(obligations).every(([name, value]: readonly [string, unknown]) => {
    if (value === undefined) return true
    if (name === 'mask') return Array.isArray(value) && value.every((member) => typeof member === 'string')
    return name === 'tier' ? typeof value === 'string' : name === 'record' && value === 'full-metadata'
  })
}
