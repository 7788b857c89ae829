import { randomBytes } from 'node:crypto'
import path from 'node:path'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { checkPolicy } from '../../src/authz/check-policy.ts'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { fixed, model, param, resource } from '../../src/plugins/resource.ts'
import { ask, type Asked, reference } from './questions.ts'

const text = `
version: 1
roles:
  viewer:         { permissions: [model:read, log:view_logs] }
  analyst:        { inherits: [viewer], permissions: [model:query] }
  data_scientist: { inherits: [analyst], permissions: [model:write, model:train, model:evaluate] }
  admin:          { permissions: [model:*, user:manage_users, log:*] }
  operator:       { permissions: ['*'], org: '*' }
policies:
  - name: data scientists read and predict models in their own org
    effect: allow
    principal: { team: data_science }
    resource: { type: model, org: '${reference('principal.org')}' }
    action: [read, predict]
  - name: partners query what is called acme
    effect: allow
    principal: { team: partners }
    resource: { type: model, id: 'acme-*' }
    action: query
  - name: nobody deletes production models
    effect: deny
    resource: { type: model }
    action: [delete]
    condition: { environment: production }
tests:
  - { name: nor does an operator, principal: { org: acme, roles: [operator] }, action: delete, resource: { type: model, org: acme }, context: { environment: production }, expect: deny }
  - { name: but elsewhere, principal: { org: acme, roles: [operator] }, action: delete, resource: { type: model, org: acme }, context: { environment: staging }, expect: allow }
`
const policy = loadPolicy(text, { source: 'policy.yaml' })
const actions = [['read', 'model'], ['write', 'model'], ['train', 'model'], ['evaluate', 'model'], ['query', 'model'], ['delete', 'model'], ['manage_users', 'user'], ['view_logs', 'log']] as const

t.test('the file says nothing in vain', async (t) => {
  t.same(checkPolicy(text, { source: 'policy.yaml', heldRoles: ['viewer', 'analyst', 'data_scientist', 'admin', 'operator'] }).findings, [])
})

t.test('each role may do what it is for in its own org, and nothing in another', async (t) => {
  const may = (role: string, org: string, context = {}): string => actions
    .filter(([action, type]) => ask(policy, { principal: { roles: [role], org: 'acme' }, action, resource: { type, id: 'fraud', org }, context }).allowed)
    .map(([action]) => action).join(' ')
  for (const [role, allowed] of [
    ['viewer', 'read view_logs'],
    ['analyst', 'read query view_logs'],
    ['data_scientist', 'read write train evaluate query view_logs'],
    ['admin', 'read write train evaluate query delete manage_users view_logs'],
    ['stranger', ''], ['Admin', ''], ['admin ', ''], ['*', ''], ['adm*', ''], ['', '']
  ] as const) {
    t.equal(may(role, 'acme'), allowed, `${role} in its own org`)
    t.equal(may(role, 'globex'), '', `${role} in another org`)
    t.equal(may(role, 'acme', { environment: 'production' }), allowed.replace('delete ', ''), `${role} in production`)
  }
  t.equal(may('operator', 'globex'), actions.map(([action]) => action).join(' '), 'unless the role says that it reaches every org')
})

t.test('data scientists read and predict models in their own org', async (t) => {
  const team = { team: 'data_science', org: 'acme' }
  const allowed = (asked: Asked): boolean => ask(policy, asked).allowed
  for (const action of ['read', 'predict']) {
    t.ok(allowed({ principal: team, action, resource: { org: 'acme' } }))
    t.notOk(allowed({ principal: team, action, resource: { org: 'globex' } }), 'not in another')
    t.notOk(allowed({ principal: { ...team, org: 'globex' }, action, resource: { org: 'acme' } }))
    t.notOk(allowed({ principal: { ...team, team: 'sales' }, action, resource: { org: 'acme' } }), 'not another team')
    t.notOk(allowed({ principal: team, action, resource: { type: 'log', org: 'acme' } }), 'not what is no model')
    t.notOk(allowed({ principal: { ...team, org: undefined }, action, resource: { org: undefined } }), 'not where no org is known')
  }
  for (const action of ['write', 'delete', 'train', 'reads', 'Read', '']) t.notOk(allowed({ principal: team, action, resource: { org: 'acme' } }), action)
})

t.test('nobody deletes production models, not an administrator and not an operator', async (t) => {
  for (const role of ['admin', 'operator']) {
    const asked = { principal: { roles: [role] }, action: 'delete' }
    t.same(ask(policy, { ...asked, context: { environment: 'production' } }), { allowed: false, rule: 'rule:nobody deletes production models', reason: 'forbidden' })
    t.equal(ask(policy, { ...asked, context: { environment: 'staging' } }).rule, `role:${role}`)
    t.equal(ask(policy, { ...asked, action: 'write', context: { environment: 'production' } }).allowed, true)
  }
})

