import Fastify from 'fastify'
import t from 'tap'
import { authzen } from '../../src/authz/authzen-policy.ts'
import type { Fetch } from '../../src/bounded-fetch.ts'
import { guardError } from '../../src/errors.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { policyDecisionPoint } from '../../src/plugins/policy-decision-point.ts'
import { protectedResource } from '../../src/plugins/protected-resource.ts'
import { fixed, resource } from '../../src/plugins/resource.ts'
import { freezePrincipal } from '../../src/principal.ts'
import { asPrincipal } from '../../src/testing.ts'
import { asPep, decisionPointFor } from '../helpers/decision-point.ts'
import { auditIn, guardOptions, policy, recordsIn } from '../helpers/guard.ts'

const text = `
version: 1
roles: { analyst: { permissions: [model:predict] } }
policies:
  - { name: nobody deletes in production, effect: deny, resource: { type: model }, action: [delete], condition: { environment: production } }
  - { name: owners delete, effect: allow, resource: { type: model, owner: '\${principal.id}' }, action: [delete] }
  - { name: by day, effect: allow, resource: { type: lab }, action: [enter], condition: { time: { between: ['08:00', '18:00'] } } }
`
const predict = {
  subject: { type: 'user', id: 'ann', properties: { org: 'acme', roles: ['analyst'] } },
  action: { name: 'predict' },
  resource: { type: 'model', id: 'fraud', properties: { org: 'acme' } }
}
const elsewhere = { ...predict, resource: { ...predict.resource, properties: { org: 'other' } } }

t.test('an answer is a decision, and a denial is an answer', async (t) => {
  const { ask } = await decisionPointFor(t, text)
  const allowed = await ask('evaluation', predict)
  t.match(allowed, { statusCode: 200, headers: { 'content-type': /^application\/json/, 'cache-control': 'no-store' } })
  t.same(allowed.json(), { decision: true })
  const denied = await ask('evaluation', elsewhere)
  t.equal(denied.statusCode, 200)
  t.same(denied.json(), { decision: false })
})

t.test('many are answered in their order, a malformed one with a denial', async (t) => {
  const { ask } = await decisionPointFor(t, text)
  const { subject, action, resource } = predict
  const response = await ask('evaluations', { subject, action, evaluations: [{ resource }, {}, { resource: elsewhere.resource }, 'x', { resource, subject: { type: 'user', id: 'eve' } }] })
  t.equal(response.statusCode, 200)
  t.same(response.json(), {
    evaluations: [
      { decision: true },
      { decision: false, context: { error: { status: 400, message: 'the request is not valid: resource must be an object' } } },
      { decision: false },
      { decision: false, context: { error: { status: 400, message: 'the request is not valid: the evaluation must be an object' } } },
      { decision: false }
    ]
  })
})

t.test('the endpoint for one question takes no notice of a list, and that for many asks the top where there is none', async (t) => {
  const { ask } = await decisionPointFor(t, text)
  t.same((await ask('evaluation', { ...predict, evaluations: [elsewhere], options: 1 })).json(), { decision: true })
  t.same((await ask('evaluations', { ...predict, evaluations: [] })).json(), { decision: true })
  t.same((await ask('evaluations', elsewhere)).json(), { decision: false })
})

t.test('the rest is not asked once it is decided, where the request says so', async (t) => {
  const { ask } = await decisionPointFor(t, text)
  const asked = async (semantic: string, ...evaluations: unknown[]): Promise<unknown> => (await ask('evaluations', { evaluations, options: { evaluations_semantic: semantic, other: 1 } })).json()
  const yes = { decision: true }
  const no = { decision: false }
  t.same(await asked('execute_all', predict, elsewhere, predict), { evaluations: [yes, no, yes] })
  t.same(await asked('deny_on_first_deny', predict, elsewhere, predict), { evaluations: [yes, no] })
  t.match(await asked('deny_on_first_deny', {}, predict), { evaluations: { length: 1 } }, 'what cannot be read is a denial, too')
  t.same(await asked('permit_on_first_permit', elsewhere, predict, elsewhere), { evaluations: [no, yes] })
})

