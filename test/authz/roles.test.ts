import t from 'tap'
import { ask, policyOf, reference } from './questions.ts'

const roles = {
  viewer: { permissions: ['model:read', 'log:view_logs'] },
  analyst: { inherits: ['viewer'], permissions: ['model:query'] },
  data_scientist: { inherits: ['analyst'], permissions: ['model:write', 'model:train', 'model:evaluate'] },
  admin: { permissions: ['*'], org: '*' }
}
const actions = [['model', 'read'], ['model', 'write'], ['model', 'train'], ['model', 'evaluate'], ['model', 'query'], ['model', 'delete'], ['user', 'manage_users'], ['log', 'view_logs']] as const

t.test('each role may do its own and what it inherits, in its own org', async (t) => {
  const policy = policyOf({ roles })
  const expected: Record<string, string> = {
    viewer: 'read view_logs',
    analyst: 'read query view_logs',
    data_scientist: 'read write train evaluate query view_logs',
    admin: 'read write train evaluate query delete manage_users view_logs',
    stranger: ''
  }
  for (const [role, allowed] of Object.entries(expected)) {
    const own = actions.filter(([type, action]) => ask(policy, { principal: { roles: [role] }, action, resource: { type } }).allowed)
    const foreign = actions.filter(([type, action]) => ask(policy, { principal: { roles: [role] }, action, resource: { type, org: 'globex' } }).allowed)
    t.equal(own.map(([, action]) => action).join(' '), allowed, `${role} in its own org`)
    t.equal(foreign.map(([, action]) => action).join(' '), role === 'admin' ? allowed : '', `${role} in another org`)
  }
})

t.test('the decision names the role that is held, not the one that it inherits from', async (t) => {
  const policy = policyOf({ roles })
  t.same(ask(policy, { principal: { roles: ['stranger', 'analyst', 'admin'] } }), { allowed: true, rule: 'role:analyst', reason: 'allowed' })
  t.same(ask(policy, { principal: { roles: ['analyst'] }, action: 'train' }), { allowed: false, rule: null, reason: 'no-match' })
})

t.test('a role reaches a resource only when both orgs are known and the same, letter by letter', async (t) => {
  const policy = policyOf({ roles })
  const reached = (mine: string | undefined, its: string | undefined): boolean => ask(policy, { principal: { roles: ['viewer'], org: mine }, resource: { org: its } }).allowed
  t.equal(reached('acme', 'acme'), true)
  t.equal(reached('acme', 'globex'), false)
  t.equal(reached('acme', 'ACME'), false)
  t.equal(reached('acme', undefined), false, 'a resource of no org is in no role\'s reach')
  t.equal(reached(undefined, 'acme'), false)
  t.equal(reached(undefined, undefined), false, 'two that are missing are not the same')
  t.equal(reached('', ''), false, 'nor are two empty ones')
  t.equal(reached('*', 'acme'), false, 'a star in a claim is a letter')
  t.equal(reached('acme', '*'), false, 'and so in a resource')
})

t.test('how far a permission reaches is said by the role that is held', async (t) => {
  const policy = policyOf({
    roles: {
      local: { permissions: ['model:read'] },
      wide: { permissions: ['model:write'], org: '*' },
      widened: { inherits: ['local'], org: '*' },
      narrowed: { inherits: ['wide'] }
    }
  })
  const reaches = (role: string, action: string, org: string): boolean => ask(policy, { principal: { roles: [role] }, action, resource: { org } }).allowed
  t.equal(reaches('widened', 'read', 'globex'), true, 'org: \'*\' holds for what the role inherits')
  t.equal(reaches('local', 'read', 'globex'), false)
  t.equal(reaches('narrowed', 'write', 'acme'), true)
  t.equal(reaches('narrowed', 'write', 'globex'), false, 'and is not gained from what it inherits')
})

