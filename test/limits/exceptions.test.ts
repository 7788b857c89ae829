import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { canonicalJson } from '../../src/encoding.ts'
import type { Quotas } from '../../src/limits/exception.ts'
import { fileExceptions } from '../../src/limits/file-exceptions.ts'
import { windowsUnder } from '../../src/limits/raised-windows.ts'
import { redisExceptions } from '../../src/limits/redis-exceptions.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { exceptionsSuite, pepper, raiseOf, type ExceptionsPlace } from './exceptions-suite.ts'

let opened = 0

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

t.test('an exception changes the windows of its names alone, and the same exception gives the same list', async (t) => {
  const windows = Object.freeze([{ name: 'burst', quota: 20, windowSeconds: 1 }, { name: 'minute', quota: 600, windowSeconds: 60 }])
  const raised: Quotas = { minute: 1200, other: 5 }
  const list = windowsUnder(windows, raised)
  t.same(list, [windows[0], { name: 'minute', quota: 1200, windowSeconds: 60 }])
  t.equal(list[0], windows[0])
  t.equal(windowsUnder(windows, raised), list)
  t.ok(Object.isFrozen(list) && Object.isFrozen(list[1]))
  t.not(windowsUnder([...windows], raised), list)
  t.equal(windowsUnder(windows, { other: 5 }), windows)
  t.equal(windowsUnder(windows, {}), windows)
  t.equal(windowsUnder([{ name: 'constructor', quota: 1, windowSeconds: 1 }], {})[0]?.quota, 1)
  t.equal(windowsUnder(windows, { burst: 1 })[0]?.quota, 1, 'a cut')
  const shared = [{ name: 'minute', quota: 600, windowSeconds: 60, share: { quota: 1, principals: 2 } }]
  t.equal(windowsUnder(shared, raised), shared, 'nobody raises what is not the own alone')
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