t.test('what is no request is refused with a text', async (t) => {
  const { ask } = await decisionPointFor(t, text, { maxEvaluations: 2 })
  const refused = async (endpoint: string, body: unknown, message: RegExp, headers?: Readonly<Record<string, string>>): Promise<void> => {
    const response = await ask(endpoint, body, headers)
    t.match(response, { statusCode: 400, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: message }, String(message))
  }
  await refused('evaluation', { ...predict, subject: undefined }, /^the request is not valid: subject must be an object$/)
  await refused('evaluation', [predict], /the body must be a JSON object/)
  await refused('evaluation', '{', /the body/)
  await refused('evaluation', '', /the body/)
  await refused('evaluation', JSON.stringify(predict), /content-type must be application\/json/, { 'content-type': 'text/plain' })
  await refused('evaluation', JSON.stringify(predict), /content-type/, { 'content-type': 'application/jsonx' })
  await refused('evaluation', JSON.stringify(predict), /content-type/, { 'content-type': '' })
  await refused('evaluations', { evaluations: {} }, /evaluations must be a list$/)
  await refused('evaluations', { ...predict, evaluations: [{}, {}, {}] }, /evaluations must be a list of at most 2/)
  await refused('evaluations', { ...predict, subject: 'ann', evaluations: [predict] }, /subject must be an object/)
  await refused('evaluations', { ...predict, options: [] }, /options must be an object/)
  await refused('evaluations', { ...predict, options: { evaluations_semantic: 'any' } }, /evaluations_semantic must be one of execute_all, deny_on_first_deny, permit_on_first_permit/)
  t.equal((await ask('evaluation', predict, { 'content-type': 'application/json; charset=utf-8' })).statusCode, 200)
})

t.test('a request has at most a megabyte, whatever else the server takes', async (t) => {
  const { ask } = await decisionPointFor(t, text, {}, {}, { bodyLimit: 10_000_000 })
  for (const endpoint of ['evaluation', 'evaluations']) {
    t.equal((await ask(endpoint, { ...predict, padding: ' '.repeat(1_000_000) })).statusCode, 200)
    t.equal((await ask(endpoint, { ...predict, padding: ' '.repeat(1_048_576) })).statusCode, 413)
  }
})

t.test('JSON that parsers read differently is no way past a rule', async (t) => {
  const { ask } = await decisionPointFor(t, text, {}, {}, { onProtoPoisoning: 'ignore' })
  const body = JSON.stringify(elsewhere)
  t.same((await ask('evaluation', body)).json(), { decision: false })
  t.equal((await ask('evaluation', body.replace('"org":"other"', '"org":"other","org":"acme"'))).statusCode, 400)
  t.equal((await ask('evaluation', body.replace('"org":"other"', '"__proto__":{"org":"acme"}'))).statusCode, 400)
})

t.test('who may not ask learns nothing, and asking lets nobody do anything', async (t) => {
  const { app, ask } = await decisionPointFor(t, text)
  app.post('/models/:model', { config: { access: { action: 'predict', resource: resource('model', fixed('fraud')) } } }, async () => 'predicted')
  const post = async (url: string, headers: Readonly<Record<string, string>>): Promise<number> =>
    (await app.inject({ method: 'POST', url, payload: JSON.stringify(predict), headers: { 'content-type': 'application/json', ...headers } })).statusCode
  const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] }).headers
  for (const endpoint of ['evaluation', 'evaluations']) {
    t.equal(await post(`/access/v1/${endpoint}`, {}), 401)
    t.equal(await post(`/access/v1/${endpoint}`, ann), 403)
    t.equal(await post(`/access/v1/${endpoint}`, asPep()), 200)
  }
  t.same((await ask('evaluation', predict)).json(), { decision: true })
  t.equal(await post('/models/fraud', asPep()), 403, 'what it was told of ann is of no use to who asked')
})

t.test('its access rule is what the server says', async (t) => {
  const { app } = await decisionPointFor(t, text, { access: { action: 'ask', resource: resource('pdp', fixed('main')) } }, { authorize: { policy: policy("version: 1\nroles: { pep: { permissions: [pdp:ask], org: '*' }, old: { permissions: [policy:evaluate], org: '*' } }") } })
  const asked = async (role: string): Promise<number> => (await app.inject({ method: 'POST', url: '/access/v1/evaluation', payload: predict, ...asPrincipal({ id: 'pep', roles: [role] }) })).statusCode
  t.equal(await asked('pep'), 200)
  t.equal(await asked('old'), 403)
  // @ts-expect-error: it is never for everyone
  await t.rejects(decisionPointFor(t, text, { access: 'public' }), { message: /policyDecisionPoint.access must be an action and a resource/ })
})

t.test('the identifier of a request comes back, also with a refusal', async (t) => {
  const { app, ask } = await decisionPointFor(t, text)
  const echoed = async (id: string, body: unknown = predict): Promise<unknown> => (await ask('evaluation', body, { 'x-request-id': id })).headers['x-request-id']
  t.equal(await echoed('bfe9eb29-ab87'), 'bfe9eb29-ab87')
  t.equal(await echoed('a b', {}), 'a b')
  t.equal((await app.inject({ method: 'POST', url: '/access/v1/evaluation', headers: { 'x-request-id': 'r1' } })).headers['x-request-id'], 'r1', 'without a credential')
  t.equal(await echoed('x'.repeat(256)), 'x'.repeat(256))
  for (const id of ['x'.repeat(257), 'ä', '']) t.equal(await echoed(id), undefined, id)
  t.equal((await ask('evaluation', predict)).headers['x-request-id'], undefined)
})

