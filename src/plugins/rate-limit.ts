import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { guardError } from '../errors.ts'
import { countViolations } from '../limits/backoff.ts'
import { readBackoff, type Backoff, type BackoffOptions } from '../limits/block.ts'
import type { Blocks } from '../limits/blocks.ts'
import { charger, type Verdict } from '../limits/charger.ts'
import type { Exceptions } from '../limits/exceptions.ts'
import { limitHeader, limitPolicyHeader } from '../limits/headers.ts'
import { checkCost } from '../limits/limit-request.ts'
import type { Limiter } from '../limits/limiter.ts'
import type { LoadControl } from '../limits/load-control.ts'
import { memoryBlocks } from '../limits/memory-blocks.ts'
import type { Plan } from '../limits/plan.ts'
import { readTierOptions, readTiers, type TierOptions } from '../limits/tiers.ts'
import { anyThat, havingMethods, object, optional, type Reader } from '../options.ts'
import type { Principal } from '../principal.ts'
import { foresee, isForeseenInBody, type Foresight } from './foresight.ts'
import { judging } from './judgement.ts'
import { refuseUnknownModels } from './limited-models.ts'
import { shedLoad } from './load.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { noteAnswers } from './request-work.ts'
import { rulesOf } from './route-rules.ts'
import { charged, neverRan, settler } from './settle.ts'

export interface RateLimitOptions extends TierOptions {
  readonly limiter: Limiter
  /** When a principal that is refused again and again is blocked, and for how long. `off`: never. */
  readonly backoff?: BackoffOptions | 'off'
  /** Who is blocked. Default: of this process alone. Closed by whoever opened it. */
  readonly blocks?: Blocks
  /** Other quotas for single principals. Default: there are none. Closed by whoever opened it. */
  readonly exceptions?: Exceptions
  /** Sheds load by these tiers, before anything is charged. Default: nothing is shed. */
  readonly load?: LoadControl
  readonly mode?: Mode
}

/** Option `backoff`: `null` when it is off. */
export const readBackoffOrOff: Reader<Backoff | null> = (value, path) => value === 'off' ? null : readBackoff(value, path)

const anything = anyThat((value): value is unknown => value !== undefined, 'given')
const readOptions = object({
  limiter: havingMethods<Limiter>('consume', 'settle'),
  backoff: readBackoffOrOff,
  blocks: optional(havingMethods<Blocks>('secondsLeft', 'versionOf', 'block')),
  exceptions: optional(havingMethods<Exceptions>('find')),
  load: optional(havingMethods<LoadControl>('admit', 'giveBack', 'tick')),
  tiers: anything,
  defaultTier: anything,
  mode: readMode
})

type Done = (error?: Error) => void

/**
 * Charges every request of this scope to its principal, its org and the model that it may use, as the limits of the principal's tier say,
 * or of that to which the policy obliges. A refused request is charged nothing; one that the policy denies is not charged to the model.
 * Requests without a principal (public routes) are not counted here.
 */
