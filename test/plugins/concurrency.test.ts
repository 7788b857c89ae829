import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import type { Policy } from '../../src/authz/policy.ts'
import { memoryConcurrency } from '../../src/limits/memory-concurrency.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { redisConcurrency } from '../../src/limits/redis-concurrency.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import { concurrency } from '../../src/plugins/concurrency.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import type { ModelVersion } from '../../src/plugins/model-handle.ts'
import { rateLimit } from '../../src/plugins/rate-limit.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { auditIn, guardOptions, limits, policy, recordsIn } from '../helpers/guard.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { headersOf, heldServer, inFlight, slotOptions, tier, type HeldServer } from '../helpers/slots.ts'
import { servedModels } from '../helpers/served-models.ts'

t.test('one too many is told to come back, and why; others are not disturbed', async (t) => {
  const folder = t.testdir()
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 2, 'principal-model': 9 } }, { audit: await auditIn(folder) }))
  const first = server.ask('acme/ann')
  const second = server.ask('acme/ann')
  await server.reached(2)
  const refused = await server.ask('acme/ann')
  t.equal(refused.statusCode, 429)
  t.match(refused.json(), { code: 'FMG_ERR_QUOTA_EXCEEDED', message: 'quota exceeded' })
  t.match(refused.headers, {
    'retry-after': '1',
    ratelimit: '"concurrency-principal";r=0;t=1',
    'x-ratelimit-remaining': '0',
    'ratelimit-policy': '"minute";q=1000000;w=60, "concurrency-principal";q=2;qu="concurrent-requests"'
  })
  t.equal(server.running(), 2, 'its handler did not run')
  const other = server.ask('acme/bob')
  await server.reached(3)
  server.end()
  t.match(await first, { statusCode: 200, headers: { ratelimit: /^"minute";r=\d+;t=/, 'ratelimit-policy': /"concurrency-principal";q=2/ } })
  const third = server.ask('acme/ann')
  await server.reached(3)
  t.equal((await server.ask('acme/ann')).statusCode, 429)
  for (let index = 0; index < 3; index++) server.end()
  t.same((await Promise.all([second, other, third])).map(({ statusCode }) => statusCode), [200, 200, 200])
  await server.app.close()
  t.same(recordsIn(folder).filter(({ status }) => status === 'limited').map(({ reason }) => reason), ['concurrency-principal', 'concurrency-principal'])
})

const everywhere = `
version: 1
roles: { analyst: { permissions: [model:predict], org: '*' } }
`

t.test('who shares a limit is counted together, and nobody else', async (t) => {
  type Words = Parameters<HeldServer['ask']>
  const cases: readonly (readonly [string, Words, readonly Words[], readonly Words[]])[] = [
    ['principal', ['acme/ann', 'acme-one'], [['acme/ann', undefined], ['acme/ann', 'acme-two']], [['acme/bob', 'acme-one']]],
    ['org', ['acme/ann', 'acme-one'], [['acme/bob', undefined], ['acme/bob', 'acme-two']], [['other/ann', 'other-one'], ['/acme', undefined]]],
    ['org-model', ['acme/ann', 'acme-one'], [['acme/bob', 'acme-one']], [['acme/ann', 'acme-two'], ['acme/ann', undefined], ['other/eve', 'other-one']]],
    ['principal-model', ['acme/ann', 'acme-one'], [['acme/ann', 'acme-one']], [['acme/ann', 'acme-two'], ['acme/bob', 'acme-one'], ['acme/ann', undefined]]],
    ['model', ['acme/ann', 'acme-one'], [['acme/bob', 'acme-one'], ['root/root', 'acme-one']], [['acme/ann', 'acme-two'], ['acme/ann', undefined]]]
  ]
  for (const [scope, first, together, apart] of cases) {
    const server = await heldServer(t, slotOptions({ concurrency: { [scope]: 1 } }, { authorize: { policy: policy(everywhere) } }))
    void server.ask(...first)
    await server.reached(1)
    for (const words of together) t.equal((await server.ask(...words)).statusCode, 429, `${scope}: ${words.join(' ')}`)
    for (const [index, words] of apart.entries()) {
      void server.ask(...words)
      await server.reached(2 + index)
      t.pass(`${scope}: ${words.join(' ')}`)
    }
    t.equal((await server.ask(...first)).statusCode, 429)
  }
})

