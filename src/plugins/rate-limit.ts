import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { guardError } from '../errors.ts'
import { everybodysRequest, ownRequest } from '../limits/charge-request.ts'
import { consumeBoth, type BothOutcome, type Charged } from '../limits/consume-both.ts'
import { limitHeader, limitPolicyHeader } from '../limits/headers.ts'
import type { Limiter, LimitOutcome } from '../limits/limiter.ts'
import type { Plan } from '../limits/plan.ts'
import { readTiers, type TierOptions } from '../limits/tiers.ts'
import { anyThat, havingMethods, object } from '../options.ts'
import type { Principal } from '../principal.ts'
import { foresee, isForeseenInBody, type Foresight } from './foresight.ts'
import { judging } from './judgement.ts'
import { refuseUnknownModels } from './limited-models.ts'
import { limiterUnavailable } from './limiter-unavailable.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { rulesOf } from './route-rules.ts'

export interface RateLimitOptions extends TierOptions {
  readonly limiter: Limiter
  readonly mode?: Mode
}

/** Under which a request holds what it was charged. */
export const charged = Symbol('fastify-model-guard.charged')

declare module 'fastify' {
  interface FastifyRequest {
    /** Only where rateLimit is registered; `null` until something was charged. */
    [charged]?: readonly Charged[] | null
  }
}

const anything = anyThat((value): value is unknown => value !== undefined, 'given')
const readOptions = object({ limiter: havingMethods<Limiter>('consume', 'settle'), tiers: anything, defaultTier: anything, mode: readMode })

/**
 * Charges every request of this scope to its principal, its org and the model that it may use, as the limits of the principal's tier say,
 * or of that to which the policy obliges. A refused request is charged nothing; one that the policy denies is not charged to the model.
 * Requests without a principal (public routes) are not counted here.
 */
export const rateLimit = fp(async function rateLimit (app: FastifyInstance, options: RateLimitOptions): Promise<void> {
  checkOrder(app, 'rate-limit')
  const { limiter, mode, ...tierOptions } = readOptions(options, 'rateLimit')
  const tiers = readTiers(tierOptions, 'rateLimit')
  const waiting = new WeakSet<FastifyRequest>()
  const policyHeaders = new WeakMap<Plan, string>()
  app.decorateRequest(charged, null)

  app.addHook('onRequest', function chargeRequest (request, reply, done) {
    const { cost } = rulesOf(request)
    if (typeof cost === 'function' || isForeseenInBody(request, tiers.areOfModels)) {
      // Also where nobody is known yet: of some routes the credential stands in the body.
      waiting.add(request)
      done()
    } else if (request.principal === null) {
      done()
    } else {
      charge(request.principal, cost, request, reply, done)
    }
  })

  app.addHook('preHandler', function chargeByBody (request, reply, done) {
    const { cost } = rulesOf(request)
    // Asked in onRequest alone: a policy that was read again since must not have a request charged twice, or never.
    if (request.principal === null || !waiting.has(request)) done()
    else charge(request.principal, typeof cost === 'function' ? cost(request) : cost, request, reply, done)
  })

  app.addHook('onReady', async () => {
    for (const tier of app.hasDecorator(judging) ? app[judging].policy.tiers ?? [] : []) {
      if (tiers.planBeside(tier, undefined) === undefined) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `rateLimit.tiers must hold ${tier}, to which the policy obliges` })
    }
    refuseUnknownModels(app, tiers.models)
    // Limits that nobody enforces would be no limits.
    if (tiers.limitConcurrency && !app.hasPlugin(pluginName('concurrency'))) throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'rateLimit.tiers has concurrency, which needs the concurrency plugin' })
  })

  function charge (principal: Principal, cost: number, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const chargeUnder = ({ tier, model }: Foresight): void => {
      const plan = tier === undefined ? tiers.planOf(principal.tier, model) : tiers.planBeside(tier, model)
      if (plan === undefined) refuse(guardError('FMG_ERR_POLICY_UNAVAILABLE', { reason: 'tier-unknown' }), mode, request, reply, done)
      else spend(plan, { principal: principal.id, org: principal.org, model }, cost, request, reply, done)
    }
    const foresight = foresee(request, tiers.areOfModels)
    if (foresight instanceof Promise) void foresight.then(chargeUnder)
    else chargeUnder(foresight)
  }

  function spend (plan: Plan, asker: Parameters<typeof ownRequest>[1], cost: number, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const conclude = (both: BothOutcome): void => {
      const { outcome } = both
      request[charged] = both.charged
      void reply.header('ratelimit-policy', policyHeader(plan)).header('ratelimit', limitHeader(outcome)).header('x-ratelimit-remaining', outcome.remaining)
      if (outcome.allowed) done()
      else refuse(exceeded(outcome), mode, request, reply, done)
    }
    const answer = consumeBoth(limiter, ownRequest(plan, asker, cost), everybodysRequest(plan, asker, cost))
    if (answer instanceof Promise) answer.then(conclude, (error: unknown) => { refuse(limiterUnavailable(error), mode, request, reply, done) })
    else conclude(answer)
  }

  function policyHeader (plan: Plan): string {
    const known = policyHeaders.get(plan)
    if (known !== undefined) return known
    const header = limitPolicyHeader(plan.windows)
    policyHeaders.set(plan, header)
    return header
  }
}, { name: pluginName('rate-limit'), fastify: '5.x', dependencies: [pluginName('authenticate')] })

function exceeded ({ window, retryAfterSeconds }: LimitOutcome): Error {
  return guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: `quota-${window.name}`, headers: { 'retry-after': String(retryAfterSeconds) } })
}