t.test('permissions are patterns of a type and an action', async (t) => {
  const policy = policyOf({
    roles: {
      a: { permissions: ['model:*', 'data*:read', 'job:st*', '*:ping', 'job:*p', 'model:read'] },
      b: { permissions: ['*:*'] }
    }
  })
  const may = (role: string, type: string, action: string): boolean => ask(policy, { principal: { roles: [role] }, action, resource: { type } }).allowed
  for (const [type, action, expected] of [
    ['model', 'anything', true], ['models', 'read', false], ['Model', 'read', false], ['dataset', 'read', true], ['data', 'read', true],
    ['dataset', 'write', false], ['job', 'start', true], ['job', 'stop', true], ['job', 'skip', true], ['job', 'cancel', false], ['other', 'ping', true], ['other', 'pings', false],
    ['data*', 'write', false], ['job', '*', false], ['*', 'read', false]
  ] as const) t.equal(may('a', type, action), expected, `${type}:${action}`)
  t.equal(may('b', 'anything', 'at all'), true)
})

t.test('names from JavaScript are plain names', async (t) => {
  const policy = policyOf({ roles: { constructor: { permissions: ['toString:valueOf'] } } })
  t.strictSame(policy.roles, ['constructor'])
  t.equal(ask(policy, { principal: { roles: ['constructor'] }, action: 'valueOf', resource: { type: 'toString' } }).allowed, true)
  for (const name of ['__proto__', 'prototype', 'toString', 'hasOwnProperty', 'valueOf']) {
    t.equal(ask(policy, { principal: { roles: [name] }, action: name, resource: { type: name } }).allowed, false)
  }
})

t.test('assigned roles are for principals whose credential brings none', async (t) => {
  const policy = policyOf({
    roles: { ...roles, auditor: { permissions: ['log:read'] } },
    assignments: [
      { principal: { id: 'spiffe://acme.example/batch/*' }, roles: ['analyst'] },
      { principal: { credential: { method: 'mtls' } }, roles: ['auditor'] },
      { principal: { clearance: { gte: 3 } }, roles: ['data_scientist'] },
      { principal: { tier: reference('principal.team') }, roles: ['admin'] }
    ],
    policies: [{ name: 'no auditor writes', effect: 'deny', principal: { roles: 'auditor' }, action: 'query' }]
  })
  const batch = { id: 'spiffe://acme.example/batch/7' }
  t.equal(ask(policy, { principal: batch, action: 'query' }).rule, 'role:analyst')
  t.equal(ask(policy, { principal: { ...batch, roles: ['viewer'] }, action: 'query' }).allowed, false, 'a credential with roles keeps to them')
  t.equal(ask(policy, { principal: { id: 'spiffe://acme.example/other' }, action: 'query' }).allowed, false)
  t.equal(ask(policy, { principal: batch, action: 'query', resource: { org: 'globex' } }).allowed, false, 'an assigned role reaches no further')
  const mtls = { ...batch, credential: { method: 'mtls', id: 'c' } } as const
  t.equal(ask(policy, { principal: mtls, resource: { type: 'log' } }).rule, 'role:auditor', 'several assignments add up')
  t.equal(ask(policy, { principal: mtls }).rule, 'role:analyst')
  t.equal(ask(policy, { principal: mtls, action: 'query' }).rule, 'rule:no auditor writes', 'rules see assigned roles')
  t.equal(ask(policy, { principal: { attributes: { clearance: 3 } }, action: 'train' }).rule, 'role:data_scientist')
  t.equal(ask(policy, { principal: { attributes: { clearance: '3' } }, action: 'train' }).allowed, false, 'an assignment that cannot be evaluated assigns nothing')
  t.equal(ask(policy, { principal: { team: 'gold' }, action: 'delete' }).rule, 'role:admin')
  t.equal(ask(policy, { action: 'delete' }).allowed, false)
})