t.test('time is what the question says, else the clock; other circumstances likewise', async (t) => {
  const noon = Date.parse('2026-01-31T12:00:00Z')
  const { ask } = await decisionPointFor(t, text, { clock: () => noon, context: () => ({ environment: 'production' }) })
  const enter = async (context?: unknown): Promise<unknown> => (await ask('evaluation', { subject: { type: 'user', id: 'ann' }, action: { name: 'enter' }, resource: { type: 'lab', id: '1' }, context })).json()
  t.same(await enter(), { decision: true })
  t.same(await enter({ time: noon + 12 * 3_600_000 }), { decision: false })
  t.same(await enter({ time: '2026-01-31T23:00:00Z' }), { decision: false })
  t.same(await enter({ time: '2026-01-31T23:00-12:00' }), { decision: true }, 'without seconds, as the specification writes it')
  t.same(await enter({ time: 'noon' }), { decision: false })
  const remove = async (context: unknown): Promise<unknown> => (await ask('evaluation', { subject: { type: 'user', id: 'ann' }, action: { name: 'delete' }, resource: { type: 'model', id: '1', properties: { owner: 'ann' } }, context })).json()
  t.same(await remove({}), { decision: false })
  t.same(await remove({ environment: 'lab' }), { decision: true })
})

t.test('a denial says which rule made it only where the server says so', async (t) => {
  const { ask } = await decisionPointFor(t, text, { tellReasons: true })
  const remove = { ...predict, action: { name: 'delete' }, context: { environment: 'production' } }
  t.same((await ask('evaluation', remove)).json(), { decision: false, context: { reason_admin: { 403: 'forbidden by rule:nobody deletes in production' } } })
  t.same((await ask('evaluation', elsewhere)).json(), { decision: false, context: { reason_admin: { 403: 'no-match' } } })
  t.same((await ask('evaluation', predict)).json(), { decision: true })
})

t.test('what a decision obliges to is handed over, and a client of this package meets it', async (t) => {
  const obliging = `
version: 1
policies:
  - { name: all, effect: allow, action: '*', obligations: { mask: [a.b], tier: gold } }
  - { name: nobody deletes, effect: deny, action: [delete], obligations: { record: full-metadata } }
`
  const { app, ask } = await decisionPointFor(t, obliging)
  const custom = (id: string, value: unknown): unknown => ({ id, type: 'custom', properties: { vendor: 'fastify-model-guard', [id]: value } })
  t.same((await ask('evaluation', predict)).json(), { decision: true, context: { obligations: [custom('mask', ['a.b']), custom('tier', 'gold')] } })
  const remove = { ...predict, action: { name: 'delete' } }
  t.same((await ask('evaluations', { evaluations: [remove] })).json(), { evaluations: [{ decision: false, context: { obligations: [custom('record', 'full-metadata')] } }] })
  const injected: Fetch = async (url, { body }) => {
    const response = await app.inject({ method: 'POST', url, payload: typeof body === 'string' ? body : '', headers: { ...asPep(), 'content-type': 'application/json' } })
    return new Response(response.body, { status: response.statusCode })
  }
  const principal = freezePrincipal({ id: 'ann', type: 'user', tier: 'standard', roles: [], scopes: [], attributes: {}, credential: { method: 'jwt', id: 'k' } })
  const decide = async (action: string, tiers: readonly string[]): Promise<unknown> => await authzen({ url: 'https://pdp.example', fetch: injected, tiers }).decide(principal, action, { type: 'model', id: 'fraud', attributes: {} }, {})
  t.match(await decide('predict', ['gold']), { allowed: true, obligations: { mask: ['a.b'], tier: 'gold' } })
  t.match(await decide('predict', []), { allowed: false, reason: 'policy-error' })
  t.match(await decide('delete', []), { allowed: false, reason: 'forbidden', obligations: { record: 'full-metadata' } })
})

t.test('a policy that throws, or gives what is no decision, denies', async (t) => {
  const logged: string[] = []
  const stream = { write: (line: string) => { logged.push(line) } }
  const broken = async (decide: () => unknown): Promise<unknown> => {
    // @ts-expect-error: whatever a user's own policy gives
    const { ask } = await decisionPointFor(t, text, { policy: { id: 'own', decide } }, {}, { logger: { level: 'error', stream } })
    const response = await ask('evaluation', predict)
    t.equal(response.statusCode, 200)
    return response.json()
  }
  const failed = { decision: false, context: { error: { status: 503, message: 'the policy cannot be evaluated' } } }
  t.same(await broken(() => { throw new Error('password is x') }), failed)
  t.match(logged, { 0: /the policy failed/, length: 1 })
  t.same(await broken(async () => { throw new Error('later') }), failed)
  t.same(await broken(() => undefined), failed)
  t.same(await broken(async () => ({ allowed: true, rule: null, reason: 'allowed' })), { decision: true })
})

