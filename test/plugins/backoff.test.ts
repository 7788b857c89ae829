import Fastify, { type FastifyInstance, type LightMyRequestResponse as Response } from 'fastify'
import t, { type Test } from 'tap'
import type { Blocks } from '../../src/limits/blocks.ts'
import { fileExceptions } from '../../src/limits/file-exceptions.ts'
import type { Limiter } from '../../src/limits/limiter.ts'
import { memoryBlocks } from '../../src/limits/memory-blocks.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisBlocks } from '../../src/limits/redis-blocks.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { TierOptions } from '../../src/limits/tiers.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import type { RateLimitOptions } from '../../src/plugins/rate-limit.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { verifiesItself } from '../../src/plugins/route-rules.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardOptions, policy, policyText } from '../helpers/guard.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { by, pepper, raiseOf } from '../limits/exceptions-suite.ts'

const backoff = { violations: 3, withinSeconds: 60 }
const tiers: TierOptions = { tiers: { trial: { windows: [{ name: 'minute', quota: 2, windowSeconds: 60 }] } }, defaultTier: 'trial' }

interface Asked {
  readonly app: FastifyInstance
  readonly reached: () => number
  readonly ask: (id: string, url?: string, payload?: object) => Promise<Response>
}

async function served (t: Test, rateLimit: Partial<RateLimitOptions>, more: Parameters<typeof guardOptions>[0] = {}): Promise<Asked> {
  const app = Fastify()
  t.teardown(() => app.close())
  let reached = 0
  await app.register(modelGuard, guardOptions({ rateLimit: { limiter: memoryLimiter(), backoff, ...tiers, ...rateLimit }, ...more }))
  app.post('/x', { config: { access: 'authenticated' } }, async () => ++reached)
  app.post('/rows', { config: { access: 'authenticated', cost: ({ body }) => (body as { rows: number }).rows } }, async () => ++reached)
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async () => ++reached)
  return { app, reached: () => reached, ask: async (id, url = '/x', payload = {}) => await app.inject({ method: 'POST', url, payload, ...asPrincipal({ id, org: 'acme', tier: 'trial', roles: ['admin'] }) }) }
}

async function codes (ask: Asked['ask'], times: number, ...words: Parameters<Asked['ask']>): Promise<(string | undefined)[]> {
  const found = []
  for (let count = 0; count < times; count++) found.push((await ask(...words)).json<{ code?: string }>().code)
  return found
}

const exceeded = 'FMG_ERR_QUOTA_EXCEEDED'
const blocked = 'FMG_ERR_PRINCIPAL_BLOCKED'

/** A limiter that counts how often it is asked. */
function watched (limiter: Limiter = memoryLimiter()): Limiter & { asked: number } {
  return Object.assign(Object.create(null) as object, {
    asked: 0,
    consume (this: { asked: number }, request: Parameters<Limiter['consume']>[0]) {
      this.asked++
      return limiter.consume(request)
    },
    settle: () => undefined
  })
}

t.test('who is refused again and again is blocked, is told how long, and costs nothing more', async (t) => {
  let now = 1_000_000
  const limiter = watched(memoryLimiter({ now: () => now }))
  const { ask, reached } = await served(t, { limiter, blocks: memoryBlocks({ now: () => now, clock: () => now }) })
  t.same(await codes(ask, 5, 'eve'), [undefined, undefined, exceeded, exceeded, exceeded])
  const asked = limiter.asked
  t.equal(asked, 8, 'one question more for each violation, none for what is allowed')
  const response = await ask('eve')
  t.equal(response.statusCode, 429)
  t.match(response.json(), { code: blocked, message: 'blocked after repeated violations' })
  t.equal(response.headers['retry-after'], '30')
  t.same(await codes(ask, 20, 'eve', '/rows', { rows: 1 }), Array(20).fill(blocked))
  t.equal(limiter.asked, asked)
  t.equal(reached(), 2)
  t.equal((await ask('bob')).statusCode, 200)
  now += 30_000
  t.same(await codes(ask, 4, 'eve'), [exceeded, exceeded, exceeded, blocked])
  t.equal((await ask('eve')).headers['retry-after'], '60')
  now += 60_000
  t.equal((await ask('eve')).statusCode, 200, 'what was refused consumed nothing')
})

