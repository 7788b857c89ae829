import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import type { Context, Policy } from '../../src/authz/policy.ts'
import type { Limiter } from '../../src/limits/limiter.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { bodyMember, model, param } from '../../src/plugins/resource.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, policy, recordsIn } from '../helpers/guard.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', tier: 'gold', roles: ['analyst'], attributes: { clearance: 2 } })
const answer = { label: 'cat', scores: [1, 2], user: { id: 'ann', mail: 'ann@acme.example' }, rows: [{ id: 1, mail: 'x' }, 7, null] }

/** The policy of a user who has written none of ours. */
function obliging (obligations: object | undefined, tiers?: readonly string[]): Policy {
  return { id: 'own', ...tiers && { tiers }, decide: () => ({ allowed: true, rule: 'own', reason: 'allowed', obligations }) }
}

async function answering (t: Test, send: (reply: FastifyReply) => unknown, options: Partial<ModelGuardOptions>): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions(options))
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async (_request, reply) => await send(reply))
  return app
}

const ask = async (app: FastifyInstance, url = '/models/acme-1', payload: object = {}): Promise<Awaited<ReturnType<FastifyInstance['inject']>>> =>
  await app.inject({ method: 'POST', url, payload, ...ann })

t.test('masked members are not in the answer', async (t) => {
  const answered = async (mask: readonly string[], send: unknown = answer): Promise<unknown> =>
    (await ask(await answering(t, () => send, { authorize: { policy: obliging({ mask }) } }))).json()
  t.same(await answered(['scores', 'user.mail', 'rows.mail']), { label: 'cat', user: { id: 'ann' }, rows: [{ id: 1 }, 7, null] })
  t.same(await answered(['absent', 'label.length', 'scores.0']), answer, 'what is not there is not missed')
  t.same(await answered(['user', 'user.id']), { label: 'cat', scores: [1, 2], rows: answer.rows })
  t.same(await answered(['scores'], [answer, { scores: 1 }]), [{ label: answer.label, user: answer.user, rows: answer.rows }, {}])
  t.same(await answered(['scores', 'at.day'], { toJSON: () => ({ scores: 3, at: new Date(0), kept: true }) }), { at: '1970-01-01T00:00:00.000Z', kept: true })
  t.same(answer.scores, [1, 2], 'the handler\'s own value is not changed')
})

t.test('an answer in which nothing can be masked does not leave', async (t) => {
  let stream: Readable | undefined
  const secret = JSON.stringify(answer)
  const answers: ((reply: FastifyReply) => unknown)[] = [
    (reply) => reply.type('application/json').send(secret),
    () => Buffer.from(secret),
    (reply) => reply.send(stream = Readable.from([secret])),
    (reply) => reply.send(new Response(secret))
  ]
  for (const send of answers) {
    const app = await answering(t, send, { authorize: { policy: obliging({ mask: ['scores'] }) }, audit: await auditIn(t.testdir()) })
    const response = await ask(app)
    t.equal(response.statusCode, 403)
    t.match(response.json(), { code: 'FMG_ERR_ACCESS_DENIED', message: 'access denied' })
    t.notMatch(response.body, 'cat')
    await app.close()
    const records = recordsIn(t.testdirName)
    const last = records.at(-1)
    t.match(last, { status: 'denied', reason: 'answer-not-maskable', http_status: 403 }, 'the last word of the log')
  }
  t.equal(stream?.destroyed, true)
  const empty = await answering(t, (reply) => reply.code(204).send(), { authorize: { policy: obliging({ mask: ['scores'] }) } })
  t.equal((await ask(empty)).statusCode, 204)
  const failing = await answering(t, () => { throw new Error('own') }, { authorize: { policy: obliging({ mask: ['scores', 'stack'] }) } })
  t.match((await ask(failing)).json(), { statusCode: 500, message: 'own' })
  const refusing = await answering(t, (reply) => reply.code(404).send('no such thing'), { authorize: { policy: obliging({ mask: ['scores'] }) } })
  t.equal((await ask(refusing)).body, 'no such thing', 'a refusal of the handler\'s own is no answer')
  for (const send of answers) {
    const failed = await answering(t, (reply) => send(reply.code(500)), { authorize: { policy: obliging({ mask: ['scores'] }) } })
    t.match(await ask(failed), { statusCode: 403, body: /access denied/ }, 'nor is an answer a refusal because of its status')
  }
})