t.test('a failure of the server is told by its status, and by no more', async (t) => {
  const { ask } = await decisionPointFor(t, text, { context: () => { throw new Error('secret') } })
  const response = await ask('evaluation', predict)
  t.match(response, { statusCode: 500, body: 'internal error' })
})

t.test('a dependency of the guard that is down is told with its headers', async (t) => {
  const { ask } = await decisionPointFor(t, text, {}, { authenticate: { authenticators: [{ isMine: () => true, authenticate: async () => { throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { headers: { 'retry-after': '5' } }) } }] } })
  t.match(await ask('evaluation', predict), { statusCode: 503, headers: { 'retry-after': '5' }, body: 'the issuer cannot be reached' })
})

t.test('without its record no answer leaves, and the refusal says when to ask again', async (t) => {
  const { identities, log } = await auditIn(t.testdir())
  t.teardown(() => log.close())
  const failing = { ...log, append: (_record: unknown, done: (error: Error, seq: number) => void) => { done(new Error('disk full'), -1) } }
  const { ask } = await decisionPointFor(t, text, {}, { audit: { identities, log: failing } })
  t.match(await ask('evaluation', predict), { statusCode: 503, headers: { 'retry-after': '5' }, body: 'the audit log cannot be written' })
})

t.test('the record says how many were asked about and allowed, and names none of them', async (t) => {
  const folder = t.testdir()
  const { app, ask } = await decisionPointFor(t, text, {}, { audit: await auditIn(folder) })
  await ask('evaluation', predict)
  await ask('evaluations', { evaluations: [predict, elsewhere, {}] })
  await app.close()
  const id = policy(text).id
  const records = recordsIn(folder).filter(({ action }) => action === 'evaluate')
  t.match(records, [
    { status: 'success', rule: 'role:pep', detail: { evaluations: 1, allowed: 1, policy: id } },
    { status: 'success', rule: 'role:pep', detail: { evaluations: 3, allowed: 1, policy: id } }
  ])
  t.notMatch(JSON.stringify(records), /"ann"|fraud/)
})

t.test('others find the endpoints below its URL', async (t) => {
  const { app, ask } = await decisionPointFor(t, text, { url: 'https://pdp.example' })
  const response = await app.inject('/.well-known/authzen-configuration')
  t.match(response, { statusCode: 200, headers: { 'content-type': /^application\/json/, 'cache-control': 'public, max-age=3600' } })
  t.same(response.json(), {
    policy_decision_point: 'https://pdp.example',
    access_evaluation_endpoint: 'https://pdp.example/access/v1/evaluation',
    access_evaluations_endpoint: 'https://pdp.example/access/v1/evaluations'
  })
  t.equal((await ask('evaluation', predict)).statusCode, 200)
  const tenant = await decisionPointFor(t, text, { url: 'https://pdp.example/tenant/' })
  t.same((await tenant.app.inject('/.well-known/authzen-configuration/tenant')).json(), {
    policy_decision_point: 'https://pdp.example/tenant/',
    access_evaluation_endpoint: 'https://pdp.example/tenant/access/v1/evaluation',
    access_evaluations_endpoint: 'https://pdp.example/tenant/access/v1/evaluations'
  })
  t.equal((await tenant.app.inject({ method: 'POST', url: '/tenant/access/v1/evaluation', payload: predict, headers: asPep() })).statusCode, 200)
})

t.test('its URL is the one that the server is known by; where it is not known, there is no document', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(protectedResource, { resource: 'https://models.example/v2', authorizationServers: [] })
  await app.register(modelGuard, guardOptions())
  await app.register(policyDecisionPoint, { policy: policy(text) })
  t.match((await app.inject('/.well-known/authzen-configuration/v2')).json(), { policy_decision_point: 'https://models.example/v2' })
  const unknown = await decisionPointFor(t, text)
  t.equal((await unknown.app.inject('/.well-known/authzen-configuration')).statusCode, 401, 'like any unknown path')
})

t.test('it does not start where nothing guards it, or below a prefix', async (t) => {
  const bare = Fastify()
  await t.rejects(Promise.resolve(bare.register(policyDecisionPoint, { policy: policy(text) })), /fastify-model-guard\/authorize/)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions())
  await t.rejects(Promise.resolve(app.register(async (scope) => { await scope.register(policyDecisionPoint, { policy: policy(text) }) }, { prefix: '/api' })), { message: /without a prefix/ })
})
