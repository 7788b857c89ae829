import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { authzen, type AuthzenOptions } from '../../src/authz/authzen-policy.ts'
import type { Decision, Policy } from '../../src/authz/policy.ts'
import { freezePrincipal } from '../../src/principal.ts'
import { listen } from '../helpers/listen.ts'

const ann = freezePrincipal({
  id: 'ann', type: 'user', org: 'acme', tier: 'standard', roles: ['analyst'], scopes: ['s'], attributes: { grade: 7, roles: ['admin'], team: 'forged' }, credential: { method: 'api-key', id: 'k1', issuer: 'here', boundTo: 'x' }
})
const model = { type: 'model', id: 'fraud', attributes: { sensitivity: 'high', org: 'forged' } }
const decide = async (policy: Policy): Promise<Decision> => await policy.decide(ann, 'predict', model, { environment: 'lab' })

interface Asked {
  readonly request: IncomingMessage
  readonly body: unknown
}

/** A decision point that answers what it is told to, and remembers what it was asked. */
async function pointAt (t: Test, answer: { status?: number, body: string, headers?: Readonly<Record<string, string>> }): Promise<{ readonly url: string, readonly asked: Asked[] }> {
  const asked: Asked[] = []
  const { url } = await listen(t, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => { chunks.push(chunk) })
    request.on('end', () => {
      asked.push({ request, body: JSON.parse(Buffer.concat(chunks).toString()) })
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers }).end(answer.body)
    })
  })
  return { url, asked }
}

const down = { code: 'FMG_ERR_POLICY_UNAVAILABLE', statusCode: 503, reason: 'decision-point-unavailable', headers: { 'retry-after': '5' } }

t.test('it is told what policies ask about, and says yes or no', async (t) => {
  const answer = { body: '{"decision":true,"context":{"reason":"x"},"more":1}' }
  const { url, asked } = await pointAt(t, answer)
  const policy = authzen({ url })
  t.equal(policy.id, `authzen:${url}/access/v1/evaluation`)
  t.same(await decide(policy), { allowed: true, rule: null, reason: 'allowed' })
  answer.body = '{"decision":false}'
  t.same(await decide(policy), { allowed: false, rule: null, reason: 'forbidden' })
  t.same(asked[0]?.body, {
    subject: { type: 'user', id: 'ann', properties: { grade: 7, org: 'acme', tier: 'standard', roles: ['analyst'], scopes: ['s'], credential: { method: 'api-key', issuer: 'here' } } },
    action: { name: 'predict' },
    resource: { type: 'model', id: 'fraud', properties: { sensitivity: 'high' } },
    context: { environment: 'lab' }
  }, 'an attribute does not pass for what it is called')
  t.match(asked[0]?.request, { method: 'POST', url: '/access/v1/evaluation', headers: { 'content-type': 'application/json', accept: 'application/json' } })
  t.notOk('authorization' in (asked[0]?.request.headers ?? {}))
  for (let count = 0; count < 10; count++) await decide(policy)
  t.ok(new Set(asked.map(({ request }) => request.socket)).size <= 2, 'connections are kept')
})

t.test('time is told as text', async (t) => {
  const { url, asked } = await pointAt(t, { body: '{"decision":true}' })
  await authzen({ url }).decide(ann, 'predict', { ...model, org: 'acme' }, { time: 0 })
  await authzen({ url }).decide(ann, 'predict', model, { time: 'noon' })
  t.match(asked[0]?.body, { context: { time: '1970-01-01T00:00:00.000Z' }, resource: { properties: { org: 'acme' } } })
  t.match(asked[1]?.body, { context: { time: 'noon' } })
})

t.test('where it is, what it is told and how it knows who asks are the server\'s choice', async (t) => {
  const { url, asked } = await pointAt(t, { body: '{"decision":true}' })
  const token = { read: async () => Buffer.from('s3cret\n') }
  const policy = authzen({ url, evaluationUrl: `${url}/pdp?key=s3cret`, token, subjectProperties: ({ roles }) => ({ 'cerbos.roles': roles }) })
  t.equal(policy.id, `authzen:${url}/pdp`)
  await decide(policy)
  t.match(asked[0], { request: { url: '/pdp?key=s3cret', headers: { authorization: 'Bearer s3cret' } } })
  t.match(asked[0]?.body, { subject: { properties: { 'cerbos.roles': ['analyst'], grade: undefined } } })
  await decide(authzen({ url: `${url}/tenant/`, token, tokenHeader: 'x-api-key' }))
  t.match(asked[1], { request: { url: '/tenant/access/v1/evaluation', headers: { authorization: undefined } } })
  t.equal(asked[1]?.request.headers['x-api-key'], 's3cret')
})