t.test('a blocked principal is refused before its body is read', async (t) => {
  const blocks = memoryBlocks()
  const { app, ask } = await served(t, { blocks })
  await blocks.block('eve', { violations: 3, withinSeconds: 60, firstSeconds: 30, maxSeconds: 30, decaySeconds: 60 })
  let parsed = 0
  app.addHook('preParsing', (_request, _reply, _payload, done) => {
    parsed++
    done()
  })
  t.equal((await ask('eve', '/rows', { rows: 1 })).json<{ code: string }>().code, blocked)
  t.equal(parsed, 0)
  t.equal((await ask('bob', '/rows', { rows: 1 })).statusCode, 200)
  t.equal(parsed, 1)
})

t.test('a blocked principal whose credential stands in the body is refused too', async (t) => {
  const blocks = memoryBlocks()
  const { app } = await served(t, { blocks })
  await blocks.block('eve', { violations: 3, withinSeconds: 60, firstSeconds: 30, maxSeconds: 30, decaySeconds: 60 })
  const preValidation = async (request: { principal: unknown, body: unknown }): Promise<void> => {
    request.principal = Object.freeze({ id: (request.body as { id: string }).id, type: 'user', tier: 'trial', roles: [], scopes: [], attributes: {}, credential: { method: 'jwt', id: '1' } })
  }
  app.post('/token', { config: { access: 'public', cost: () => 1, [verifiesItself]: true }, preValidation }, async () => 'done')
  t.equal((await app.inject({ method: 'POST', url: '/token', payload: { id: 'bob' } })).statusCode, 200)
  t.match((await app.inject({ method: 'POST', url: '/token', payload: { id: 'eve' } })).json(), { code: blocked })
})

t.test('nobody is blocked for what others have spent, nor for a limiter that fails', async (t) => {
  const shared: TierOptions = { tiers: { trial: { windows: [{ name: 'minute', quota: 100, windowSeconds: 60 }, { name: 'org', quota: 2, windowSeconds: 60, of: 'org' }, { name: 'all', quota: 2, windowSeconds: 60, of: 'model' }] } }, defaultTier: 'trial' }
  const { ask } = await served(t, shared)
  await ask('greedy')
  t.same((await codes(ask, 20, 'eve')).slice(2), Array(18).fill(exceeded))
  const failing = await served(t, { limiter: { consume: async () => { throw new Error('no Redis') }, settle: () => undefined } })
  t.same(await codes(failing.ask, 20, 'eve'), Array(20).fill('FMG_ERR_LIMITER_UNAVAILABLE'))
})

t.test('a limit for one model that is the principal\'s own counts as such', async (t) => {
  const ofModel: TierOptions = { tiers: { trial: { windows: [{ name: 'minute', quota: 100, windowSeconds: 60 }, { name: 'model', quota: 1, windowSeconds: 60, of: 'principal-model' }] } }, defaultTier: 'trial' }
  const { ask } = await served(t, ofModel)
  t.same(await codes(ask, 5, 'eve', '/models/fraud'), [undefined, exceeded, exceeded, exceeded, blocked])
})