t.test('every limit holds, and a request that one refuses takes no slot of the others', async (t) => {
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 3, 'org-model': 2, model: 1 } }))
  t.equal(await inFlight(server, 'acme/ann', 'acme-one'), 1)
  t.equal(await inFlight(server, 'acme/ann', 'acme-two'), 1)
  t.equal(await inFlight(server, 'acme/ann', 'acme-one'), 0)
  t.equal(await inFlight(server, 'acme/ann'), 1)
  t.equal((await server.ask('acme/ann', 'acme-three')).headers['ratelimit'], '"concurrency-principal";r=0;t=1')
  t.equal(await inFlight(server, 'acme/bob', 'acme-three'), 1, 'what ann was refused was not taken of the model')
})

t.test('a model may have limits of its own', async (t) => {
  const server = await heldServer(t, slotOptions({ concurrency: { 'principal-model': 2 }, models: { 'acme-dear*': { concurrency: { 'principal-model': 1 } }, 'acme-free': { windows: [{ name: 'hour', quota: 100, windowSeconds: 3600 }] } } }))
  t.equal(await inFlight(server, 'acme/ann', 'acme-dear-one'), 1)
  t.equal(await inFlight(server, 'acme/ann', 'acme-one'), 2)
  t.equal(await inFlight(server, 'acme/ann', 'acme-free'), 2)
})

t.test('a tier without a limit has any number in flight, one that is not listed the default\'s', async (t) => {
  const { app, reached } = await heldServer(t, guardOptions({
    rateLimit: { limiter: memoryLimiter(), tiers: { free: tier({ concurrency: { principal: 1 } }), pro: tier({}) }, defaultTier: 'free' },
    concurrency: { store: memoryConcurrency() }
  }))
  for (let index = 1; index < 20; index++) {
    void app.inject({ url: '/me', ...asPrincipal({ id: 'ann', tier: 'pro' }) })
    await reached(index)
  }
  void app.inject({ url: '/me', ...asPrincipal({ id: 'ann', tier: 'platinum' }) })
  await reached(20)
  t.equal((await app.inject({ url: '/me', ...asPrincipal({ id: 'ann', tier: 'platinum' }) })).statusCode, 429)
})

t.test('who may not have an answer takes no slot: strangers, the denied, and the public', async (t) => {
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 1, model: 1 } }))
  for (let index = 0; index < 3; index++) {
    t.equal((await server.ask('')).statusCode, 401)
    t.equal((await server.ask('other/eve', 'acme-one')).statusCode, 403)
    t.equal((await server.ask('other/eve', 'acme-one', 'body')).statusCode, 403)
    void server.app.inject('/open')
    await server.reached(index + 1)
  }
  t.equal(await inFlight(server, 'acme/ann', 'acme-one'), 1)
  t.equal(await inFlight(server, 'other/eve'), 1)
})

t.test('a model that is named in the body is counted like one of the URL', async (t) => {
  const server = await heldServer(t, slotOptions({ concurrency: { model: 2 } }))
  void server.ask('acme/ann', 'acme-one', 'body')
  await server.reached(1)
  t.equal(await inFlight(server, 'acme/bob', 'acme-one'), 1)
  t.equal((await server.ask('acme/ann', 'acme-one', 'body')).statusCode, 429)
})

