import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { guardError } from '../errors.ts'
import { acquireAll, type AllSlots } from '../limits/acquire-all.ts'
import type { Asker } from '../limits/charge-request.ts'
import { limiterUnavailable } from '../limits/limiter-unavailable.ts'
import type { Concurrency, ConcurrencyLimit } from '../limits/concurrency.ts'
import { concurrencyHeader, concurrencyPolicyHeader } from '../limits/concurrency-headers.ts'
import { readConcurrencyTiers, slotRequests, type ConcurrencyPlan } from '../limits/concurrency-plan.ts'
import type { TierOptions } from '../limits/tiers.ts'
import { anyThat, havingMethods, object } from '../options.ts'
import type { Principal } from '../principal.ts'
import { foresee, type Foresight } from './foresight.ts'
import { refuseUnknownModels } from './limited-models.ts'
import { checkOrder, pluginName } from './pipeline.ts'
import { readMode, refuse, type Mode } from './refusal.ts'
import { noteAnswers, workOf } from './request-work.ts'

export interface ConcurrencyOptions extends TierOptions {
  /** Where requests in flight are counted: `memoryConcurrency()`, or `redisConcurrency()` for all nodes together. */
  readonly store: Concurrency
  readonly mode?: Mode
}

const anything = anyThat((value): value is unknown => value !== undefined, 'given')
const readOptions = object({ store: havingMethods<Concurrency>('acquire', 'release'), tiers: anything, defaultTier: anything, mode: readMode })

/**
 * Limits how many requests of this scope are in flight at once, as `concurrency` of the principal's tier says, or of that to which the policy
 * obliges. Slots are taken when the body was read and the policy has allowed the request, and held until its answer is closed, its handler
 * has answered, and every run of `request.model` has really ended: a client that leaves frees nothing.
 * Requests without a principal (public routes) are not counted here.
 */
export const concurrency = fp(async function concurrency (app: FastifyInstance, options: ConcurrencyOptions): Promise<void> {
  checkOrder(app, 'concurrency')
  const { store, mode, ...tierOptions } = readOptions(options, 'concurrency')
  const tiers = readConcurrencyTiers(tierOptions, 'concurrency')
  const policyHeaders = new WeakMap<ConcurrencyPlan, string>()
  noteAnswers(app)

  app.addHook('preHandler', function takeSlots (request, reply, done) {
    const { principal } = request
    if (principal === null) {
      done()
      return
    }
    const goOn = ({ tier, model }: Foresight): void => {
      const plan = tier === undefined ? tiers.planOf(principal.tier, model) : tiers.planBeside(tier, model)
      if (plan === undefined) done()
      else take(plan, askerOf(principal, model), request, reply, done)
    }
    const foresight = foresee(request, true)
    if (foresight instanceof Promise) void foresight.then(goOn)
    else goOn(foresight)
  })

  app.addHook('onReady', async () => { refuseUnknownModels(app, tiers.models) })

  function take (plan: ConcurrencyPlan, asker: Asker, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    const conclude = (outcome: AllSlots): void => {
      addPolicyHeader(reply, plan)
      if (outcome.allowed) {
        workOf(request).whenOver(reply, () => { for (const lease of outcome.leases) store.release(lease) })
        done()
      } else {
        refuse(exceeded(outcome.limit), mode, request, reply, done)
      }
    }
    const fail = (error: unknown): void => { refuse(limiterUnavailable(error), mode, request, reply, done) }
    let answer: ReturnType<typeof acquireAll>
    try {
      answer = acquireAll(store, slotRequests(plan, asker))
    } catch (error) {
      fail(error)
      return
    }
    if (answer instanceof Promise) answer.then(conclude, fail)
    else conclude(answer)
  }

  function addPolicyHeader (reply: FastifyReply, plan: ConcurrencyPlan): void {
    const header = policyHeaders.get(plan) ?? concurrencyPolicyHeader(plan.limits)
    policyHeaders.set(plan, header)
    const before = reply.getHeader('ratelimit-policy')
    void reply.header('ratelimit-policy', before === undefined ? header : `${String(before)}, ${header}`)
  }
}, { name: pluginName('concurrency'), fastify: '5.x', dependencies: [pluginName('authenticate')] })

function askerOf ({ id, org }: Principal, model: string | undefined): Asker {
  return { principal: id, org, model }
}

function exceeded (limit: ConcurrencyLimit): Error {
  return guardError('FMG_ERR_QUOTA_EXCEEDED', {
    reason: `concurrency-${limit.name}`,
    headers: { 'retry-after': '1', ratelimit: concurrencyHeader(limit), 'x-ratelimit-remaining': '0' }
  })
}
