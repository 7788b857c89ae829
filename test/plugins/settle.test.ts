import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { guardError } from '../../src/errors.ts'
import { consumeBoth } from '../../src/limits/consume-both.ts'
import type { Limiter } from '../../src/limits/limiter.ts'
import { memoryConcurrency } from '../../src/limits/memory-concurrency.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { Limit } from '../../src/limits/plan.ts'
import type { MeasuredRun } from '../../src/model/session.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import type { ModelVersion } from '../../src/plugins/model-handle.ts'
import { holdUntil } from '../../src/plugins/request-work.ts'
import { fixed, model } from '../../src/plugins/resource.ts'
import type { Cost } from '../../src/plugins/route-rules.ts'
import { guardOptions } from '../helpers/guard.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { headersOf } from '../helpers/slots.ts'
import { until } from '../helpers/until.ts'
import { servedModels } from '../helpers/served-models.ts'

/** A model whose runs answer and end when they are told to. */
interface HandRun {
  readonly answer: () => void
  readonly fail: (error: Error) => void
  readonly end: (run: MeasuredRun) => void
}

interface SettledServer {
  readonly app: FastifyInstance
  readonly runs: HandRun[]
  /** Settlements that were asked for: reserve and difference. */
  readonly settled: [number, number][]
  readonly logged: () => string
  /** Asks as `acme/ann`, or whoever is said. */
  readonly ask: (url?: string, who?: string) => Promise<{ readonly statusCode: number }>
  /** Units that ann has spent. */
  readonly spent: () => Promise<number>
}

const quota = 1000
const minute: Limit = { name: 'minute', quota, windowSeconds: 60 }
const byCompute: Cost = { reserve: 10, settle: (_request, { computeMs }) => computeMs }

/** A server whose route `/run` runs the model as often as its query says, and costs this. */
async function settledServer (t: Test, cost: Cost, { limiter = memoryLimiter({ now: () => 0 }), windows = [minute], ...more }: { limiter?: Limiter, windows?: readonly Limit[] } & FastifyServerOptions = {}): Promise<SettledServer> {
  let logged = ''
  const app = Fastify({ logger: { level: 'error', stream: { write: (line: string) => { logged += line } } }, ...more })
  t.teardown(() => app.close())
  const runs: HandRun[] = []
  const settled: [number, number][] = []
  const handle = {
    id: 'acme-slow',
    attributes: { org: 'acme' },
    run: async (_inputs: unknown, { ended = () => undefined }: { ended?: (run: MeasuredRun) => void } = {}) => await new Promise((resolve, reject) => {
      runs.push({ answer: () => { resolve({ outputs: {}, computeMs: 0 }) }, fail: reject, end: ended })
    })
  } as unknown as ModelVersion
  app.decorate('models', servedModels({ find: () => handle, list: () => [handle] }))
  app.decorateRequest('model', null)
  const noted: Limiter = {
    consume: (request) => limiter.consume(request),
    settle: (request, charge, difference) => {
      settled.push([request.cost, difference])
      return limiter.settle(request, charge, difference)
    }
  }
  await app.register(modelGuard, guardOptions({
    rateLimit: { limiter: noted, backoff: 'off', tiers: { pro: { windows, concurrency: { principal: 3 } } }, defaultTier: 'pro' },
    concurrency: { store: memoryConcurrency() }
  }))
  const access = { action: 'predict', resource: model(fixed('acme-slow')) }
  app.get('/run', { config: { access, cost } }, async (request) => {
    const { count = '1' } = request.query as { count?: string }
    await Promise.all(Array.from({ length: Number(count) }, async () => await request.model?.run({})))
    return 'done'
  })
  app.get('/none', { config: { access, cost } }, async () => 'done')
  app.get('/busy', { config: { access, cost } }, async () => { throw guardError('FMG_ERR_MODEL_BUSY') })
  app.get('/bug', { config: { access, cost } }, async () => { throw new Error('no') })
  app.get('/own', { config: { access, cost } }, async (request) => {
    holdUntil(request, new Promise<void>((resolve) => { runs.push({ answer: resolve, fail: () => undefined, end: () => undefined }) }))
    return 'done'
  })
  return {
    app,
    runs,
    settled,
    logged: () => logged,
    ask: async (url = '/run', who = 'acme/ann') => await app.inject({ url, headers: headersOf(who) }),
    async spent () {
      await new Promise(setImmediate)
      const { outcome } = await consumeBoth(limiter, { group: 'acme', budgets: [{ key: 'principal:ann', windows: [minute] }], cost: quota * 2 }, undefined)
      return quota - outcome.remaining
    }
  }
}

