import path from 'node:path'
import Fastify, { type FastifyInstance, type FastifyRequest, type LightMyRequestResponse as Response } from 'fastify'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import type { Policy } from '../../src/authz/policy.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import type { RateLimitOptions } from '../../src/plugins/rate-limit.ts'
import { bodyMember, model } from '../../src/plugins/resource.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardedApp, guardOptions, limits, recordsIn } from '../helpers/guard.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'

const tiers = {
  trial: { windows: [{ name: 'minute', quota: 2, windowSeconds: 60 }] },
  pro: { windows: [{ name: 'burst', quota: 5, windowSeconds: 1 }, { name: 'hour', quota: 10, windowSeconds: 3600 }] }
}

interface Counted {
  readonly app: FastifyInstance
  readonly reached: () => number
  readonly ask: (id: string, tier?: string, url?: string, payload?: object) => Promise<Response>
}

async function counted (t: Test, limiter: RateLimitOptions['limiter'], more: Parameters<typeof guardOptions>[0] = {}): Promise<Counted> {
  const app = Fastify()
  t.teardown(() => app.close())
  let reached = 0
  await app.register(modelGuard, guardOptions({ rateLimit: { limiter, tiers, defaultTier: 'trial' }, ...more }))
  app.post('/x', { config: { access: 'authenticated' } }, async () => ++reached)
  app.post('/dear', { config: { access: 'authenticated', cost: 2 } }, async () => ++reached)
  app.post('/rows', { config: { access: 'authenticated', cost: ({ body }) => (body as { rows: number }).rows } }, async () => ++reached)
  app.post('/open', { config: { access: 'public' } }, async () => ++reached)
  return {
    app,
    reached: () => reached,
    ask: async (id, tier = 'trial', url = '/x', payload = {}) => await app.inject({ method: 'POST', url, payload, ...id === '' ? {} : asPrincipal({ id, tier }) })
  }
}

t.test('a greedy principal is told when to come back, others are not disturbed', async (t) => {
  const { ask, reached } = await counted(t, memoryLimiter({ now: () => 0 }))
  const first = await ask('ann')
  t.equal(first.statusCode, 200)
  t.equal(first.headers['ratelimit-policy'], '"minute";q=2;w=60')
  t.match(first.headers['ratelimit'], /^"minute";r=1;t=\d+$/)
  await ask('ann')
  const refused = await ask('ann')
  t.equal(refused.statusCode, 429)
  t.match(refused.json(), { code: 'FMG_ERR_QUOTA_EXCEEDED', message: 'quota exceeded' })
  t.equal(refused.headers['retry-after'], '60')
  t.match(refused.headers['ratelimit'], /^"minute";r=0;t=\d+$/)
  t.equal((await ask('bob')).statusCode, 200)
  t.equal(reached(), 3)
})

t.test('a tier that is not listed has the default tier\'s windows', async (t) => {
  const { ask } = await counted(t, memoryLimiter({ now: () => 0 }))
  const statuses = []
  for (let index = 0; index < 3; index++) statuses.push((await ask('ann', 'platinum')).statusCode)
  t.same(statuses, [200, 200, 429])
  t.equal((await ask('eve', 'pro')).headers['ratelimit-policy'], '"burst";q=5;w=1, "hour";q=10;w=3600')
})

t.test('a cost is charged whole, by number or by the parsed body, and a refused request is charged nothing', async (t) => {
  const { ask, reached } = await counted(t, memoryLimiter({ now: () => 0 }))
  t.equal((await ask('ann', 'trial', '/rows', { rows: 3 })).statusCode, 429)
  t.equal((await ask('ann', 'trial', '/dear')).statusCode, 200)
  t.equal((await ask('ann')).statusCode, 429)
  t.equal((await ask('bob', 'trial', '/rows', { rows: 1 })).statusCode, 200)
  t.equal((await ask('bob', 'trial', '/rows', { rows: 1 })).statusCode, 200)
  t.equal((await ask('bob', 'trial', '/rows', { rows: 1 })).statusCode, 429)
  t.equal((await ask('eve', 'trial', '/rows', { rows: -1 })).statusCode, 500, 'a cost that is none is the server\'s mistake')
  t.equal(reached(), 3)
})

