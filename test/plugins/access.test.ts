import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import { audit } from '../../src/plugins/audit.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import { authorize } from '../../src/plugins/authorize.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { models } from '../../src/plugins/models.ts'
import { rateLimit } from '../../src/plugins/rate-limit.ts'
import { bodyMember, fixed, model, param, resource } from '../../src/plugins/resource.ts'
import { listRoutes } from '../../src/plugins/routes.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { auditIn, guardedApp, guardOptions, limits, policy } from '../helpers/guard.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
const payload = { x: 1 }

t.test('a permitted request reaches the handler, with its principal and decision', async (t) => {
  const app = await guardedApp(t, guardOptions())
  const response = await app.inject({ method: 'POST', url: '/models/acme-1', payload, ...ann })
  t.equal(response.statusCode, 200)
  t.same(response.json(), { echo: payload })
  t.equal((await app.inject({ url: '/known', ...ann })).body, 'ann')
})

t.test('a stranger gets 401 with a challenge and no-store, and the handler does not run', async (t) => {
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [testAuthenticator()], realm: 'acme' } }))
  const missing = await app.inject({ method: 'POST', url: '/models/acme-1', payload })
  t.equal(missing.statusCode, 401)
  t.match(missing.json(), { code: 'FMG_ERR_CREDENTIAL_MISSING' })
  t.equal(missing.headers['www-authenticate'], 'Bearer realm="acme"')
  t.equal(missing.headers['cache-control'], 'no-store')

  const cases: [Record<string, string>, string][] = [
    [{ authorization: 'Test e30.AAAA' }, 'invalid_token'],
    [{ authorization: 'Bearer nobody-knows' }, 'invalid_token'],
    [{ authorization: 'Bearer' }, 'invalid_token'],
    [{ 'x-api-key': 'x'.repeat(9000) }, 'invalid_token'],
    [{ ...ann.headers, 'x-api-key': 'y' }, 'invalid_request']
  ]
  for (const [headers, error] of cases) {
    const bad = await app.inject({ method: 'POST', url: '/models/acme-1', payload, headers })
    t.equal(bad.statusCode, 401)
    t.same(bad.json(), { statusCode: 401, code: 'FMG_ERR_CREDENTIAL_INVALID', error: 'Unauthorized', message: 'the credential is not valid' })
    t.equal(bad.headers['www-authenticate'], `Bearer realm="acme", error="${error}"`)
    t.equal(bad.headers['cache-control'], 'no-store')
  }
  t.equal(app.reached, 0)
})

t.test('an authenticator that fails in its own way refuses, and one that answers null passes on', async (t) => {
  const app = await guardedApp(t, guardOptions({
    authenticate: {
      authenticators: [
        { authenticate: ({ scheme }) => { if (scheme === 'broken') throw new TypeError('bug'); return null } },
        testAuthenticator()
      ]
    }
  }))
  t.equal((await app.inject({ url: '/known', headers: { authorization: 'Broken x' } })).statusCode, 401)
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 200)
})

t.test('what the policy does not allow is 403 and does not reach the handler', async (t) => {
  const app = await guardedApp(t, guardOptions())
  for (const principal of [{ id: 'eve', org: 'other', roles: ['analyst'] }, { id: 'vic', org: 'acme', roles: ['viewer'] }, { id: 'non' }]) {
    const response = await app.inject({ method: 'POST', url: '/models/acme-1', payload, ...asPrincipal(principal) })
    t.equal(response.statusCode, 403)
    t.same(response.json(), { statusCode: 403, code: 'FMG_ERR_ACCESS_DENIED', error: 'Forbidden', message: 'access denied' })
  }
  t.equal(app.reached, 0)
})

t.test('an unknown path under the guard is 401 to a stranger and 404 to a principal', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (api) => {
    await api.register(modelGuard, guardOptions())
    api.get('/here', { config: { access: 'authenticated' } }, async () => 'here')
  }, { prefix: '/api' })
  for (const method of ['GET', 'POST', 'OPTIONS'] as const) {
    t.equal((await app.inject({ method, url: '/api/none' })).statusCode, 401)
    t.equal((await app.inject({ method, url: '/api/none', ...ann })).statusCode, 404)
  }
  t.equal((await app.inject('/none')).statusCode, 404, 'outside the guard nothing changes')
})

t.test('a scope with a not-found handler of its own keeps it, behind the guard', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (api) => {
    api.setNotFoundHandler((_request, reply) => reply.code(404).send('mine'))
    await api.register(modelGuard, guardOptions())
  }, { prefix: '/api' })
  t.equal((await app.inject('/api/none')).statusCode, 401)
  t.equal((await app.inject({ url: '/api/none', ...ann })).body, 'mine')
})

