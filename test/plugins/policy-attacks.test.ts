import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, watch, writeSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { watchPolicy } from '../../src/authz/watched-policy.ts'
import type { Principal } from '../../src/principal.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { bodyMember, model, param } from '../../src/plugins/resource.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { reference } from '../authz/questions.ts'
import { guardOptions, policy } from '../helpers/guard.ts'
import { nowSeconds, testIssuer } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

const issuer = testIssuer()
const guarded = policy(`version: 1
roles:
  analyst: { permissions: [model:predict] }
  admin: { permissions: ['*'], org: '*' }
policies:
  - { name: own org, effect: allow, action: read, resource: { org: '${reference('principal.org')}' } }
  - { name: own models, effect: allow, action: read, resource: { owner: '${reference('principal.id')}' } }
  - { name: own project, effect: allow, action: read, resource: { id: '${reference('principal.project')}-*' } }
  - { name: the public one, effect: allow, action: read, resource: { id: demo } }
  - { name: those of the fair, effect: allow, action: read, resource: { id: 'fair-*' } }
  - { name: for the team, effect: allow, action: predict, principal: { team: risk }, resource: { org: '${reference('principal.org')}' } }
`)

interface Guarded { readonly app: FastifyInstance, readonly reached: string[] }

/** Models of which the lookup knows the org and the owner; the name as it came is what was asked for. */
async function app (t: Test, authenticators: Parameters<typeof guardOptions>[0] = {}): Promise<Guarded> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ authorize: { policy: guarded }, ...authenticators }))
  const known = new Map<string, Record<string, unknown>>([['fraud', { org: 'acme', owner: 'ann' }], ['stray', {}], ['starred', { org: '*', owner: '*' }], ['templated', { org: reference('principal.org'), owner: reference('principal.id') }]])
  const attributes = (id: string): Record<string, unknown> => known.get(id) ?? {}
  const reached: string[] = []
  const answer = async (): Promise<string> => {
    reached.push('reached')
    return 'done'
  }
  app.get('/models/:model', { config: { access: { action: 'read', resource: model(param('model'), { attributes }) } } }, answer)
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } } }, answer)
  app.post('/predict', { config: { access: { action: 'read', resource: model(bodyMember('model'), { attributes }) } } }, answer)
  return { app, reached }
}

const principal = (said: Partial<Principal>): { readonly headers: Readonly<Record<string, string>> } => asPrincipal({ id: 'eve', ...said })

/** Refused before the handler runs. */
async function refused (t: Test, { app, reached }: Guarded, request: InjectOptions, statusCode = 403): Promise<void> {
  const before = reached.length
  const answer = await app.inject(request)
  t.equal(answer.statusCode, statusCode, JSON.stringify(request).slice(0, 120))
  t.match(answer.json(), { code: statusCode === 403 ? 'FMG_ERR_ACCESS_DENIED' : /FMG_ERR_/ })
  t.equal(reached.length, before)
}

t.test('attack: an org of * in a token, a key or a principal reaches what is called *, and nothing else', async (t) => {
  const pepper = randomBytes(32)
  const store = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => store.close())
  const trusting = (orgs: readonly string[]) => jwt({
    issuers: [{ issuer: issuer.issuer, audiences: ['https://models.example'], algorithms: ['ES256'], claims: { org: 'org' }, grants: { orgs, roles: ['analyst'] }, tier: 'standard', jwks: { keys: [issuer.jwk] } }],
    clock: () => nowSeconds * 1000
  })
  const bearer = (org: unknown): { headers: Record<string, string> } => ({ headers: { authorization: `Bearer ${issuer.token({ org, roles: ['analyst'] })}` } })
  const cautious = await app(t, { authenticate: { authenticators: [trusting(['acme'])] } })
  for (const org of ['*', 'acm*', reference('principal.org'), ['acme'], { acme: 1 }, 'ACME', 'acme ', '']) await refused(t, cautious, { url: '/models/fraud', ...bearer(org) }, 401)
  t.equal((await cautious.app.inject({ url: '/models/fraud', ...bearer('acme') })).statusCode, 200)

  const careless = await app(t, { authenticate: { authenticators: [trusting(['*']), apiKey({ store, pepper })] } })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'eve', tier: 'standard', org: '*', roles: ['analyst'] } })
  for (const headers of [bearer('*').headers, { 'x-api-key': key }]) {
    await refused(t, careless, { url: '/models/fraud', headers })
    await refused(t, careless, { method: 'POST', url: '/models/fraud', headers })
    t.equal((await careless.app.inject({ url: '/models/starred', headers })).statusCode, 200)
  }
})

t.test('attack: roles of *, patterns or other spellings are roles that nobody declared', async (t) => {
  const it = await app(t)
  for (const roles of [['*'], ['adm*'], ['Admin'], ['admin '], [' admin'], ['аdmin'], ['ad\u00admin'], ['__proto__'], ['constructor'], ['role:admin'], ['admin,analyst'], [reference('principal.id')]]) {
    await refused(t, it, { method: 'POST', url: '/models/fraud', ...principal({ org: 'acme', roles }) })
  }
  t.equal((await it.app.inject({ method: 'POST', url: '/models/fraud', ...principal({ org: 'acme', roles: ['admin'] }) })).statusCode, 200)
})