t.test('a block can be left out, and harms nobody in observe mode', async (t) => {
  const off = await served(t, { backoff: 'off' })
  t.same((await codes(off.ask, 200, 'eve')).slice(2), Array(198).fill(exceeded))
  const blocks = memoryBlocks()
  const observed = await served(t, { blocks }, { mode: 'observe' })
  for (let count = 0; count < 10; count++) t.equal((await observed.ask('eve')).statusCode, 200)
  t.same(blocks.list(), [], 'nobody told it to wait')
  await blocks.block('eve', { violations: 3, withinSeconds: 60, firstSeconds: 30, maxSeconds: 30, decaySeconds: 60 })
  t.equal((await observed.ask('eve')).statusCode, 200)
  t.equal(observed.reached(), 11)
  const usual = await served(t, { backoff: undefined })
  t.same((await codes(usual.ask, 103, 'eve')).slice(-2), [exceeded, blocked], 'by default after a hundred')
  await t.rejects(served(t, { backoff: 'on' as never }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(served(t, { blocks: {} as never }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(served(t, { exceptions: {} as never }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('violations of two nodes are counted together, and who is blocked by one is blocked by both, and lifted by both', async (t) => {
  const client = connectRedis(t)
  await client.ping()
  const prefix = `${keyPrefix}backoff:`
  const nodes = await Promise.all([0, 1].map(async () => {
    const blocks: Blocks = await redisBlocks({ client, pepper, prefix, intervalMs: 20 })
    t.teardown(() => blocks.close())
    return { blocks, ...await served(t, { limiter: redisLimiter({ client, prefix, timeoutMs: 5000 }), blocks }) }
  }))
  const [here, there] = nodes
  if (here === undefined || there === undefined) throw new Error('no nodes')
  t.same(await codes(here.ask, 4, 'eve'), [undefined, undefined, exceeded, exceeded])
  t.same(await codes(there.ask, 2, 'eve'), [exceeded, blocked], 'the third violation was here, the others there')
  await until(() => here.blocks.secondsLeft('eve') > 0)
  t.same(await codes(here.ask, 1, 'eve'), [blocked])
  await here.blocks.lift('eve', by)
  await until(() => there.blocks.secondsLeft('eve') === 0)
  t.same(await codes(there.ask, 1, 'eve'), [exceeded])
})

t.test('an exception counts from the next request on, for its principal alone, until it is over', async (t) => {
  const exceptions = await fileExceptions({ file: `${t.testdir()}/exceptions.json`, pepper })
  t.teardown(() => exceptions.close())
  const ofModels: TierOptions = {
    tiers: {
      trial: { windows: [{ name: 'minute', quota: 2, windowSeconds: 60 }, { name: 'org', quota: 50, windowSeconds: 60, of: 'org' }], models: { fraud: { windows: [{ name: 'fraud', quota: 1, windowSeconds: 60 }] } } }
    },
    defaultTier: 'trial'
  }
  const { ask } = await served(t, { exceptions, limiter: memoryLimiter({ now: () => 0 }), ...ofModels })
  t.equal((await ask('eve')).headers['ratelimit-policy'], '"minute";q=2;w=60, "org";q=50;w=60')
  await exceptions.raise(raiseOf('eve', { quotas: { minute: 5, org: 9000 }, models: { fraud: { fraud: 2 } } }))
  const raised = await ask('eve')
  t.equal(raised.headers['ratelimit-policy'], '"minute";q=5;w=60, "org";q=50;w=60')
  t.equal(raised.headers['ratelimit'], '"minute";r=3;t=60', 'what was spent before counts')
  t.equal((await ask('bob')).headers['ratelimit-policy'], '"minute";q=2;w=60, "org";q=50;w=60')
  t.same(await codes(ask, 3, 'eve', '/models/fraud'), [undefined, undefined, exceeded])
  t.same(await codes(ask, 2, 'bob', '/models/fraud'), [undefined, exceeded])
  t.same(await codes(ask, 2, 'eve'), [undefined, exceeded])
  await exceptions.raise(raiseOf('bob', { quotas: { minute: 1 }, approvedBy: 'carol' }))
  t.same(await codes(ask, 1, 'bob'), [exceeded], 'a cut')
  await exceptions.end('eve', by)
  t.equal((await ask('eve')).headers['ratelimit-policy'], '"minute";q=2;w=60, "org";q=50;w=60')
})

t.test('an exception is about the principal\'s own tier, not one to which the policy obliges', async (t) => {
  const exceptions = await fileExceptions({ file: `${t.testdir()}/exceptions.json`, pepper })
  t.teardown(() => exceptions.close())
  const authorize = { policy: policy(`${policyText}  - { name: scarce, effect: oblige, resource: { type: model }, obligations: { tier: trial } }\n`) }
  const { ask } = await served(t, { exceptions }, { authorize })
  await exceptions.raise(raiseOf('eve', { quotas: { minute: 9, 'trial.minute': 9 } }))
  t.equal((await ask('eve', '/models/fraud')).headers['ratelimit-policy'], '"trial.minute";q=2;w=60')
  t.equal((await ask('eve')).headers['ratelimit-policy'], '"minute";q=9;w=60')
})