t.test('acme-* is what begins so, and a star in a name is a letter', async (t) => {
  const queries = (id: string): boolean => ask(policy, { principal: { team: 'partners', org: 'other' }, action: 'query', resource: { id } }).allowed
  for (const id of ['acme-', 'acme-fraud', 'acme-fraud/v2', 'acme-*']) t.ok(queries(id), id)
  for (const id of ['acme', 'ACME-fraud', ' acme-fraud', 'globex-acme-fraud', '*', 'a*', 'аcme-fraud', 'acme\u2010fraud']) t.notOk(queries(id), id)
})

/** A server whose models belong to the org that their names begin with, and keys for those who ask. */
async function server (t: Test): Promise<{ app: FastifyInstance, reached: string[], as: (principal: Asked['principal']) => Promise<(method: 'GET' | 'PUT' | 'DELETE' | 'POST', url: string) => Promise<LightMyRequestResponse>> }> {
  const app = Fastify()
  t.teardown(() => app.close())
  const pepper = randomBytes(32)
  const store = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => store.close())
  await app.register(modelGuard, { authenticate: { authenticators: [apiKey({ store, pepper })] }, authorize: { policy, context: () => ({ environment: 'production' }) } })
  const reached: string[] = []
  const org = (id: string): string | undefined => id.split('-')[0]
  const answer = async ({ method, url }: { method: string, url: string }): Promise<string> => {
    reached.push(`${method} ${url}`)
    return 'done'
  }
  for (const [method, action] of [['GET', 'read'], ['PUT', 'write'], ['DELETE', 'delete'], ['POST', 'query']] as const) {
    app.route({ method, url: '/models/:model', config: { access: { action, resource: model(param('model'), { attributes: (id) => ({ org: org(id) }) }) } }, handler: answer })
  }
  app.get('/users', { config: { access: { action: 'manage_users', resource: resource('user', fixed('all'), { org: () => 'acme' }) } } }, answer)
  app.get('/logs', { config: { access: { action: 'view_logs', resource: resource('log', fixed('all'), { org: () => 'acme' }) } } }, answer)
  return {
    app,
    reached,
    as: async (principal) => {
      const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', type: 'user', tier: 'standard', ...principal } })
      return async (method, url) => await app.inject({ method, url, headers: { 'x-api-key': key } })
    }
  }
}

t.test('the same through HTTP: who may is answered, who may not is refused before the handler runs', async (t) => {
  const { app, reached, as } = await server(t)
  const people = {
    viewer: await as({ org: 'acme', roles: ['viewer'] }),
    analyst: await as({ org: 'acme', roles: ['analyst'] }),
    scientist: await as({ org: 'acme', roles: ['data_scientist'] }),
    admin: await as({ org: 'acme', roles: ['admin'] }),
    operator: await as({ org: 'root', roles: ['operator'] }),
    member: await as({ org: 'acme', team: 'data_science' }),
    partner: await as({ org: 'partner', team: 'partners' })
  }
  for (const [who, method, url, allowed] of [
    ['viewer', 'GET', '/models/acme-fraud', true], ['viewer', 'POST', '/models/acme-fraud', false], ['viewer', 'GET', '/models/globex-fraud', false], ['viewer', 'GET', '/logs', true], ['viewer', 'GET', '/users', false],
    ['analyst', 'POST', '/models/acme-fraud', true], ['analyst', 'PUT', '/models/acme-fraud', false], ['analyst', 'POST', '/models/globex-fraud', false],
    ['scientist', 'PUT', '/models/acme-fraud', true], ['scientist', 'DELETE', '/models/acme-fraud', false], ['scientist', 'PUT', '/models/globex-fraud', false],
    ['admin', 'PUT', '/models/acme-fraud', true], ['admin', 'GET', '/users', true], ['admin', 'DELETE', '/models/acme-fraud', false], ['admin', 'GET', '/models/globex-fraud', false],
    ['operator', 'PUT', '/models/globex-fraud', true], ['operator', 'DELETE', '/models/globex-fraud', false],
    ['member', 'GET', '/models/acme-fraud', true], ['member', 'PUT', '/models/acme-fraud', false], ['member', 'GET', '/models/globex-fraud', false],
    ['partner', 'POST', '/models/acme-fraud', true], ['partner', 'POST', '/models/globex-fraud', false], ['partner', 'GET', '/models/acme-fraud', false]
  ] as const) {
    const before = reached.length
    const answer = await people[who](method, url)
    t.equal(answer.statusCode, allowed ? 200 : 403, `${who} ${method} ${url}`)
    if (!allowed) t.match(answer.json(), { code: 'FMG_ERR_ACCESS_DENIED', message: 'access denied' })
    t.same(reached.slice(before), allowed ? [`${method} ${url}`] : [])
  }
  t.match(await app.inject('/models/acme-fraud'), { statusCode: 401 })
})