t.test('a route without config.access does not let the server start, and is named', async (t) => {
  const app = Fastify()
  await app.register(modelGuard, guardOptions())
  app.get('/forgotten', async () => 'x')
  app.options('*', async () => 'a CORS plugin')
  await t.rejects(async () => { await app.ready() }, { code: 'FMG_ERR_ROUTE_UNGUARDED', message: 'route without config.access: GET /forgotten, HEAD /forgotten' })
})

t.test('a route declared before an unawaited guard is refused all the same', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let reached = false
  await app.register(async (api) => {
    api.get('/early', async () => { reached = true })
    void api.register(modelGuard, guardOptions())
  })
  t.equal((await app.inject({ url: '/early', ...ann })).statusCode, 403)
  t.notOk(reached)
})

t.test('a preflight passes to a CORS plugin, and to nothing else', async (t) => {
  const headers = { origin: 'https://app.example', 'access-control-request-method': 'POST' }
  let reached = 0
  const build = async (cors: boolean): Promise<FastifyInstance> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(modelGuard, guardOptions())
    if (cors) {
      await app.register(fp(async (scope) => {
        scope.addHook('onRequest', async (request, reply) => { if (request.method === 'OPTIONS') await reply.code(204).send() })
      }))
    }
    app.options('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async () => { reached++ })
    app.options('/any', { config: { access: 'authenticated' } }, async () => { reached++ })
    return app
  }
  const withCors = await build(true)
  const without = await build(false)
  for (const url of ['/models/acme-1', '/any', '/none']) {
    t.equal((await withCors.inject({ method: 'OPTIONS', url, headers })).statusCode, 204)
    t.equal((await without.inject({ method: 'OPTIONS', url, headers })).statusCode, 401)
  }
  t.equal(reached, 0)
  t.equal((await without.inject({ method: 'OPTIONS', url: '/any', ...ann })).statusCode, 200)
  t.equal(reached, 1)
})

t.test('a resource in the body is judged after parsing, on the value the handler gets', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions())
  let reached = 0
  const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })
  app.post('/predict', {
    schema: { body: { type: 'object', properties: { model: { type: 'string', default: 'other-1' } } } },
    config: { access: { action: 'predict', resource: model(bodyMember('model'), { attributes }) } }
  }, async () => { reached++ })
  t.equal((await app.inject({ method: 'POST', url: '/predict', payload: { model: 'acme-1' }, ...ann })).statusCode, 200)
  t.equal((await app.inject({ method: 'POST', url: '/predict', payload: {}, ...ann })).statusCode, 403)
  t.equal((await app.inject({ method: 'POST', url: '/predict', payload: { model: 'acme-1' } })).statusCode, 401)
  t.equal(reached, 1)
})

t.test('a request that does not name its resource is 400', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions())
  app.post('/predict', { config: { access: { action: 'predict', resource: model(bodyMember('model')) } } }, async () => 'x')
  for (const body of [{}, { model: '' }, { model: 7 }, [], { __proto__: { model: 'x' } }]) {
    const response = await app.inject({ method: 'POST', url: '/predict', payload: body, ...ann })
    t.equal(response.statusCode, 400)
    t.match(response.json(), { code: 'FMG_ERR_REQUEST_INVALID', message: 'the request is not valid: it names no model' })
  }
})

t.test('other resources take org and attributes from the server', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const text = 'version: 1\npolicies:\n  - { name: own team, effect: allow, action: [read], principal: { org: acme }, resource: { type: report, org: acme, team: red } }\n'
  await app.register(modelGuard, guardOptions({ authorize: { policy: policy(text), context: () => ({ environment: 'test' }) } }))
  app.get('/reports/:id', {
    config: { access: { action: 'read', resource: resource('report', param('id'), { org: () => 'acme', attributes: (_request, id) => ({ team: id }) }) } }
  }, async () => 'x')
  app.get('/bare', { config: { access: { action: 'read', resource: resource('report', fixed('red')) } } }, async () => 'x')
  t.equal((await app.inject({ url: '/reports/red', ...ann })).statusCode, 200)
  t.equal((await app.inject({ url: '/reports/blue', ...ann })).statusCode, 403)
  t.equal((await app.inject({ url: '/bare', ...ann })).statusCode, 403)
})

