import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { guardError, isGuardError } from '../errors.ts'
import { limitHeader, limitPolicyHeader } from '../limits/headers.ts'
import type { Limiter, LimitOutcome } from '../limits/limiter.ts'
import { readTiers, type TierOptions } from '../limits/tiers.ts'
import type { Window } from '../limits/windows.ts'
import { anyThat, havingMethods, object } from '../options.ts'
import type { Principal } from '../principal.ts'
import { judging } from './judgement.ts'
import { isTierInBody, obligedTier } from './obliged-tier.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { rulesOf } from './route-rules.ts'

export interface RateLimitOptions extends TierOptions {
  readonly limiter: Limiter
  readonly mode?: Mode
}

const anything = anyThat((value): value is unknown => value !== undefined, 'given')
const readOptions = object({ limiter: havingMethods<Limiter>('consume'), tiers: anything, defaultTier: anything, mode: readMode })

/**
 * Charges every request of this scope to its principal, under the windows of the principal's tier, or of that to which the policy obliges.
 * A refused request is charged nothing. Requests without a principal (public routes) are not counted here.
 */
export const rateLimit = fp(async function rateLimit (app: FastifyInstance, options: RateLimitOptions): Promise<void> {
  checkOrder(app, 'rate-limit')
  const { limiter, mode, ...tierOptions } = readOptions(options, 'rateLimit')
  const tiers = readTiers(tierOptions, 'rateLimit')
  const waiting = new WeakSet<FastifyRequest>()
  const policyHeaders = new WeakMap<readonly Window[], string>()

  app.addHook('onRequest', function chargeRequest (request, reply, done) {
    const { cost } = rulesOf(request)
    if (typeof cost === 'function' || isTierInBody(request)) {
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
      if (tiers.windowsBeside(tier) === undefined) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `rateLimit.tiers must hold ${tier}, to which the policy obliges` })
    }
  })

  function charge (principal: Principal, cost: number, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const chargeUnder = (tier: string | undefined): void => {
      const windows = tier === undefined ? tiers.windowsOf(principal.tier) : tiers.windowsBeside(tier)
      if (windows === undefined) refuse(guardError('FMG_ERR_POLICY_UNAVAILABLE', { reason: 'tier-unknown' }), mode, request, reply, done)
      else spend(principal, windows, cost, request, reply, done)
    }
    const tier = obligedTier(request)
    if (tier instanceof Promise) void tier.then(chargeUnder)
    else chargeUnder(tier)
  }

  function spend (principal: Principal, windows: readonly Window[], cost: number, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const conclude = (outcome: LimitOutcome): void => {
      void reply.header('ratelimit-policy', policyHeader(windows)).header('ratelimit', limitHeader(outcome))
      if (outcome.allowed) done()
      else refuse(exceeded(outcome), mode, request, reply, done)
    }
    const answer = limiter.consume({ group: principal.org ?? principal.id, budgets: [{ key: principal.id, windows }], cost })
    if (answer instanceof Promise) answer.then(conclude, (error: unknown) => { refuse(unavailable(error), mode, request, reply, done) })
    else conclude(answer)
  }

  function policyHeader (windows: readonly Window[]): string {
    const known = policyHeaders.get(windows)
    if (known !== undefined) return known
    const header = limitPolicyHeader(windows)
    policyHeaders.set(windows, header)
    return header
  }
}, { name: pluginName('rate-limit'), fastify: '5.x', dependencies: [pluginName('authenticate')] })

function exceeded ({ window, retryAfterSeconds }: LimitOutcome): Error {
  return guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: `quota-${window.name}`, headers: { 'retry-after': String(retryAfterSeconds) } })
}

function unavailable (cause: unknown): Error {
  const reason = isGuardError(cause, 'FMG_ERR_LIMITER_UNAVAILABLE') ? cause.reason : undefined
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: reason ?? 'limiter-unavailable', cause, headers: { 'retry-after': '1' } })
}
