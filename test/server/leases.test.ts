import t from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import { defaultConfig } from '../../src/server/config.ts'
import { openKeys } from '../../src/server/open-keys.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { connectRedis } from '../helpers/redis.ts'

const asked = 300

t.test('a node that leases asks Redis seldom, and gives back what it did not use when it stops', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const windows = [{ name: 'hour', quota: 100_000, windowSeconds: 3600 }]
  const limits = { defaultTier: 'standard', tiers: { standard: { windows } }, leases: { maxUnits: 100, lifetimeMs: 1000 } }
  const config = { ...defaultConfig, data: t.testdir(), redis: redis.url, listen: { ...defaultConfig.listen, port: 0 }, limits }
  const { app, data, url } = await runServer(config)
  const { store, pepper } = await openKeys(config, data)
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', type: 'service', org: 'acme', tier: 'standard', roles: ['analyst'] }, label: 'ann' })
  await store.close()
  const ask = async (): Promise<number> => (await fetch(`${url}/v2`, { headers: { 'x-api-key': key } })).status
  while (await ask() === 401);

  await client.config('RESETSTAT')
  for (let index = 1; index < asked; index++) t.equal(await ask(), 200)
  const [, calls = 'none'] = /^cmdstat_evalsha:calls=(\d+)/m.exec(await client.info('commandstats')) ?? []
  t.ok(Number(calls) < asked / 5, `${calls} questions for ${asked} requests`)

  await stopServer(app)
  const left = await redisLimiter({ client, timeoutMs: 20_000 }).consume({ group: 'acme', budgets: [{ key: 'principal:ann', windows }], cost: 1 })
  t.equal(left.remaining, 100_000 - asked - 1)
})
