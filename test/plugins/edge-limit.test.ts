import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import type { Limiter } from '../../src/limits/limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import { testAuthenticator } from '../../src/testing.ts'
import { connectRedis } from '../helpers/redis.ts'

/** A server that lets an address try twice a minute, and how a stranger from there is answered. */
async function guarded (t: Test, limiter?: Limiter): Promise<(address: string) => Promise<number>> {
  const app: FastifyInstance = Fastify()
  t.teardown(() => app.close())
  await app.register(authenticate, { authenticators: [testAuthenticator()], edge: { max: 2, windowSeconds: 60, ...limiter !== undefined && { limiter } } })
  app.get('/', { config: { access: 'authenticated' } }, async () => 'in')
  return async (address) => {
    const { statusCode, headers } = await app.inject({ url: '/', remoteAddress: address })
    t.equal(headers['retry-after'] !== undefined, statusCode === 429)
    return statusCode
  }
}

t.test('nodes that share a limiter count an address together, an IPv6 network as one, and keep none of them in Redis', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const limiter = redisLimiter({ client, timeoutMs: 20_000 })
  const [one, other] = [await guarded(t, limiter), await guarded(t, limiter)]
  t.same([await one('192.0.2.1'), await other('192.0.2.1'), await one('192.0.2.1'), await other('192.0.2.1')], [401, 401, 429, 429])
  t.same([await one('192.0.2.2'), await other('192.0.2.3')], [401, 401], 'other addresses')
  t.same([await one('2001:db8::1'), await other('2001:db8::ffff'), await one('2001:db8:0:0:1::1')], [401, 401, 429])
  const keys = await client.keys('*')
  t.equal(keys.length, 4)
  for (const key of keys) t.match(key, /^model-guard:limit:\{edge:[\w-]{43}\}:edge:[\w-]{43}$/)
})

t.test('while the limiter fails each node counts by itself', async (t) => {
  const failing: Limiter = { consume: () => Promise.reject(new Error('gone')), settle: () => {} }
  const [one, other] = [await guarded(t, failing), await guarded(t, failing)]
  t.same([await one('192.0.2.1'), await one('192.0.2.1'), await one('192.0.2.1'), await other('192.0.2.1')], [401, 401, 429, 401])
})

t.test('without one, this process counts alone', async (t) => {
  const [one, other] = [await guarded(t), await guarded(t)]
  t.same([await one('192.0.2.1'), await one('192.0.2.1'), await one('192.0.2.1'), await other('192.0.2.1')], [401, 401, 429, 401])
})
