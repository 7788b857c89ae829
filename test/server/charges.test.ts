import path from 'node:path'
import t from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { defaultConfig } from '../../src/server/config.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { stopServer, type RunningServer } from '../../src/server/run-server.ts'
import { recordsIn } from '../helpers/guard.ts'
import { connectRedis } from '../helpers/redis.ts'
import { startServer } from '../helpers/server.ts'

const hour = { name: 'hour', quota: 100_000, windowSeconds: 3600 }
const { request } = await exampleImage(0)

async function predict ({ url, keys }: RunningServer & { readonly keys: { readonly analyst: string } }): Promise<Response> {
  return await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'x-api-key': keys.analyst, 'content-type': 'application/json' }, body: JSON.stringify(request) })
}

async function left (response: Response): Promise<number> {
  await response.text()
  return Number(response.headers.get('x-ratelimit-remaining'))
}

t.test('a prediction costs what the model took where the server is told so, and its record says what that was', async (t) => {
  const folder = t.testdir()
  const limits = { defaultTier: 'standard', tiers: { standard: { windows: [hour] } } }
  const server = await startServer(t, { data: folder, limits, models: { ...defaultConfig.models, reserveMs: 50_000 } })
  const reserved = await predict(server)
  t.equal(reserved.status, 200)
  t.equal(await left(reserved), 50_000)
  let settled = 0
  while (settled < 60_000) settled = await left(await fetch(`${server.url}/v2`, { headers: { 'x-api-key': server.keys.analyst } }))
  t.ok(settled < 99_999, 'a run is not free')
  await stopServer(server.app)
  const [record] = recordsIn(folder).filter(({ action }) => action === 'predict')
  t.ok(Number(record?.['compute_ms']) > 0 && Number(record?.['compute_ms']) < Number(record?.['duration_ms']), JSON.stringify(record))
})

t.test('a prediction costs one unit where nothing is said', async (t) => {
  const server = await startServer(t, { limits: { defaultTier: 'standard', tiers: { standard: { windows: [hour] } } } })
  t.equal(await left(await predict(server)), 99_999)
  t.equal(await left(await predict(server)), 99_998)
})

t.test('requests in flight are counted in the Redis that nodes share, else by each alone', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(() => redis.stop())
  const limits = { defaultTier: 'standard', tiers: { standard: { windows: [hour], concurrency: { principal: 7 } } } }
  const folder = t.testdir()
  for (const [index, place] of [undefined, redis.url].entries()) {
    const server = await startServer(t, { data: path.join(folder, `${index}`), limits, redis: place })
    const answer = await predict(server)
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('ratelimit-policy'), '"hour";q=100000;w=3600, "concurrency-principal";q=7;qu="concurrent-requests"')
    await answer.text()
  }
  const client = connectRedis(t, redis.url)
  while ((await client.keys('model-guard:slots:*')).length > 0) await client.ping()
})

t.test('by default nobody has more than sixteen requests in flight', async (t) => {
  const server = await startServer(t, { limits: defaultConfig.limits })
  const answer = await predict(server)
  t.match(answer.headers.get('ratelimit-policy'), '"concurrency-principal";q=16;qu="concurrent-requests"')
  await answer.text()
})