t.test('what takes the place of a masked answer is masked, too', async (t) => {
  const instead = async (send: (reply: FastifyReply) => unknown): Promise<Awaited<ReturnType<typeof ask>>> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(modelGuard, guardOptions({ authorize: { policy: obliging({ mask: ['scores'] }) } }))
    let isFirst = true
    app.addHook('onSend', async () => {
      if (isFirst) { isFirst = false; throw new Error('own') }
    })
    app.setErrorHandler((_error, _request, reply) => send(reply))
    app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async () => answer)
    return await ask(app)
  }
  t.same((await instead((reply) => reply.code(200).send(answer))).json(), { label: 'cat', user: answer.user, rows: answer.rows })
  const text = await instead((reply) => reply.code(200).type('application/json').send(JSON.stringify(answer)))
  t.notMatch(text.body, 'scores')
})

t.test('what nobody here can do denies', async (t) => {
  const rateLimit = { limiter: memoryLimiter(), tiers: { slow: { windows: [{ name: 'm', quota: 9, windowSeconds: 60 }] } }, defaultTier: 'slow' }
  const status = async (obligations: object | undefined, more: Partial<ModelGuardOptions> = {}): Promise<number> =>
    (await ask(await answering(t, () => answer, { authorize: { policy: obliging(obligations, ['slow']) }, ...more }))).statusCode
  t.equal(await status(undefined), 200)
  t.equal(await status({}), 200)
  t.equal(await status({ mask: undefined, record: 'full-metadata' }), 200)
  for (const unknown of [{ notify: 'ops' }, { notify: 'full-metadata' }, { mask: 'scores' }, { mask: [3] }, { mask: ['scores*'] }, { mask: ['a..b'] }, { tier: 3 }, { record: 'some' }, { record: 'full-metadata', delay: 1 }]) t.equal(await status(unknown), 403, JSON.stringify(unknown))
  t.equal(await status({ tier: 'slow' }), 403, 'nobody counts')
  t.equal(await status({ tier: 'slow' }, { rateLimit }), 200)
  t.equal(await status({ tier: 3 }, { rateLimit }), 403)
  t.equal(await status({ tier: 'slow' }, { rateLimit, authorize: { policy: obliging({ tier: 'slow' }) } }), 403, 'it was charged before anyone knew')
})

t.test('what cannot be done is denied, and recorded as it would have been', async (t) => {
  const full = { tier: 'slow', record: 'full-metadata' }
  const app = await answering(t, () => answer, { authorize: { policy: obliging(full) }, audit: await auditIn(t.testdir()) })
  t.equal((await ask(app)).statusCode, 403)
  await app.close()
  t.match(recordsIn(t.testdirName).at(-1), { status: 'denied', reason: 'policy-error', detail: { metadata: { principal: { tier: 'gold' } } } })
})

t.test('in observe mode answers leave as they are', async (t) => {
  const app = await answering(t, () => answer, { authorize: { policy: obliging({ mask: ['scores'] }) }, mode: 'observe' })
  t.same((await ask(app)).json(), answer)
})

const tiers = {
  gold: { windows: [{ name: 'minute', quota: 3, windowSeconds: 60 }] },
  slow: { windows: [{ name: 'minute', quota: 1, windowSeconds: 60 }] },
  wide: { windows: [{ name: 'minute', quota: 9, windowSeconds: 60 }] }
}
const tiered = policy(`version: 1
roles:
  analyst: { permissions: [model:predict], org: '*' }
policies:
  - { name: scarce, effect: oblige, resource: { id: 'scarce-*' }, obligations: { tier: slow } }
  - { name: batch, effect: oblige, resource: { id: 'batch-*' }, obligations: { tier: wide } }
  - { name: never, effect: deny, resource: { id: 'never-*' } }
`)

t.test('a request is charged under the tier to which the policy obliges, beside its own', async (t) => {
  const app = await answering(t, () => answer, { authorize: { policy: tiered }, rateLimit: { limiter: memoryLimiter({ now: () => 0 }), tiers, defaultTier: 'gold' } })
  const statuses = async (id: string, times: number): Promise<number[]> => {
    const all = []
    for (let index = 0; index < times; index++) all.push((await ask(app, `/models/${id}`)).statusCode)
    return all
  }
  const first = await ask(app, '/models/scarce-1')
  t.equal(first.statusCode, 200)
  t.equal(first.headers['ratelimit-policy'], '"slow.minute";q=1;w=60')
  t.match(first.headers['ratelimit'], /^"slow.minute";r=0/)
  t.same(await statuses('scarce-2', 1), [429])
  t.same(await statuses('never-1', 1), [403], 'what is denied is charged to the own tier')
  t.same(await statuses('other', 3), [200, 200, 429])
  t.same(await statuses('never-1', 1), [429])
  t.same(await statuses('batch-1', 10), [...Array.from({ length: 9 }, () => 200), 429], 'a wider tier is not held back by the own one')
})