t.test('whatever is not a decision is none', async (t) => {
  const answer = { status: 200, body: '', headers: {} }
  const { url, asked } = await pointAt(t, answer)
  const policy = authzen({ url, maxFailures: 1000 })
  const bodies = ['', '{}', 'true', '[]', '{"decision":1}', '{"decision":"true"}', '{"decision":null}', '{"decision":true', '{"decision":false,"decision":true}', '{"decision":true,"context":null}', '{"decision":true,"context":[]}', '<html>', `{"decision":true,"x":"${'x'.repeat(65_536)}"}`]
  for (const body of bodies) {
    answer.body = body
    await t.rejects(decide(policy), down, body.slice(0, 60))
  }
  answer.body = '{"decision":true}'
  t.match(await decide(policy), { allowed: true })
  for (const status of [201, 204, 400, 401, 403, 404, 429, 500, 503]) {
    answer.status = status
    await t.rejects(decide(policy), down, String(status))
  }
  Object.assign(answer, { status: 307, headers: { location: `${url}/elsewhere` } })
  const before = asked.length
  await t.rejects(decide(policy), down, 'a redirect')
  t.equal(asked.length, before + 1, 'which is not followed')
})

t.test('obligations that this project can meet come with the decision, any other makes it a denial', async (t) => {
  const answer = { body: '' }
  const { url } = await pointAt(t, answer)
  const policy = authzen({ url, tiers: ['gold'] })
  t.same(policy.tiers, ['gold'])
  const obliged = async (obligations: unknown, decision = true): Promise<Decision> => {
    answer.body = JSON.stringify({ decision, context: { obligations } })
    return await decide(policy)
  }
  const own = (said: object): unknown => ({ id: 'x', type: 'custom', properties: { vendor: 'fastify-model-guard', ...said } })
  t.same(await obliged([own({ mask: ['a.b', 'c'] }), own({ tier: 'gold' }), own({ record: 'full-metadata' })]), { allowed: true, rule: null, reason: 'allowed', obligations: { mask: ['a.b', 'c'], tier: 'gold', record: 'full-metadata' } })
  t.same(await obliged([own({ record: 'full-metadata' })], false), { allowed: false, rule: null, reason: 'forbidden', obligations: { record: 'full-metadata' } })
  t.same(await obliged([]), { allowed: true, rule: null, reason: 'allowed', obligations: {} })
  const unknown: readonly unknown[] = [
    null, {}, 'mask', { mask: ['a'] }, [null], ['mask'], [{}],
    [{ id: 'x', type: 'step-up', properties: { vendor: 'fastify-model-guard', mask: ['a'] } }],
    [{ id: 'x', type: 'custom' }], [{ id: 'x', type: 'custom', properties: { mask: ['a'] } }], [{ id: 'x', type: 'custom', properties: { vendor: 'other', mask: ['a'] } }],
    [own({})], [own({ mask: ['a'], tier: 'gold' })], [own({ watermark: true })],
    [own({ mask: 'a' })], [own({ mask: ['*'] })], [own({ mask: [''] })], [own({ mask: ['a..b'] })], [own({ mask: [1] })], [own({ mask: ['a'] }), own({ mask: ['b'] })],
    [own({ tier: 'silver' })], [own({ tier: 1 })], [own({ tier: 'gold' }), own({ tier: 'gold' })],
    [own({ record: 'none' })], [own({ mask: ['a'] }), { id: 'y', type: 'notification', properties: {} }]
  ]
  for (const obligations of unknown) t.same(await obliged(obligations), { allowed: false, rule: null, reason: 'policy-error' }, JSON.stringify(obligations))
})

t.test('one that does not answer in time is not waited for', async (t) => {
  const { url } = await listen(t, () => undefined)
  await t.rejects(decide(authzen({ url, timeoutMs: 20 })), { ...down, cause: { name: 'TimeoutError' } })
  const slow = await listen(t, (_request, response) => { response.writeHead(200).write('{"decision"') })
  await t.rejects(decide(authzen({ url: slow.url, timeoutMs: 50 })), { ...down, cause: { name: 'TimeoutError' } })
})