t.test('a policy that answers later is waited for, one that throws denies', async (t) => {
  let mode: 'later' | 'throw' | 'reject' = 'later'
  const app = await guardedApp(t, guardOptions({
    authorize: {
      policy: {
        id: 'custom',
        decide () {
          if (mode === 'throw') throw new Error('bug')
          return mode === 'reject' ? Promise.reject(new Error('down')) : Promise.resolve({ allowed: true, rule: 'r', reason: 'allowed' as const })
        }
      }
    }
  }))
  t.equal((await app.inject({ method: 'POST', url: '/models/x', payload, ...ann })).statusCode, 200)
  for (mode of ['throw', 'reject'] as const) t.equal((await app.inject({ method: 'POST', url: '/models/x', payload, ...ann })).statusCode, 403)
  t.equal(app.reached, 1)
})

t.test('routes are listed with their effective access', async (t) => {
  const app = await guardedApp(t, guardOptions())
  t.same(listRoutes(app), [
    { method: 'POST', url: '/models/:model', access: 'predict on model' },
    { method: 'GET', url: '/open', access: 'public' },
    { method: 'HEAD', url: '/open', access: 'public' },
    { method: 'GET', url: '/known', access: 'authenticated' },
    { method: 'HEAD', url: '/known', access: 'authenticated' }
  ])
  t.same(listRoutes(Fastify()), [])
})

t.test('every plugin boots alone and in every subset, or names what is missing', async (t) => {
  const folder = t.testdir(Object.fromEntries([...Array(32).keys()].map((index) => [index, {}])))
  const parts = {
    audit: async (app: FastifyInstance, index: number) => { await app.register(audit, await auditIn(path.join(folder, String(index)))) },
    models: async (app: FastifyInstance) => { await app.register(models, { models: {}, keys: [], trust: { keys: [], authorities: [] } }) },
    authenticate: async (app: FastifyInstance) => { await app.register(authenticate, guardOptions().authenticate) },
    rateLimit: async (app: FastifyInstance) => { await app.register(rateLimit, limits(5)) },
    authorize: async (app: FastifyInstance) => { await app.register(authorize, guardOptions().authorize) }
  }
  const names = Object.keys(parts) as (keyof typeof parts)[]
  for (let mask = 1; mask < 1 << names.length; mask++) {
    const chosen = names.filter((_, index) => (mask & (1 << index)) !== 0)
    const app = Fastify()
    app.get('/', { config: { access: 'authenticated' } }, async () => 'x')
    const boot = async (): Promise<void> => {
      for (const name of chosen) await parts[name](app, mask)
      await app.ready()
    }
    const needs = !chosen.includes('authenticate') && (chosen.includes('rateLimit') || chosen.includes('authorize'))
    if (needs) await t.rejects(boot(), { code: 'FST_ERR_PLUGIN_DEPENDENCY_NOT_REGISTERED', message: /fastify-model-guard\/authenticate/ }, chosen.join(' + '))
    else await t.resolves(boot(), chosen.join(' + '))
    await app.close().catch(() => undefined)
  }
})

t.test('a stage that is registered too late stops the boot, and both are named', async (t) => {
  const app = Fastify()
  await app.register(authenticate, guardOptions().authenticate)
  await app.register(authorize, guardOptions().authorize)
  await t.rejects(async () => { await app.register(rateLimit, limits(5)) }, { code: 'FMG_ERR_ORDER', message: 'plugin order: register rate-limit before authorize' })
})

t.test('wrong options stop the boot with their path', async (t) => {
  const boot = async (options: object): Promise<void> => { await Fastify().register(modelGuard, options as ReturnType<typeof guardOptions>) }
  await t.rejects(boot({ ...guardOptions(), mod: 'observe' }), { code: 'FMG_ERR_OPTION_INVALID', message: /modelGuard\.mod is not an option; did you mean mode\?/ })
  await t.rejects(boot({ ...guardOptions(), mode: 'off' }), { message: /modelGuard\.mode must be one of enforce, observe/ })
  await t.rejects(boot({ ...guardOptions(), authenticate: { authenticators: [] } }), { message: /authenticate\.authenticators must be a list of at least one/ })
  await t.rejects(boot({ ...guardOptions(), authenticate: { authenticators: [{}] } }), { message: /authenticate\.authenticators\[0\]/ })
  await t.rejects(boot({ ...guardOptions(), authorize: {} }), { message: /authorize\.policy/ })
  await t.rejects(boot({ ...guardOptions(), rateLimit: { ...limits(1), defaultTier: 'none' } }), { message: /rateLimit\.defaultTier/ })
})