t.test('where the body says what it is about, it is charged when that is known', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let asked = 0
  const counting: Policy = { id: 'own', tiers: tiered.tiers, decide: async (...question) => { asked++; return tiered.decide(...question) } }
  await app.register(modelGuard, guardOptions({ authorize: { policy: counting }, rateLimit: { limiter: memoryLimiter({ now: () => 0 }), tiers, defaultTier: 'gold' } }))
  const access = { action: 'predict', resource: model(bodyMember('model')) }
  app.post('/predict', { config: { access } }, async () => 'done')
  app.post('/rows', { config: { access, cost: () => 2 } }, async () => 'done')
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) }, cost: () => 1 } }, async () => 'done')
  t.equal((await ask(app, '/predict', { model: 'scarce-1' })).headers['ratelimit-policy'], '"slow.minute";q=1;w=60')
  t.equal(asked, 1, 'the policy is asked once')
  t.equal((await ask(app, '/predict', { model: 'scarce-1' })).statusCode, 429)
  t.equal((await ask(app, '/models/scarce-1')).statusCode, 429)
  t.equal((await ask(app, '/rows', { model: 'batch-1' })).headers['ratelimit'], '"wide.minute";r=7;t=60')
  t.equal((await ask(app, '/predict', { model: 'x' })).headers['ratelimit'], '"minute";r=2;t=60')
  t.equal((await ask(app, '/predict', {})).statusCode, 400, 'what cannot be judged is refused, and charged')
  t.equal((await ask(app, '/predict', { model: 'x' })).headers['ratelimit'], '"minute";r=0;t=60')
})

t.test('where the cost is known after the decision, the tier is that of the decision', async (t) => {
  let asked = 0
  const counting: Policy = { id: 'own', decide: () => { asked++; return { allowed: true, rule: null, reason: 'allowed', obligations: { tier: 'slow' } } } }
  const app = async (rateLimit?: ModelGuardOptions['rateLimit']): Promise<FastifyInstance> => {
    const made = Fastify()
    t.teardown(() => made.close())
    await made.register(modelGuard, guardOptions({ authorize: { policy: counting }, ...rateLimit && { rateLimit } }))
    made.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) }, cost: () => 1 } }, async () => 'done')
    made.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model')) }, cost: () => 1 } }, async () => 'done')
    return made
  }
  const limited = await app({ limiter: memoryLimiter({ now: () => 0 }), tiers, defaultTier: 'gold' })
  t.equal((await ask(limited)).headers['ratelimit-policy'], '"slow.minute";q=1;w=60')
  t.equal(asked, 1, 'the policy is asked once')
  t.equal((await ask(limited, '/predict', { model: 'x' })).statusCode, 403, 'a policy that does not say its tiers was not asked before the charge')
  t.equal((await ask(await app())).statusCode, 403, 'nobody charges')
})

t.test('where no other tier can be due, nobody waits for the body', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ rateLimit: { limiter: memoryLimiter({ now: () => 0 }), tiers, defaultTier: 'gold' } }))
  app.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model')) } } }, async () => 'done')
  const statuses = []
  for (let index = 0; index < 4; index++) {
    statuses.push((await app.inject({ method: 'POST', url: '/predict', payload: '{', headers: { ...ann.headers, 'content-type': 'application/json' } })).statusCode)
  }
  t.same(statuses, [400, 400, 400, 429])
})

t.test('a policy that fails is asked no other way', async (t) => {
  const failing: Policy = { id: 'own', tiers: ['slow'], decide: async () => await Promise.reject(new Error('down')) }
  const app = await answering(t, () => answer, { authorize: { policy: failing }, rateLimit: { limiter: memoryLimiter({ now: () => 0 }), tiers, defaultTier: 'gold' } })
  const response = await ask(app)
  t.equal(response.statusCode, 403)
  t.match(response.headers['ratelimit-policy'], '"minute"')
})