t.test('a cost that is none fails one request, not the process, also where the policy takes its time', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const anyone: Policy = { id: 'anyone', decide: async () => await Promise.resolve({ allowed: true, rule: 'anyone', reason: 'allowed' }) }
  const ofModel = { windows: [...tiers.trial.windows, { name: 'model', of: 'principal-model', quota: 2, windowSeconds: 60 }] } as const
  await app.register(modelGuard, guardOptions({ authorize: { policy: anyone }, rateLimit: { limiter: memoryLimiter({ now: () => 0 }), tiers: { trial: ofModel }, defaultTier: 'trial' } }))
  const cost = ({ body }: FastifyRequest): number => (body as { rows: number }).rows
  app.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model')) }, cost } }, async () => 'done')
  const statuses = []
  for (const rows of [0, -1, 1.5, 1e300, 1]) statuses.push((await app.inject({ method: 'POST', url: '/predict', payload: { model: 'fraud', rows }, ...asPrincipal({ id: 'ann', tier: 'trial' }) })).statusCode)
  t.same(statuses, [500, 500, 500, 500, 200])
})

t.test('a limiter that throws refuses, and in observe mode does no harm', async (t) => {
  const full = memoryLimiter({ maxKeys: 1, whenFull: 'refuse', now: () => 0 })
  full.consume({ group: 'acme', budgets: [{ key: 'eve', windows: tiers.trial.windows }], cost: 1 })
  const refused = await (await counted(t, full)).ask('ann')
  t.equal(refused.statusCode, 503)
  t.equal(refused.headers['retry-after'], '1')
  t.equal((await (await counted(t, full, { mode: 'observe' })).ask('ann')).statusCode, 200)
})

t.test('public routes and strangers cost nobody anything', async (t) => {
  const { ask, app } = await counted(t, memoryLimiter({ now: () => 0 }))
  for (let index = 0; index < 5; index++) {
    t.equal((await ask('', 'trial', '/open')).statusCode, 200)
    t.equal((await app.inject({ method: 'POST', url: '/x', headers: { authorization: 'Bearer ann' } })).statusCode, 401)
  }
  t.equal((await ask('ann')).statusCode, 200)
})

t.test('two servers on one Redis share one quota', async (t) => {
  const client = connectRedis(t)
  await client.ping()
  const servers = [await counted(t, redisLimiter({ client, prefix: keyPrefix, timeoutMs: 5000 })), await counted(t, redisLimiter({ client, prefix: keyPrefix, timeoutMs: 5000 }))]
  const asked = await Promise.all(Array.from({ length: 40 }, async (_, index) => await servers[index % 2]?.ask('shared', 'pro')))
  t.equal(asked.filter((response) => response?.statusCode === 200).length, 5)
  t.equal(asked.filter((response) => response?.statusCode === 429).length, 35)
})

t.test('a Redis that is gone is 503 with retry-after, never an answer, and in observe mode no harm', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(() => redis.stop())
  const client = connectRedis(t, redis.url, { enableOfflineQueue: false, maxRetriesPerRequest: 1 })
  await new Promise((resolve) => { client.once('ready', resolve) })
  const limiter = redisLimiter({ client, prefix: keyPrefix })
  const { ask, reached } = await counted(t, limiter)
  const observed = await counted(t, limiter, { mode: 'observe' })
  t.equal((await ask('ann')).statusCode, 200)
  process.kill(redis.pid, 'SIGSTOP')
  const paused = await ask('ann')
  process.kill(redis.pid, 'SIGCONT')
  await redis.stop()
  const gone = await ask('ann')
  for (const response of [paused, gone]) {
    t.equal(response.statusCode, 503)
    t.equal(response.headers['retry-after'], '1')
    t.match(response.json(), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
  }
  t.equal(reached(), 1)
  t.equal((await observed.ask('ann')).statusCode, 200)
})

t.test('the record of a limiter that failed says how', async (t) => {
  const folder = t.testdir()
  const failures = [redisLimiter({ client: { call: async () => { throw new Error('no connection') } } }), { consume: () => Promise.reject(new Error('of another kind')), settle: () => {} }]
  for (const [index, limiter] of failures.entries()) {
    const audit = await auditIn(path.join(folder, `${index}`))
    const app = await guardedApp(t, guardOptions({ audit, rateLimit: { ...limits(1), limiter } }))
    t.equal((await app.inject({ method: 'POST', url: '/models/acme-fraud', ...asPrincipal({ id: 'ann' }) })).statusCode, 503)
    await app.close()
  }
  const reasons = failures.map((_, index) => recordsIn(path.join(folder, `${index}`)).map((record) => record['reason']).filter((reason) => reason !== undefined))
  t.same(reasons, [['limiter-error'], ['limiter-unavailable']])
})