export const rateLimit = fp(async function rateLimit (app: FastifyInstance, options: RateLimitOptions): Promise<void> {
  checkOrder(app, 'rate-limit')
  const { limiter, backoff, blocks = memoryBlocks(), exceptions, load, mode, ...tierOptions } = readOptions(options, 'rateLimit')
  const tiers = readTiers(tierOptions, 'rateLimit')
  const shedding = load === undefined ? undefined : shedLoad(app, load, readTierOptions(tierOptions, 'rateLimit'))
  // Who is refused nothing was not told to wait: in observe mode nobody violates anything, also not for nodes that enforce.
  const violations = backoff === null || mode === 'observe' ? null : countViolations(limiter, blocks, backoff, (error) => { app.log.error({ err: error }, 'a block is not recorded') })
  const charging = charger({ limiter, tiers, blocks, exceptions, violations, shedding })
  const waiting = new WeakSet<FastifyRequest>()
  const settling = settler(limiter)
  app.decorateRequest(charged, null)
  noteAnswers(app)

  app.addHook('onRequest', function chargeRequest (request, reply, done) {
    const { cost } = rulesOf(request)
    if (typeof cost === 'function' || isForeseenInBody(request, tiers.areOfModels)) {
      // Also where nobody is known yet: of some routes the credential stands in the body.
      waiting.add(request)
      refuseBlocked(request, reply, done)
    } else if (request.principal === null) {
      done()
    } else {
      chargeTo(request.principal, cost, request, reply, done)
    }
  })

  app.addHook('preHandler', function chargeByBody (request, reply, done) {
    const { cost } = rulesOf(request)
    // Asked in onRequest alone: a policy that was read again since must not have a request charged twice, or never.
    if (request.principal === null || !waiting.has(request)) done()
    else chargeTo(request.principal, cost, request, reply, done)
  })

  app.addHook('onError', function giveBack (request, _reply, error, done) {
    if (neverRan(request, error)) settling.settle(request, 1)
    done()
  })

  app.addHook('onReady', async () => {
    for (const tier of app.hasDecorator(judging) ? app[judging].policy.tiers ?? [] : []) {
      if (tiers.planBeside(tier, undefined) === undefined) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `rateLimit.tiers must hold ${tier}, to which the policy obliges` })
    }
    refuseUnknownModels(app, tiers.models)
    // Limits that nobody enforces would be no limits.
    if (tiers.limitConcurrency && !app.hasPlugin(pluginName('concurrency'))) throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'rateLimit.tiers has concurrency, which needs the concurrency plugin' })
  })

  /** Before the body of a principal that is blocked is read. */
  function refuseBlocked (request: FastifyRequest, reply: FastifyReply, done: Done): void {
    const refusal = request.principal === null ? undefined : charging.blocked(request.principal.id)
    if (refusal === undefined) done()
    else refuse(refusal, mode, request, reply, done)
  }

  function chargeTo (principal: Principal, cost: ReturnType<typeof rulesOf>['cost'], request: FastifyRequest, reply: FastifyReply, done: Done): void {
    const refusal = charging.blocked(principal.id)
    if (refusal !== undefined) {
      refuse(refusal, mode, request, reply, done)
      return
    }
    const units = typeof cost === 'function' ? cost(request) : cost
    // While Fastify listens: what is thrown once the policy has answered would end the process.
    checkCost(units)
    const { id, org, tier } = principal
    const chargeUnder = ({ tier: obligedTier, model }: Foresight): void => {
      const verdict = charging.charge({ principal: id, org, tier, obligedTier, model, cost: units })
      if (verdict instanceof Promise) void verdict.then(conclude)
      else conclude(verdict)
    }
    const conclude = (verdict: Verdict): void => {
      request[charged] = verdict.charged
      if (verdict.refusal === undefined) settling.watch(request, reply)
      if (verdict.judged !== undefined) tell(reply, verdict.judged)
      if (verdict.refusal === undefined) done()
      else refuse(verdict.refusal, mode, request, reply, done)
    }
    const foresight = foresee(request, tiers.areOfModels)
    if (foresight instanceof Promise) void foresight.then(chargeUnder)
    else chargeUnder(foresight)
  }
}, { name: pluginName('rate-limit'), fastify: '5.x', dependencies: [pluginName('authenticate')] })

function tell (reply: FastifyReply, { plan, outcome }: NonNullable<Verdict['judged']>): void {
  void reply.header('ratelimit-policy', policyHeader(plan)).header('ratelimit', limitHeader(outcome)).header('x-ratelimit-remaining', outcome.remaining)
}

const policyHeaders = new WeakMap<Plan, string>()

function policyHeader (plan: Plan): string {
  const known = policyHeaders.get(plan)
  if (known !== undefined) return known
  const header = limitPolicyHeader(plan.windows)
  policyHeaders.set(plan, header)
  return header
}
