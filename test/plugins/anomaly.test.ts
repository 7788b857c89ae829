import Fastify, { type FastifyInstance } from 'fastify'
import { generateKeyPairSync } from 'node:crypto'
import path from 'node:path'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import type { Alert } from '../../src/audit/watch/alert.ts'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { freezePrincipal } from '../../src/principal.ts'
import { anomaly } from '../../src/plugins/anomaly.ts'
import type { AnomalyOptions } from '../../src/plugins/anomaly-options.ts'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import type { ModelHandle } from '../../src/plugins/model-handle.ts'
import { recording } from '../../src/plugins/recording.ts'
import { modelFor } from '../../src/plugins/request-work.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'
import { until } from '../helpers/until.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
const bob = asPrincipal({ id: 'bob', org: 'acme', roles: ['analyst'] })
const floats = (...values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer)
const handle: ModelHandle = {
  id: 'acme-m',
  version: '1',
  digest: 'sha256:1',
  attributes: {},
  inputs: [],
  outputs: [],
  ready: true,
  waitMs: 0,
  runMs: 0,
  run: async () => ({ outputs: { scores: { datatype: 'FP32', shape: [1, 3], data: floats(0.125, 0.777, 0.1) } }, computeMs: 1 })
}

const signer = localSigner(generateKeyPairSync('ed25519').privateKey)

type TestApp = FastifyInstance & { reached: number, alerts: Alert[], streams: Readable[] }

/** The ceiling is three requests in a minute: the fourth raises an alert. */
async function appIn (t: Test, folder: string, options: AnomalyOptions = {}, more: Partial<ModelGuardOptions> = {}): Promise<TestApp> {
  const alerts: Alert[] = []
  const streams: Readable[] = []
  const app = Object.assign<FastifyInstance, { reached: number, alerts: Alert[], streams: Readable[] }>(Fastify(), { reached: 0, alerts, streams })
  t.teardown(() => app.close())
  const watch = { rules: { ceiling: { requests: 3 } } }
  await app.register(modelGuard, guardOptions({ audit: await auditIn(folder, 'before-response', signer), anomaly: { watch, onAlert: (alert) => { alerts.push(alert) }, ...options }, ...more }))
  const access = { action: 'predict', resource: model(param('model'), { attributes: () => ({ org: 'acme' }) }) }
  app.get('/known', { config: { access: 'authenticated' } }, async () => {
    app.reached++
    return 'x'
  })
  app.post('/run/:model', { config: { access } }, async (request) => {
    app.reached++
    const { outputs } = await modelFor(request, handle).run({})
    const data = outputs['scores']?.data
    return { scores: data instanceof Uint8Array ? Array.from(new Float32Array(new Uint8Array(data).buffer)) : [] }
  })
  app.post('/own/:model', { config: { access } }, async () => ({ scores: [0.125, 0.777, 0.1] }))
  app.post('/stream/:model', { config: { access } }, async () => {
    const stream = Readable.from(['0.125'])
    streams.push(stream)
    return stream
  })
  app.post('/fails/:model', { config: { access } }, async () => { throw new Error('no') })
  app.get('/about/:model', { config: { access: { ...access, action: 'read' } } }, async () => ({ name: 'm' }))
  return app
}

async function provoke (app: FastifyInstance, who = ann): Promise<void> {
  for (let index = 0; index < 4; index++) await app.inject({ url: '/known', ...who })
}

const reactingWith = (...actions: NonNullable<NonNullable<AnomalyOptions['reactions']>['ceiling']>['actions'] & object): AnomalyOptions => ({ reactions: { ceiling: { actions } } })
const changes = (folder: string): unknown[] => recordsIn(folder).filter(({ action }) => String(action).startsWith('anomaly:')).map(({ action, reason, user_id: user, detail }) => ({ action, reason, user, detail }))

