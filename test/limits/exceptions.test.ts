import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { canonicalJson } from '../../src/encoding.ts'
import { fileExceptions } from '../../src/limits/file-exceptions.ts'
import type { Plan } from '../../src/limits/plan.ts'
import { isOwnWindow, planUnder } from '../../src/limits/raised-plan.ts'
import { redisExceptions } from '../../src/limits/redis-exceptions.ts'
import { readTiers } from '../../src/limits/tiers.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { exceptionsSuite, pepper, raiseOf, type ExceptionsPlace } from './exceptions-suite.ts'

let opened = 0

const minute = (name: string, quota: number): { name: string, quota: number, windowSeconds: number } => ({ name, quota, windowSeconds: 60 })

function filePlace (t: Test): ExceptionsPlace {
  const file = path.join(t.testdir(), `exceptions-${opened++}.json`)
  return {
    async open (options = {}) {
      const exceptions = await fileExceptions({ file, pepper, heartbeatMs: 20, onError: () => undefined, ...options })
      t.teardown(() => exceptions.close())
      return exceptions
    },
    async read () {
      const { head, exceptions } = JSON.parse(await readFile(file, 'utf8')) as { head: object, exceptions: Record<string, object> }
      return { head: canonicalJson(head), texts: new Map(Object.entries(exceptions).map(([id, sealed]) => [id, canonicalJson(sealed)])) }
    },
    async write ({ head, texts }) {
      const lines = [...texts].map(([id, text]) => `${JSON.stringify(id)}:${text}`)
      await writeFile(`${file}.new`, `{"version":"2","head":${head},"exceptions":{${lines.join(',')}}}`, { mode: 0o600 })
      await rename(`${file}.new`, file)
    }
  }
}

function redisPlace (t: Test): ExceptionsPlace {
  const client = connectRedis(t)
  const prefix = `${keyPrefix}exceptions-${opened++}:`
  return {
    async open (options = {}) {
      const exceptions = await redisExceptions({ client, prefix, pepper, heartbeatMs: 20, onError: () => undefined, ...options })
      t.teardown(() => exceptions.close())
      return exceptions
    },
    read: async () => ({ head: await client.get(`{${prefix}}head`) ?? '', texts: new Map(Object.entries(await client.hgetall(`{${prefix}}exceptions`))) }),
    async write ({ head, texts }) {
      await client.multi().set(`{${prefix}}head`, head).del(`{${prefix}}exceptions`).hset(`{${prefix}}exceptions`, new Map(texts)).exec()
    }
  }
}

t.test('exceptions in a file', async (t) => { exceptionsSuite(t, filePlace) })
t.test('exceptions in Redis', async (t) => { exceptionsSuite(t, redisPlace) })