t.test('whoever the policy holds to another tier has its slots, apart from the own', async (t) => {
  const obliging: Policy = { id: 'p', tiers: ['free'], decide: ({ roles }) => ({ allowed: true, rule: 'r', reason: 'allowed', ...roles.includes('new') && { obligations: { tier: 'free' } } }) }
  const { app, reached } = await heldServer(t, guardOptions({
    authorize: { policy: obliging },
    rateLimit: { limiter: memoryLimiter(), tiers: { free: tier({ concurrency: { principal: 1 } }), pro: tier({ concurrency: { principal: 1 } }) }, defaultTier: 'pro' },
    concurrency: { store: memoryConcurrency() }
  }))
  const ask = async (role: string): Promise<{ statusCode: number, headers: object }> => await app.inject({ method: 'POST', url: '/models/m', ...asPrincipal({ id: 'ann', tier: 'pro', roles: [role] }) })
  void ask('new')
  await reached(1)
  t.match(await ask('new'), { statusCode: 429, headers: { ratelimit: '"concurrency-free.principal";r=0;t=1' } })
  void ask('old')
  await reached(2)
  t.match(await ask('old'), { statusCode: 429, headers: { ratelimit: '"concurrency-principal";r=0;t=1' } })
})

t.test('in observe mode nothing is refused, and the log says what would have been', async (t) => {
  const folder = t.testdir()
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 1 } }, { mode: 'observe', audit: await auditIn(folder) }))
  const answers = [server.ask('acme/ann'), server.ask('acme/ann')]
  await server.reached(2)
  server.end()
  server.end()
  t.same((await Promise.all(answers)).map(({ statusCode }) => statusCode), [200, 200])
  await server.app.close()
  t.same(recordsIn(folder).map(({ reason }) => reason).filter((reason) => reason !== undefined), ['observed-concurrency-principal'])
})

t.test('where the policy cannot say, in observe mode, who asks still has slots', async (t) => {
  const failing: Policy = { id: 'p', decide: () => Promise.reject(new Error('no')) }
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 1, model: 1 } }, { mode: 'observe', authorize: { policy: failing } }))
  const answer = server.ask('acme/ann', 'acme-one')
  await server.reached(1)
  server.end()
  t.match(await answer, { statusCode: 200, headers: { 'ratelimit-policy': '"minute";q=1000000;w=60, "concurrency-principal";q=1;qu="concurrent-requests"' } })
})

t.test('a store that fails is 503 with retry-after, whichever way', async (t) => {
  const failures = [
    [redisConcurrency({ client: { call: async () => { throw new Error('no connection') } } }), 'limiter-error'],
    [{ acquire: () => Promise.reject(new Error('of another kind')), release: () => undefined }, 'limiter-unavailable'],
    [{ acquire: () => { throw new Error('at once') }, release: () => undefined }, 'limiter-unavailable']
  ] as const
  const folder = t.testdir()
  for (const [index, [store, reason]] of failures.entries()) {
    const place = path.join(folder, `${index}`)
    const server = await heldServer(t, slotOptions({ concurrency: { principal: 1 } }, { concurrency: { store }, audit: await auditIn(place) }))
    t.match(await server.ask('acme/ann'), { statusCode: 503, headers: { 'retry-after': '1' } })
    t.equal(server.running(), 0)
    await server.app.close()
    t.match(recordsIn(place).at(-1), { status: 'error', reason })
  }
})

t.test('two servers on one Redis share the slots', async (t) => {
  const client = connectRedis(t)
  await client.ping()
  const servers = []
  for (let index = 0; index < 2; index++) {
    const store = redisConcurrency({ client, prefix: keyPrefix, timeoutMs: 20_000 })
    servers.push(await heldServer(t, slotOptions({ concurrency: { principal: 2, model: 3 } }, { concurrency: { store } })))
  }
  const [one, two] = servers
  if (one === undefined || two === undefined) throw new Error('no server')
  const first = one.ask('acme/ann', 'acme-one')
  await one.reached(1)
  t.equal(await inFlight(two, 'acme/ann', 'acme-one'), 1)
  t.equal(await inFlight(one, 'acme/bob', 'acme-one'), 1)
  t.match((await two.ask('acme/bob', 'acme-one')).headers, { ratelimit: '"concurrency-model";r=0;t=1' })
  one.end()
  await first
  while (await client.zcard(`${keyPrefix}{acme}:principal:ann`) > 1) await client.ping()
  t.equal(await inFlight(two, 'acme/ann', 'acme-one'), 1)
})