t.test('a request is charged its reserve, and then what it took', async (t) => {
  const { ask, runs, spent, settled } = await settledServer(t, byCompute)
  const answer = ask()
  await until(() => runs.length === 1)
  t.equal(await spent(), 10)
  runs[0]?.end({ computeMs: 33.2 })
  runs[0]?.answer()
  t.equal((await answer).statusCode, 200)
  t.equal(await spent(), 34, 'rounded up')
  const other = ask()
  await until(() => runs.length === 2)
  runs[1]?.end({ computeMs: 3 })
  runs[1]?.answer()
  await other
  t.equal(await spent(), 37, 'or given back')
  t.same(settled, [[10, 24], [10, -7]])
})

t.test('several runs add up', async (t) => {
  const { ask, runs, spent, settled } = await settledServer(t, byCompute)
  const answer = ask('/run?count=3')
  await until(() => runs.length === 3)
  for (const { end, answer: reply } of runs) {
    end({ computeMs: 20.5 })
    reply()
  }
  await answer
  t.equal(await spent(), 62)
  t.equal(settled.length, 1)
})

t.test('what never ran costs one unit, whatever was reserved', async (t) => {
  for (const cost of [byCompute, { reserve: () => 10, settle: () => 0 }]) {
    for (const [index, [url, status]] of ([['/none', 200], ['/busy', 503], ['/bug', 500]] as const).entries()) {
      const { ask, spent, settled } = await settledServer(t, cost)
      t.equal((await ask(url)).statusCode, status)
      t.equal(await spent(), 1, url)
      t.same(settled, [[10, -9]], `${index}`)
    }
  }
})

t.test('a run that was answered before it ended is charged when it has, once', async (t) => {
  const { ask, runs, spent, settled } = await settledServer(t, byCompute)
  const answer = ask()
  await until(() => runs.length === 1)
  runs[0]?.fail(guardError('FMG_ERR_MODEL_FAILED', { reason: 'timed-out' }))
  t.equal((await answer).statusCode, 500)
  t.equal(await spent(), 10, 'it goes on')
  runs[0]?.end({ computeMs: 500 })
  t.equal(await spent(), 500)
  t.equal(settled.length, 1)
})

t.test('a client that leaves pays for what it started', async (t) => {
  const { app, runs, spent, settled } = await settledServer(t, byCompute)
  const gone = new AbortController()
  const answer = app.inject({ url: '/run', headers: headersOf('acme/ann'), signal: gone.signal }).catch(() => undefined)
  await until(() => runs.length === 1)
  gone.abort()
  await answer
  t.equal(await spent(), 10)
  runs[0]?.end({ computeMs: 70 })
  t.equal(await spent(), 10, 'its handler has not answered yet')
  runs[0]?.answer()
  await new Promise(setImmediate)
  t.equal(await spent(), 70)
  t.equal(settled.length, 1)
})

t.test('a run beside one that found no room is charged', async (t) => {
  const { ask, runs, spent } = await settledServer(t, byCompute)
  const answer = ask('/run?count=2')
  await until(() => runs.length === 2)
  runs[1]?.end({ computeMs: 0 })
  runs[1]?.fail(guardError('FMG_ERR_MODEL_BUSY'))
  t.equal((await answer).statusCode, 503)
  t.equal(await spent(), 10)
  runs[0]?.end({ computeMs: 40 })
  t.equal(await spent(), 40)
})