t.test('an exception changes what a principal has alone, by name, and gives the same plan each time', async (t) => {
  const tiers = readTiers({
    tiers: {
      pro: {
        windows: [minute('burst', 20), minute('minute', 600), { ...minute('org', 1000), of: 'org' }, { ...minute('all', 1000), of: 'model' }],
        models: { 'fraud*': { windows: [minute('minute', 10), { ...minute('org-fraud', 100), of: 'org-model' }] } }
      }
    },
    defaultTier: 'pro'
  }, 'tiers')
  const quotasOf = ({ windows }: Plan): object => Object.fromEntries(windows.map(({ name, quota }) => [name, quota]))
  const raised = { quotas: { minute: 1200, org: 5000, all: 5000, other: 5, 'org-fraud': 5000 }, models: { 'fraud-1': { minute: 11, burst: 5000, 'org-fraud': 5000 } } }
  const plain = tiers.planOf('pro', undefined)
  const plan = planUnder(plain, raised, undefined)
  t.same(quotasOf(plan), { burst: 20, minute: 1200, org: 1000 })
  t.equal(planUnder(plain, raised, undefined), plan)
  t.not(planUnder(plain, { ...raised, quotas: { minute: 1200 } }, undefined), plan)
  t.same(plan.own.map(({ of, windows }) => [of, windows.map(({ name }) => name)]), [['principal', ['burst', 'minute']], ['org', ['org']]])
  t.equal(plan.windows[0], plain.windows[0], 'what it says nothing of is the same window')

  const fraud = tiers.planOf('pro', 'fraud-1')
  t.same(quotasOf(planUnder(fraud, raised, 'fraud-1')), { burst: 20, org: 1000, all: 1000, minute: 11, 'org-fraud': 100 }, 'a limit of the model is not raised with that of the tier')
  t.equal(planUnder(fraud, raised, 'fraud-1'), planUnder(fraud, raised, 'fraud-1'))
  t.equal(tiers.planOf('pro', 'fraud-2'), fraud)
  t.same(quotasOf(planUnder(fraud, raised, 'fraud-2')), { burst: 20, org: 1000, all: 1000, minute: 10, 'org-fraud': 100 }, 'nor for another model')
  t.same(quotasOf(planUnder(fraud, raised, 'constructor')), quotasOf(fraud))
  t.equal(quotasOf(planUnder(plain, { quotas: { burst: 1 }, models: {} }, undefined))['burst' as never], 1, 'a cut')

  const named = readTiers({ tiers: { pro: { windows: [minute('constructor', 5), { ...minute('length', 5), of: 'principal-model' }] } }, defaultTier: 'pro' }, 'tiers')
  t.same(quotasOf(planUnder(named.planOf('pro', 'constructor'), { quotas: {}, models: {} }, 'constructor')), { constructor: 5, length: 5 }, 'what every object has is no quota')

  for (const [name, isOwn] of Object.entries({ burst: true, minute: true, org: false, all: false, 'org-fraud': false })) {
    const window = fraud.windows.find((candidate) => candidate.name === name)
    t.equal(window !== undefined && isOwnWindow(fraud, window), isOwn, name)
  }
})

t.test('a node that hears nothing goes by the exceptions it knew, and starts with none that it cannot read', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url, { maxRetriesPerRequest: 0 })
  let now = 0
  const errors: unknown[] = []
  const node = await redisExceptions({ client, pepper, now: () => now, heartbeatMs: 20, maxStalenessMs: 40, onError: (error) => errors.push(error) })
  t.teardown(() => node.close())
  await node.raise(raiseOf('eve'))
  await node.raise(raiseOf('bob', { until: 1000, approvedBy: 'carol' }))
  await redis.stop()
  await until(() => errors.length > 0)
  t.equal(node.find('eve')?.quotas['minute'], 1200)
  t.ok(node.find('bob'))
  now = 1000
  t.equal(node.find('bob'), undefined)
  t.ok(node.find('eve'))
  const unavailable = { code: 'FMG_ERR_LIMITER_UNAVAILABLE' }
  await t.rejects(node.raise(raiseOf('eve')), unavailable)
  await t.rejects(node.list(), unavailable)
  await t.rejects(redisExceptions({ client, pepper }), unavailable)
})

t.test('without options but those they need, they work', async (t) => {
  const stores = [
    await fileExceptions({ file: path.join(t.testdir(), 'exceptions.json'), pepper }),
    await redisExceptions({ client: connectRedis(t), pepper, prefix: `${keyPrefix}exceptions-${opened++}:` })
  ]
  for (const store of stores) {
    await store.raise(raiseOf('eve', { until: Date.now() + 60_000 }))
    t.ok(store.find('eve'))
    t.equal((await store.list()).length, 1)
    await store.close()
  }
  const invalid = { code: 'FMG_ERR_OPTION_INVALID' }
  await t.rejects(fileExceptions({ file: 'x', pepper: pepper.subarray(1) }), invalid)
  await t.rejects(fileExceptions({ file: 'x', pepper, onStale: 'refuse' } as never), invalid)
  await t.rejects(redisExceptions({ client: connectRedis(t), pepper, heartbeatMs: 1000, maxStalenessMs: 1999 }), invalid)
})