t.test('an alert is told, listed, and recorded by pseudonym with its evidence, and does nothing by itself', async (t) => {
  const folder = t.testdir()
  const app = await appIn(t, folder)
  await provoke(app)
  t.match(app.alerts, [{ rule: 'ceiling', measured: 4, threshold: 3, evidence: [1, 2, 3, 4] }])
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
  const user = app[recording].identities.principal('ann').pseudonym
  t.match(changes(folder), [{ action: 'anomaly:alert', reason: 'ceiling', user, detail: { id: 'ceiling-4', measured: 4, threshold: 3, evidence: [1, 2, 3, 4], mode: 'enforce' } }])
  t.match(app.anomalies.alerts(), [{ id: 'ceiling-4', subject: user }])
  t.same(app.anomalies.list(), [])
  t.notMatch(JSON.stringify(recordsIn(folder)), '"ann"')
})

t.test('suspended: refused before the handler until the time is over or it is lifted; others are not', async (t) => {
  let passed = 0
  const folder = t.testdir()
  const app = await appIn(t, folder, { ...reactingWith({ action: 'suspend', seconds: 60 }), clock: () => Date.now() + passed })
  await provoke(app)
  const reached = app.reached
  const refused = await app.inject({ url: '/known', ...ann })
  t.match(refused.json(), { statusCode: 403, code: 'FMG_ERR_ACCESS_DENIED' })
  t.match(refused.headers['retry-after'], /^(59|60|61)$/)
  t.equal(app.reached, reached)
  t.equal((await app.inject({ url: '/known', ...bob })).statusCode, 200)
  t.match(recordsIn(folder).find(({ status }) => status === 'denied'), { reason: 'anomaly-suspended' })
  await provoke(app, bob)
  const subject = app[recording].identities.principal('bob').pseudonym
  t.equal((await app.inject({ url: '/known', ...bob })).statusCode, 403)
  t.equal(await app.anomalies.lift(subject, 'root', 'coarsen'), false)
  t.equal(await app.anomalies.lift(subject, 'root'), true)
  t.equal(await app.anomalies.lift(subject, undefined), false)
  t.equal((await app.inject({ url: '/known', ...bob })).statusCode, 200)
  t.match(changes(folder).at(-1), { action: 'anomaly:lift', reason: 'ceiling', user: subject, detail: { action: 'suspend', by: app[recording].identities.principal('root').pseudonym } })
  passed = 61_000
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
})

t.test('lifted without a name it is recorded without one', async (t) => {
  const folder = t.testdir()
  const app = await appIn(t, folder, reactingWith({ action: 'suspend' }))
  await provoke(app)
  t.equal(await app.anomalies.lift(app[recording].identities.principal('ann').pseudonym, undefined), true)
  t.notOk('by' in Object((changes(folder).at(-1) as { detail: object }).detail))
})

t.test('tightened: a limit of its own, beside all others', async (t) => {
  const app = await appIn(t, t.testdir(), { ...reactingWith({ action: 'tighten' }), tightRequestsAMinute: 2 })
  await provoke(app)
  const statuses = []
  for (let index = 0; index < 3; index++) statuses.push((await app.inject({ url: '/known', ...ann })).statusCode)
  t.same(statuses, [200, 200, 429])
  const refused = await app.inject({ url: '/known', ...ann })
  t.match(refused.json(), { code: 'FMG_ERR_QUOTA_EXCEEDED' })
  t.ok(Number(refused.headers['retry-after']) > 0)
  t.equal((await app.inject({ url: '/known', ...bob })).statusCode, 200)
})

t.test('coarsened: the highest label alone, rounded; what cannot be made coarse does not leave', async (t) => {
  const app = await appIn(t, t.testdir(), reactingWith({ action: 'coarsen' }))
  const run = async (place: string, who = ann): Promise<unknown> => (await app.inject({ method: 'POST', url: place, ...who })).json()
  t.match(await run('/run/acme-m'), { scores: [0.125, 0.7770000100135803, 0.10000000149011612] })
  await provoke(app)
  t.same(await run('/run/acme-m'), { scores: [0, 0.7799999713897705, 0] })
  t.match(await run('/own/acme-m'), { statusCode: 403, code: 'FMG_ERR_ACCESS_DENIED' })
  t.match(await run('/stream/acme-m'), { statusCode: 403, code: 'FMG_ERR_ACCESS_DENIED' })
  t.ok(app.streams[0]?.destroyed)
  t.match(await run('/fails/acme-m'), { statusCode: 500, message: 'no' })
  t.match((await app.inject({ url: '/about/acme-m', ...ann })).json(), { name: 'm' })
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
  t.match(await run('/own/acme-m', bob), { scores: [0.125, 0.777, 0.1] })
  t.match(await run('/run/acme-m', bob), { scores: [0.125, 0.7770000100135803, 0.10000000149011612] })
})