t.test('a server with its own model settles when it is done, by what it measured', async (t) => {
  let tokens = 0
  const { ask, runs, spent } = await settledServer(t, { reserve: 10, settle: () => tokens })
  t.equal((await ask('/own')).statusCode, 200)
  t.equal(await spent(), 10)
  tokens = 123
  runs[0]?.answer()
  await new Promise(setImmediate)
  t.equal(await spent(), 123)
})

t.test('more than was left is spent all the same, and owed', async (t) => {
  const { ask, runs } = await settledServer(t, { reserve: 900, settle: (_request, { computeMs }) => computeMs })
  const answer = ask()
  await until(() => runs.length === 1)
  runs[0]?.end({ computeMs: 5000 })
  runs[0]?.answer()
  t.equal((await answer).statusCode, 200)
  t.equal((await ask('/none')).statusCode, 429)
})

t.test('every budget that was charged is corrected', async (t) => {
  const everybody: Limit = { name: 'everybody', quota, windowSeconds: 60, of: 'model' }
  const limiter = memoryLimiter({ now: () => 0 })
  const { ask, runs, settled } = await settledServer(t, byCompute, { limiter, windows: [minute, everybody] })
  const answer = ask()
  await until(() => runs.length === 1)
  runs[0]?.end({ computeMs: 60 })
  runs[0]?.answer()
  await answer
  t.same(settled, [[10, 50], [10, 50]])
})

t.test('it is settled in Redis as in memory', async (t) => {
  const client = connectRedis(t)
  await client.ping()
  const limiter = redisLimiter({ client, prefix: keyPrefix, timeoutMs: 20_000 })
  const { ask, runs, spent } = await settledServer(t, byCompute, { limiter })
  const answer = ask()
  await until(() => runs.length === 1)
  t.equal(await spent(), 10)
  runs[0]?.end({ computeMs: 33.2 })
  runs[0]?.answer()
  await answer
  while (await spent() !== 34) await client.ping()
  t.equal((await ask('/none')).statusCode, 200)
  while (await spent() !== 35) await client.ping()
  t.pass()
})

t.test('a settlement that is none, or fails, leaves the reserve, and the log says so', async (t) => {
  const failing = (difference: () => void | Promise<void>): Limiter => {
    const memory = memoryLimiter({ now: () => 0 })
    return { consume: (request) => memory.consume(request), settle: difference }
  }
  const cases: readonly (readonly [Cost, Limiter | undefined])[] = [
    [{ reserve: 10, settle: () => NaN }, undefined],
    [{ reserve: 10, settle: () => Infinity }, undefined],
    [{ reserve: 10, settle: () => { throw new Error('no') } }, undefined],
    [byCompute, failing(() => { throw new Error('no') })],
    [byCompute, failing(async () => { throw new Error('no') })]
  ]
  for (const [cost, limiter] of cases) {
    const { ask, logged, settled } = await settledServer(t, cost, limiter === undefined ? {} : { limiter })
    t.equal((await ask('/none')).statusCode, 200)
    await until(() => logged().includes('a charge could not be settled'))
    t.equal(settled.length, limiter === undefined ? 0 : 1)
  }
})

t.test('what the guard refuses after it was charged costs one unit, what a handler fails at costs all', async (t) => {
  const { ask, spent, runs, settled } = await settledServer(t, 10)
  t.equal((await ask('/run', 'other/eve')).statusCode, 403)
  t.same(settled.splice(0), [[10, -9]], 'denied')
  const answers = [ask(), ask(), ask()]
  await until(() => runs.length === 3)
  t.equal(await spent(), 30)
  t.equal((await ask()).statusCode, 429)
  t.equal(await spent(), 31, 'no slot')
  for (const { end, answer } of runs) {
    end({ computeMs: 1000 })
    answer()
  }
  await Promise.all(answers)
  t.equal(await spent(), 31, 'a cost that is not measured is what it is')
  t.equal((await ask('/busy')).statusCode, 503)
  t.equal(await spent(), 32, 'no room')
  t.equal((await ask('/bug')).statusCode, 500)
  t.equal(await spent(), 42)
  t.equal(settled.length, 2)
})