t.test('a file of many roles is bounded in what they inherit', async (t) => {
  const chain = (length: number): [string, unknown][] => Array.from({ length }, (_, index) => [`r${index}`, index === 0 ? { permissions: ['model:read'] } : { inherits: [`r${index - 1}`, `r${index - 1}`] }])
  for (const [order, inOrder] of Object.entries({ parentsFirst: (roles: [string, unknown][]) => roles, heirsFirst: (roles: [string, unknown][]) => roles.reverse() })) {
    t.equal(ask(policyOf({ roles: Object.fromEntries(inOrder(chain(33))) }), { principal: { roles: ['r32'] } }).rule, 'role:r32', order)
    t.throws(() => policyOf({ roles: Object.fromEntries(inOrder(chain(34))) }), { code: 'FMG_ERR_POLICY_INVALID', message: /expected at most 32 roles one above the other/ }, order)
  }
  t.throws(() => policyOf({ roles: Object.fromEntries(chain(20_000).reverse()) }), { message: /expected at most 32 roles one above the other/ }, 'and long before the stack is exhausted')

  const many = (heirs: number): unknown => policyOf({
    roles: {
      base: { permissions: Array.from({ length: 1000 }, (_, index) => `m:a${index}`) },
      ...Object.fromEntries(Array.from({ length: heirs }, (_, index) => [`h${index}`, { inherits: ['base'] }]))
    }
  })
  t.doesNotThrow(() => many(249))
  t.throws(() => many(250), { code: 'FMG_ERR_POLICY_INVALID', message: /expected at most 250000 permissions/ })
})

t.test('roles can be assigned for some resources only', async (t) => {
  const policy = policyOf({
    roles,
    assignments: [
      { principal: { id: 'bot-*' }, roles: ['analyst'], resource: { type: 'model', id: 'fraud-*' } },
      { principal: { id: 'bot-7' }, roles: ['data_scientist'], resource: { type: 'model', owner: reference('principal.team') } }
    ],
    policies: [{ name: 'no analyst asks the vault', effect: 'deny', principal: { roles: 'analyst' }, resource: { vaulted: true }, action: 'query' }]
  })
  const may = (action: string, id: string, attributes: Readonly<Record<string, unknown>> = {}, principal: Parameters<typeof ask>[1] = {}): string | null =>
    ask(policy, { principal: { id: 'bot-7', team: 'risk', ...principal.principal }, action, resource: { id, attributes, ...principal.resource } }).rule
  t.equal(may('query', 'fraud-eu'), 'role:analyst')
  t.equal(may('query', 'churn'), null)
  t.equal(may('query', 'fraud'), null)
  t.equal(may('query', 'fraud-eu', {}, { resource: { type: 'dataset' } }), null)
  t.equal(may('query', 'fraud-eu', {}, { resource: { org: 'globex' } }), null, 'and in the own org only')
  t.equal(may('query', 'fraud-eu', {}, { principal: { roles: ['viewer'] } }), null, 'a credential with roles keeps to them')
  t.equal(may('query', 'fraud-eu', {}, { principal: { id: 'ann' } }), null)
  t.equal(may('train', 'churn', { owner: 'risk' }), 'role:data_scientist', 'a resource may be the holder\'s own')
  t.equal(may('train', 'churn', { owner: 'sales' }), null)
  t.equal(may('train', 'churn'), null, 'what is missing is nobody\'s')
  t.equal(may('query', 'fraud-eu', { vaulted: true }), 'rule:no analyst asks the vault', 'rules see the roles that are held there')
  t.equal(may('train', 'churn', { owner: 'risk', vaulted: true }), 'role:data_scientist')
  t.throws(() => policyOf({ roles, assignments: [{ principal: { id: 'a' }, roles: ['analyst'], resource: {} }] }), /expected at least one attribute/)
  t.throws(() => policyOf({ roles, assignments: [{ principal: { id: 'a' }, roles: ['analyst'], resources: { id: 'x' } }] }), /did you mean resource\?/)
})