t.test('a fresh credential is demanded: 401 with a challenge until one comes that was issued after the alert', async (t) => {
  let issuedAt: number | undefined
  const authenticator: Authenticator = {
    isMine: () => true,
    authenticate: () => freezePrincipal({ id: 'ann', type: 'user', org: 'acme', tier: 't', roles: ['analyst'], scopes: [], attributes: {}, credential: { method: 'api-key', id: 'k', ...issuedAt !== undefined && { issuedAt } } })
  }
  const folder = t.testdir()
  const app = await appIn(t, folder, reactingWith({ action: 'fresh-credential' }), { authenticate: { authenticators: [authenticator] } })
  const who = { headers: { authorization: 'Bearer x' } }
  issuedAt = Date.now() - 1000
  await provoke(app, who)
  const refused = await app.inject({ url: '/known', ...who })
  t.match(refused.json(), { statusCode: 401, code: 'FMG_ERR_CREDENTIAL_INVALID' })
  t.match(refused.headers['www-authenticate'], /^Bearer .*error="invalid_token"/)
  issuedAt = undefined
  t.equal((await app.inject({ url: '/known', ...who })).statusCode, 401, 'one of which nobody says when')
  issuedAt = Date.now() + 1000
  t.equal((await app.inject({ url: '/known', ...who })).statusCode, 200)
  t.match(recordsIn(folder).find(({ reason }) => reason === 'anomaly-credential-not-fresh'), { status: 'unauthenticated', http_status: 401 })
})

t.test('in shadow nobody notices, and the records say what would have been', async (t) => {
  const folder = t.testdir()
  const app = await appIn(t, folder, reactingWith({ action: 'suspend', mode: 'shadow' }, { action: 'coarsen', mode: 'shadow' }))
  await provoke(app)
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
  t.match(recordsIn(folder).at(-1), { status: 'success', reason: 'observed-anomaly-suspended' })
  t.match((await app.inject({ method: 'POST', url: '/own/acme-m', ...ann })).json(), { scores: [0.125, 0.777, 0.1] })
  t.match(changes(folder), [{ action: 'anomaly:alert' }, { action: 'anomaly:act', detail: { action: 'suspend', mode: 'shadow' } }, { action: 'anomaly:act', detail: { action: 'coarsen' } }])
  t.equal(app.alerts.length, 1)
})

t.test('what is enforced comes before what is only tried', async (t) => {
  const app = await appIn(t, t.testdir(), { ...reactingWith({ action: 'suspend', mode: 'shadow' }, { action: 'tighten' }), tightRequestsAMinute: 1 })
  await provoke(app)
  t.same([(await app.inject({ url: '/known', ...ann })).statusCode, (await app.inject({ url: '/known', ...ann })).statusCode], [200, 429])
})

t.test('a rule in shadow is recorded, and that is all', async (t) => {
  const folder = t.testdir()
  const app = await appIn(t, folder, { reactions: { ceiling: { mode: 'shadow', actions: [{ action: 'suspend' }] } } })
  await provoke(app)
  await app[recording].log.checkpoint()
  t.same([app.alerts, app.anomalies.list()], [[], []])
  t.match(changes(folder), [{ action: 'anomaly:alert', detail: { mode: 'shadow' } }])
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
})

t.test('in observe mode nobody is refused, nor answered coarsely', async (t) => {
  const app = await appIn(t, t.testdir(), reactingWith({ action: 'suspend' }, { action: 'coarsen' }), { mode: 'observe' })
  await provoke(app)
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
  t.match((await app.inject({ method: 'POST', url: '/own/acme-m', ...ann })).json(), { scores: [0.125, 0.777, 0.1] })
})