t.test('it is of use without the other limits, and without a policy', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(authenticate, { authenticators: [testAuthenticator()] })
  await app.register(concurrency, { store: memoryConcurrency(), tiers: { pro: { windows: [], concurrency: { principal: 1 } } }, defaultTier: 'pro' })
  let end = (): void => undefined
  let reach = (): void => undefined
  const reached = new Promise<void>((resolve) => { reach = resolve })
  app.get('/me', async () => { await new Promise<void>((resolve) => { end = resolve; reach() }) })
  const first = app.inject({ url: '/me', headers: headersOf('acme/ann') })
  await reached
  t.match(await app.inject({ url: '/me', headers: headersOf('acme/ann') }), { statusCode: 429, headers: { 'ratelimit-policy': '"concurrency-principal";q=1;qu="concurrent-requests"' } })
  end()
  await first
})

t.test('limits that nobody would enforce do not boot', async (t) => {
  const pro = tier({ concurrency: { principal: 1 } })
  const cases: readonly (readonly [Parameters<typeof guardOptions>[0], string])[] = [
    [{ rateLimit: { limiter: memoryLimiter(), tiers: { pro }, defaultTier: 'pro' } }, 'rateLimit.tiers has concurrency, which needs the concurrency plugin'],
    [{ rateLimit: { limiter: memoryLimiter(), tiers: { pro: tier({ models: { x: { concurrency: { model: 1 } } } }) }, defaultTier: 'pro' } }, 'rateLimit.tiers has concurrency, which needs the concurrency plugin'],
    [{ concurrency: { store: memoryConcurrency() } }, 'modelGuard.rateLimit must be given with concurrency'],
    [{ ...slotOptions({ concurrency: { principal: 0 } }) }, 'principal must be a whole number of at least 1'],
    [JSON.parse('{ "concurrency": {} }') as object, 'modelGuard.rateLimit'],
    [{ ...slotOptions({ concurrency: JSON.parse('{ "principle": 1 }') as object }) }, 'did you mean principal?']
  ]
  for (const [options, message] of cases) {
    const app = Fastify()
    await t.rejects(async () => { await app.register(modelGuard, guardOptions(options)); await app.ready() }, { code: 'FMG_ERR_OPTION_INVALID', message: new RegExp(message.replaceAll('.', '\\.').replaceAll('?', '\\?')) }, message)
  }
  const app = Fastify()
  await app.register(modelGuard, guardOptions({ rateLimit: limits(5) }))
  await app.ready()
  t.pass('and where there are none, none is needed')
})

t.test('a limit for a model that is not loaded does not boot', async (t) => {
  const start = async (name: string): Promise<void> => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.decorate('models', servedModels({ find: () => null, list: () => [{ id: 'fraud' } as unknown as ModelVersion] }))
    await app.register(authenticate, { authenticators: [testAuthenticator()] })
    await app.register(concurrency, { store: memoryConcurrency(), tiers: { pro: { windows: [], models: { [name]: { concurrency: { model: 1 } } } } }, defaultTier: 'pro' })
    await app.ready()
  }
  await start('fra*')
  await t.rejects(start('fraude'), { code: 'FMG_ERR_OPTION_INVALID', message: /did you mean fraud\?/ })
})

t.test('it comes after what it needs to know, and is told so', async (t) => {
  const app = Fastify()
  await app.register(authenticate, { authenticators: [testAuthenticator()] })
  await app.register(concurrency, { store: memoryConcurrency(), tiers: { pro: tier({}) }, defaultTier: 'pro' })
  await t.rejects(async () => { await app.register(rateLimit, limits(5)) }, { code: 'FMG_ERR_ORDER', message: 'plugin order: register rate-limit before concurrency' })
  await t.rejects(async () => { await Fastify().register(concurrency, { store: memoryConcurrency(), tiers: { pro: tier({}) }, defaultTier: 'none' }) }, { message: /authenticate|defaultTier/ })
  const other = Fastify()
  await other.register(authenticate, { authenticators: [testAuthenticator()] })
  await t.rejects(async () => { await other.register(concurrency, { store: memoryConcurrency(), tiers: { pro: tier({}) }, defaultTier: 'none' }) }, { code: 'FMG_ERR_OPTION_INVALID', message: /concurrency\.defaultTier must be one of pro/ })
})