/** A decision point that can be switched off, and a clock that the test sets. */
async function switched (t: Test, more: Partial<AuthzenOptions> = {}): Promise<{ readonly policy: Policy, readonly point: { status: number, body: string, asked: number }, readonly time: { now: number } }> {
  const point = { status: 200, body: '{"decision":true}', asked: 0 }
  const time = { now: 0 }
  const server = createServer((request, response) => {
    point.asked++
    request.resume()
    response.writeHead(point.status).end(point.body)
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  return { policy: authzen({ url: `http://127.0.0.1:${port}`, maxFailures: 3, retryMs: 2000, clock: () => time.now, ...more }), point, time }
}

t.test('after some failures in a row it is asked now and then, and the first answer ends that', async (t) => {
  const { policy, point, time } = await switched(t)
  point.status = 500
  for (const wait of [1, 2, 3]) await t.rejects(decide(policy), { code: 'FMG_ERR_POLICY_UNAVAILABLE', reason: 'decision-point-unavailable' }, `failure ${wait}`)
  t.equal(point.asked, 3)
  await t.rejects(decide(policy), { code: 'FMG_ERR_POLICY_UNAVAILABLE', reason: 'decision-point-resting', headers: { 'retry-after': '2' } })
  time.now = 1001
  await t.rejects(decide(policy), { code: 'FMG_ERR_POLICY_UNAVAILABLE', reason: 'decision-point-resting', headers: { 'retry-after': '1' } })
  t.equal(point.asked, 3, 'nobody was asked')
  time.now = 2000
  const [trial, other] = await Promise.allSettled([decide(policy), decide(policy)])
  t.match([trial, other], [{ reason: { reason: 'decision-point-unavailable' } }, { reason: { reason: 'decision-point-resting' } }], 'one tries for all')
  t.equal(point.asked, 4)
  point.status = 200
  await t.rejects(decide(policy), { code: 'FMG_ERR_POLICY_UNAVAILABLE', reason: 'decision-point-resting' })
  time.now = 4000
  t.match(await decide(policy), { allowed: true })
  t.match(await decide(policy), { allowed: true })
  t.equal(point.asked, 6)
})

t.test('nonsense is a failure like others, and so is nobody there', async (t) => {
  const { policy, point } = await switched(t)
  point.body = '<html>'
  for (let count = 0; count < 10; count++) await t.rejects(decide(policy), { code: 'FMG_ERR_POLICY_UNAVAILABLE' })
  t.equal(point.asked, 3)
  const { url, stop } = await listen(t, () => undefined)
  stop()
  const gone = authzen({ url, maxFailures: 1 })
  await t.rejects(decide(gone), down)
  await t.rejects(decide(gone), { ...down, reason: 'decision-point-resting' })
})

t.test('failures that do not come in a row are none of its business', async (t) => {
  const { policy, point } = await switched(t)
  for (const status of [500, 500, 200, 500, 500, 400, 500, 500, 200]) {
    point.status = status
    await decide(policy).catch(() => undefined)
  }
  t.equal(point.asked, 9)
})

t.test('questions that it refuses do not end those of others, for a caller may bring them about', async (t) => {
  const { policy, point } = await switched(t)
  point.status = 400
  for (let count = 0; count < 10; count++) await t.rejects(decide(policy), { code: 'FMG_ERR_POLICY_UNAVAILABLE', reason: 'decision-point-unavailable' })
  t.equal(point.asked, 10)
  point.status = 429
  for (let count = 0; count < 10; count++) await t.rejects(decide(policy))
  t.equal(point.asked, 13, 'too many questions are a reason to rest')
})

t.test('a token that cannot be had, or that no header holds, is neither sent nor shown', async (t) => {
  const { url, asked } = await pointAt(t, { body: '{"decision":true}' })
  for (const text of ['s3cret\r\nx: y', 's3cr\u00e9t', '', '\n', ' s3cret']) {
    const refused = decide(authzen({ url, token: { read: async () => Buffer.from(text) } }))
    await t.rejects(refused, { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'decision-point-token', statusCode: 503 })
    t.notMatch(JSON.stringify(await refused.catch((error: unknown) => error)), 's3cr')
  }
  t.equal(asked.length, 0)
})

t.test('what is wrong with its options is said at once', async (t) => {
  const refused = (options: unknown, message: RegExp): void => {
    // @ts-expect-error: as a configuration may have it
    t.throws(() => authzen(options), { code: 'FMG_ERR_OPTION_INVALID', message })
  }
  refused({}, /authzen\.url must be an https URL/)
  for (const url of ['http://pdp.example', 'https://user:password@pdp.example', 'ftp://pdp.example', 'pdp.example']) refused({ url }, /authzen\.url must be an https URL/)
  refused({ url: 'https://pdp.example', evaluationUrl: 'http://pdp.example' }, /authzen\.evaluationUrl/)
  refused({ url: 'https://pdp.example', tokenHeader: 'X-Key' }, /authzen\.tokenHeader/)
  refused({ url: 'https://pdp.example', timeoutMS: 1 }, /did you mean timeoutMs/)
})

t.test('what JSON cannot hold is asked of nobody', async (t) => {
  const { url, asked } = await pointAt(t, { body: '{"decision":true}' })
  await t.rejects(Promise.resolve(authzen({ url }).decide(ann, 'predict', model, { big: 1n })), TypeError)
  t.equal(asked.length, 0)
})