t.test('a policy that fails once does not have its tier forgotten', async (t) => {
  let failures = 0
  const context = (): Context => {
    if (failures++ === 0) throw new Error('own')
    return {}
  }
  const app = await answering(t, () => answer, { authorize: { policy: tiered, context }, rateLimit: { limiter: memoryLimiter({ now: () => 0 }), tiers, defaultTier: 'gold' } })
  t.equal((await ask(app, '/models/scarce-1')).statusCode, 403)
  t.equal((await ask(app, '/models/scarce-1')).headers['ratelimit-policy'], '"slow.minute";q=1;w=60')
})

t.test('a policy that is read again under way has nothing charged twice, or never, and is not named for the one before', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let [now, next] = [tiered.tiers, tiered.tiers]
  let id = 'before'
  const limiter = memoryLimiter({ now: () => 0 })
  const policy: Policy = { get id () { return id }, get tiers () { return now }, decide: (...question) => tiered.decide(...question) }
  const consume: Limiter['consume'] = async (...asked) => { id = 'after'; return limiter.consume(...asked) }
  await app.register(modelGuard, guardOptions({ authorize: { policy }, rateLimit: { limiter: { ...limiter, consume }, tiers, defaultTier: 'gold' } }))
  app.addHook('preParsing', async () => { now = next })
  app.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model')) } } }, async ({ decision }) => decision?.policy)
  const [first, second] = [tiered.tiers, []]
  for (const [index, change] of [[first, second], [second, first], [second, first], [first, second]].entries()) {
    [now = first, next = first] = change
    const response = await ask(app, '/predict', { model: 'x' })
    t.match(response.headers['ratelimit'], new RegExp(`r=${Math.max(0, 2 - index)}`))
    t.equal(response.statusCode, index < 3 ? 200 : 429)
  }
  id = 'before'
  now = next = first
  t.equal((await ask(app, '/predict', { model: 'batch-1' })).body, 'before')
})

t.test('a tier that nobody has keeps the server from starting, and after a reload refuses', async (t) => {
  const rateLimit = { limiter: memoryLimiter(), tiers: { gold: tiers.gold }, defaultTier: 'gold' }
  const app = await answering(t, () => answer, { authorize: { policy: tiered }, rateLimit })
  await t.rejects(async () => { await app.ready() }, { code: 'FMG_ERR_OPTION_INVALID', message: /rateLimit\.tiers must hold slow/ })
  let now: readonly string[] = []
  const reloaded = await answering(t, () => answer, { authorize: { policy: { id: 'own', get tiers () { return now }, decide: (...question) => tiered.decide(...question) } }, rateLimit })
  await reloaded.ready()
  now = ['slow']
  const response = await ask(reloaded, '/models/scarce-1')
  t.equal(response.statusCode, 503)
  t.match(response.json(), { code: 'FMG_ERR_POLICY_UNAVAILABLE' })
  t.equal((await ask(reloaded)).statusCode, 200)
})

t.test('the full record says all that the policy was told, but for the address', async (t) => {
  const app = await answering(t, () => answer, {
    authorize: {
      policy: policy(`version: 1
roles:
  analyst: { permissions: [model:predict], org: '*' }
policies:
  - { name: watched, effect: oblige, resource: { id: 'watched-*' }, obligations: { record: full-metadata } }
  - { name: never, effect: deny, resource: { id: 'never-*' }, obligations: { record: full-metadata } }
`),
      context: () => ({ environment: 'staging', method: 'made up' })
    },
    audit: await auditIn(t.testdir())
  })
  for (const id of ['watched-1', 'never-1', 'other']) await ask(app, `/models/${id}`)
  await app.close()
  const [watched, never, other] = recordsIn(t.testdirName).filter(({ action }) => action === 'predict')
  const metadata = {
    principal: { type: 'user', tier: 'gold', roles: ['analyst'], scopes: [], attributes: { clearance: 2 }, credential: {} },
    resource: { type: 'model', id: 'watched-1', attributes: {} },
    context: { environment: 'staging', method: 'POST', tls: false }
  }
  t.match(watched?.['detail'], { metadata })
  t.match(never, { status: 'denied', detail: { metadata: { resource: { id: 'never-1' } } } })
  t.equal(other?.['detail'], undefined)
  t.notMatch(JSON.stringify([watched, never]), '127.0.0.1')
})