t.test('attack: where neither side of a reference is known, or both are empty, they are not the same', async (t) => {
  const it = await app(t)
  for (const org of [undefined, '']) await refused(t, it, { url: '/models/stray', ...principal({ org }) })
  for (const org of [undefined, '']) await refused(t, it, { method: 'POST', url: '/models/stray', ...principal({ org, team: 'risk', roles: ['analyst'] }) })
  t.equal((await it.app.inject({ url: '/models/fraud', ...principal({ org: 'acme' }) })).statusCode, 200)
})

t.test('attack: a reference written inside a claim or an attribute is text', async (t) => {
  const it = await app(t)
  for (const org of [reference('principal.org'), reference('resource.org'), '$' + '{']) await refused(t, it, { url: '/models/fraud', ...principal({ org }) })
  await refused(t, it, { url: '/models/templated', ...principal({ org: 'acme', id: 'ann' }) })
  t.equal((await it.app.inject({ url: '/models/templated', ...principal({ org: reference('principal.org') }) })).statusCode, 200, 'the same text, letter by letter')
})

t.test('attack: a star that comes with a request matches nothing', async (t) => {
  const it = await app(t)
  for (const project of ['*', 'fra*', '', undefined, ['fraud'], { fraud: 1 }]) await refused(t, it, { url: '/models/fraud-2', ...principal({ attributes: { project } }) })
  for (const id of ['*', 'de*', '%2A', 'fair*', '**']) await refused(t, it, { url: `/models/${id}`, ...principal({}) })
  for (const id of ['*', 'a*', 'ann ']) await refused(t, it, { url: '/models/fraud', ...principal({ id }) })
  t.equal((await it.app.inject({ url: '/models/fraud-2', ...principal({ attributes: { project: 'fraud' } }) })).statusCode, 200)
})

t.test('attack: names that look alike, begin alike or lead elsewhere are other names', async (t) => {
  const it = await app(t)
  for (const id of ['Demo', 'DEMO', 'demo%20', '%20demo', 'demo%00', 'demo%2F', 'demo%2F..%2Ffraud', '..%2Fdemo', '.%2Fdemo', 'demo.', 'demo-2', 'xdemo', 'd%C3%A9mo', 'dem%D0%BE', 'demo%E2%80%8B', 'de%CC%81mo', 'demo%252F', 'demo;x=1', 'demo,fraud', '%EF%BC%84demo']) {
    await refused(t, it, { url: `/models/${id}`, ...principal({}) })
  }
  for (const id of ['fair', 'Fair-1', 'affair-1', 'xfair-1', 'fair%E2%80%901']) await refused(t, it, { url: `/models/${id}`, ...principal({}) })
  for (const id of ['demo', 'demo?x=fraud', '%64emo', 'fair-1']) t.equal((await it.app.inject({ url: `/models/${id}`, ...principal({}) })).statusCode, 200, id)
  for (const url of ['/models/demo/../fraud', '/models//demo', '/models/demo/', '//models/demo', '/MODELS/demo']) t.not((await it.app.inject({ url, ...principal({}) })).statusCode, 200, url)
})

t.test('attack: a list, an object or nothing where a name is expected is no name', async (t) => {
  const it = await app(t)
  for (const name of [['demo'], ['demo', 'fraud'], { id: 'demo' }, 1, true, null, '', undefined]) await refused(t, it, { method: 'POST', url: '/predict', payload: { model: name }, ...principal({}) }, 400)
  for (const body of ['{"model":"fraud","__proto__":{"model":"demo"}}', '["demo"]', '"demo"', '{"Model":"demo"}']) {
    t.ok([400, 403].includes((await it.app.inject({ method: 'POST', url: '/predict', body, ...principal({}), headers: { ...principal({}).headers, 'content-type': 'application/json' } })).statusCode), body)
  }
  t.equal(it.reached.length, 0)
  t.equal((await it.app.inject({ method: 'POST', url: '/predict', payload: { model: 'demo' }, ...principal({}) })).statusCode, 200)
})

t.test('attack: a file that is written in many pieces, each of which ends a policy, counts once, when it is whole', async (t) => {
  const file = path.join(t.testdir({ 'policy.yaml': 'version: 1\npolicies:\n  - { name: r0, effect: allow, action: read }\n' }), 'policy.yaml')
  const watched = await watchPolicy({ file, stillMs: 400, heartbeatMs: 10 })
  t.teardown(() => watched.close())
  const seen: string[] = []
  watched.whenChanged(({ after }) => { seen.push(after) })
  const it = Fastify()
  t.teardown(() => it.close())
  await it.register(modelGuard, { authenticate: { authenticators: [testAuthenticator()] }, authorize: { policy: watched } })
  it.get('/models/:model', { config: { access: { action: 'read', resource: model(param('model')) } } }, async () => 'done')
  const statusOf = async (): Promise<number> => (await it.inject({ url: '/models/m', ...principal({}) })).statusCode
  t.equal(await statusOf(), 200)

  const noticed = watch(path.dirname(file))
  t.teardown(() => { noticed.close() })
  const handle = openSync(file, 'w')
  const pieces = ['version: 1\n', 'policies:\n', '  - { name: r1, effect: allow, action: [read, write] }\n', '  - { name: r2, effect: allow, action: delete }\n', '  - { name: r3, effect: deny }\n']
  const [first = '', ...others] = pieces
  writeSync(handle, first)
  await once(noticed, 'change')
  for (const piece of others) {
    t.equal(await statusOf(), 200, 'the policy before decides')
    writeSync(handle, piece)
    await setImmediate()
  }
  closeSync(handle)
  await until(() => seen.length > 0)
  t.same([seen, watched.current.rules], [[watched.id], ['r1', 'r2', 'r3']])
  t.equal(await statusOf(), 403)
})