t.test('nothing is done about strangers, but for the alert', async (t) => {
  const folder = t.testdir()
  const app = await appIn(t, folder, { watch: { rules: { probing: { failures: 3 } } }, reactions: { probing: { actions: [{ action: 'suspend' }] } } })
  for (let index = 0; index < 4; index++) await app.inject({ url: '/known', headers: { authorization: 'Test x.y' } })
  await until(() => app.alerts.length === 1)
  t.match(app.alerts, [{ rule: 'probing', kind: 'address', measured: 4 }])
  t.same(app.anomalies.list(), [])
  await app[recording].log.checkpoint()
  t.match(changes(folder), [{ action: 'anomaly:alert', user: undefined, detail: { address: app.alerts[0]?.subject } }])
})

t.test('alerts are sent, and one who does not want to hear keeps nobody from it', async (t) => {
  const sent: { url: string, body: unknown }[] = []
  const webhook = {
    url: 'https://example.com/',
    secret: Buffer.alloc(24),
    fetch: async (url: string, { body }: RequestInit) => {
      sent.push({ url, body: JSON.parse(typeof body === 'string' ? body : '') as unknown })
      return new Response(null, { status: 204 })
    }
  }
  const app = await appIn(t, t.testdir(), { webhook, onAlert: () => { throw new Error('not now') } })
  await provoke(app)
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
  t.match(sent, [{ url: 'https://example.com/', body: { type: 'anomaly.ceiling', data: { id: 'ceiling-4', subject: /^u_/ } } }])
})

t.test('of very many alerts the last thousand are listed', async (t) => {
  const app = await appIn(t, t.testdir(), { watch: { rules: { ceiling: { requests: 1 } } } })
  for (let index = 0; index < 1002; index++) {
    app[recording].log.append({ timestamp: new Date().toISOString(), action: 'x', status: 'success', http_status: 200, user_id: `u_${index}`, count: 2 }, () => undefined)
  }
  await app[recording].log.checkpoint()
  t.equal(app.anomalies.alerts().length, 1000)
  t.equal(app.anomalies.alerts()[0]?.subject, 'u_1001')
})

t.test('a server that starts goes on with what was found, but for what was lifted, and raises nothing twice', async (t) => {
  const folder = t.testdir()
  const learnFrom = { directory: path.join(folder, 'audit'), days: 1 }
  const options = { ...reactingWith({ action: 'suspend' }, { action: 'coarsen' }), learnFrom }
  const first = await appIn(t, folder, options)
  await provoke(first)
  await provoke(first, bob)
  await until(() => first.anomalies.list().length === 4)
  const [annPseudonym, bobPseudonym] = ['ann', 'bob'].map((id) => first[recording].identities.principal(id).pseudonym)
  await first.anomalies.lift(String(bobPseudonym), 'root', 'suspend')
  await first.close()
  const before = changes(folder).length
  const second = await appIn(t, folder, options)
  await until(() => second.anomalies.list().length === 3)
  t.equal((await second.inject({ url: '/known', ...ann })).statusCode, 403)
  t.equal((await second.inject({ url: '/known', ...bob })).statusCode, 200)
  t.same(second.anomalies.list().map(({ subject, action }) => `${subject} ${action}`).sort(), [`${annPseudonym} coarsen`, `${annPseudonym} suspend`, `${bobPseudonym} coarsen`].sort())
  t.equal(changes(folder).length, before)
  t.equal(second.alerts.length, 0)
})

t.test('a rule in shadow leads to nothing after a start either', async (t) => {
  const folder = t.testdir()
  const first = await appIn(t, folder, reactingWith({ action: 'suspend' }))
  await provoke(first)
  await first.close()
  const second = await appIn(t, folder, { reactions: { ceiling: { mode: 'shadow', actions: [{ action: 'suspend' }] } }, learnFrom: { directory: path.join(folder, 'audit'), days: 1 } })
  await second.inject({ url: '/known', ...bob })
  t.same(second.anomalies.list(), [])
})

t.test('it stands between authenticate and rateLimit, and needs the log', async (t) => {
  await t.rejects(async () => { await Fastify().register(anomaly, {}) }, { message: /fastify-model-guard\/audit/ })
  await t.rejects(appIn(t, t.testdir(), { reactions: { ceilin: {} } } as object), { code: 'FMG_ERR_OPTION_INVALID', message: 'anomaly.reactions.ceilin' })
})
