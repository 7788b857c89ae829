import type { FastifyRequest } from 'fastify'
import { isMask } from '../authz/obligations.ts'
import type { Context, Decision, Obligations, Policy, Resource } from '../authz/policy.ts'
import type { Principal } from '../principal.ts'
import { isInScope, scopeFor, type ScopeParts } from '../scope.ts'
import type { Access } from './access.ts'
import { pluginName } from './pipeline.ts'
import { provenOf } from './proven.ts'
import { rulesOf } from './route-rules.ts'

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
  /** Id of the policy that was asked: another may have taken its place since. */
  readonly policy: string
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
      /** Judges a request by another rule than its route's. Whoever asks answers for what the decision obliges to. */
      readonly beside: Judge
    }
  }
}

export interface JudgeOptions {
  readonly policy: Policy
  readonly context?: ((request: FastifyRequest) => Context) | undefined
}

const noPrincipal: Decision = Object.freeze({ allowed: false, rule: null, reason: 'no-match' })
const outOfScope: Decision = Object.freeze({ allowed: false, rule: null, reason: 'insufficient-scope' })

/** A judge that asks once a request, whoever wants to know first. What was charged before anyone knew cannot oblige to another tier. */
export function judgeOnce (options: JudgeOptions): { readonly judge: Judge, readonly ahead: Judge, readonly beside: Judge } {
  const judge = judgeBy(options)
  const known = new WeakMap<FastifyRequest, Judgement | Promise<Judgement>>()
  return {
    beside: judge,
    judge: (request, rule) => known.get(request) ?? feasible(judge(request, rule), isChargedLater(request, rule)),
    ahead (request, rule) {
      const judgement = feasible(judge(request, rule), true)
      known.set(request, judgement)
      return judgement
    }
  }
}

/** Whether the cost is known only when the body is, and the resource at once. */
function isChargedLater (request: FastifyRequest, { resource }: AccessRule): boolean {
  return resource.from === 'url' && typeof rulesOf(request).cost === 'function' && request.server.hasPlugin(pluginName('rate-limit'))
}

/** Puts requests as questions to the policy. @throws what the resource's resolver, the context or the policy throws. */
function judgeBy ({ policy, context }: JudgeOptions): Judge {
  return function judge (request, { action, resource: resolver }) {
    const { principal } = request
    // Only in observe mode does a request without a principal come this far.
    if (principal === null) return { decision: noPrincipal, policy: policy.id, question: null }
    const resource = resolver.resolve(request)
    const question = { principal, action, resource, context: contextOf(request, context) }
    const { limitedTo } = principal.credential
    const wanted = { type: resource.type, action, id: resource.id }
    const { id } = policy
    if (limitedTo !== undefined && !isInScope(limitedTo, wanted)) return { decision: outOfScope, policy: id, question, headers: { 'www-authenticate': scopeChallenge(wanted) } }
    const decision = policy.decide(principal, action, resource, question.context)
    if (decision instanceof Promise) return decision.then((later) => ({ decision: later, policy: id, question }))
    return { decision, policy: id, question }
  }
}

/** RFC 6750 section 3.1. */
function scopeChallenge (wanted: ScopeParts): string {
  return `Bearer error="insufficient_scope", scope="${scopeFor(wanted)}"`
}

function contextOf (request: FastifyRequest, more: JudgeOptions['context']): Context {
  const own = { ...provenOf(request), time: Date.now(), ip: request.ip, method: request.method, tls: request.protocol === 'https' }
  return more === undefined ? own : { ...more(request), ...own }
}

/** A decision that obliges to what nobody here can do denies, whoever made it. */
function feasible (judgement: Judgement | Promise<Judgement>, canCharge: boolean): Judgement | Promise<Judgement> {
  if (judgement instanceof Promise) return judgement.then((later) => feasible(later, canCharge))
  const { obligations, rule } = judgement.decision
  if (obligations === undefined || (isKnown(obligations) && (canCharge || obligations.tier === undefined))) return judgement
  const { record } = obligations
  return { ...judgement, decision: { allowed: false, rule, reason: 'policy-error', ...record === 'full-metadata' && { obligations: { record } } } }
}

/** A user's own policy may be no TypeScript. */
function isKnown (obligations: Obligations): boolean {
  return Object.entries(obligations).every(([name, value]: readonly [string, unknown]) => {
    if (value === undefined) return true
    if (name === 'mask') return isMask(value)
    return name === 'tier' ? typeof value === 'string' : name === 'record' && value === 'full-metadata'
  })
}
