import t from 'tap'
import { ask, askAnything, type Asked, bothEffects, cpuMs, policyOf, reference, rulesOf } from './questions.ts'

const model = { type: 'model' }

t.test('data scientists read and predict models in their own org', async (t) => {
  const policy = policyOf({
    policies: [{ name: 'own models', effect: 'allow', principal: { team: 'data_science' }, resource: { type: 'model', org: reference('principal.org') }, action: ['read', 'predict'] }]
  })
  const principal = { team: 'data_science' }
  t.same(ask(policy, { principal, action: 'predict' }), { allowed: true, rule: 'rule:own models', reason: 'allowed' })
  t.equal(ask(policy, { principal, action: 'read' }).allowed, true)
  t.same(ask(policy, { principal, action: 'delete' }), { allowed: false, rule: null, reason: 'no-match' })
  t.equal(ask(policy, { principal, action: 'Predict' }).allowed, false)
  t.equal(ask(policy, { principal: { team: 'sales' } }).allowed, false)
  t.equal(ask(policy, { principal, resource: { org: 'globex' } }).allowed, false)
  t.equal(ask(policy, { principal, resource: { type: 'dataset' } }).allowed, false)
  t.equal(ask(policy, { principal: { ...principal, org: '*' } }).allowed, false, 'a star in a claim is a letter')
  t.equal(ask(policy, { principal: { ...principal, org: undefined }, resource: { org: undefined } }).allowed, false, 'two that are missing are not the same')
  t.equal(ask(policy, { principal: { ...principal, org: '' }, resource: { org: '' } }).allowed, false, 'nor are two empty ones')
})

t.test('nobody deletes production models, not an administrator either', async (t) => {
  const policy = policyOf({
    roles: { admin: { permissions: ['*'], org: '*' } },
    policies: [
      { name: 'nobody deletes production models', effect: 'deny', resource: model, action: ['delete'], condition: { environment: 'production' } },
      { name: 'owners do as they please', effect: 'allow', resource: { owner: reference('principal.id') }, action: '*' }
    ]
  })
  const principal = { roles: ['admin'] }
  const context = { environment: 'production' }
  t.same(ask(policy, { principal, action: 'delete', context }), { allowed: false, rule: 'rule:nobody deletes production models', reason: 'forbidden' })
  t.equal(ask(policy, { action: 'delete', context, resource: { attributes: { owner: 'ann' } } }).allowed, false, 'a deny wins over an allow rule too')
  t.equal(ask(policy, { principal, action: 'delete', context: { environment: 'staging' } }).rule, 'role:admin')
  t.equal(ask(policy, { action: 'delete', resource: { attributes: { owner: 'ann' } } }).rule, 'rule:owners do as they please')
  t.equal(ask(policy, { principal, action: 'write', context }).allowed, true)
  t.equal(ask(policy, { principal, action: 'delete', resource: { type: 'dataset' }, context }).allowed, true)
})

t.test('what is asked for is compared letter by letter with patterns of the file', async (t) => {
  const outcome = (said: unknown, id: string): string => bothEffects({ resource: { id: said } }, { resource: { id } })
  for (const [said, id, expected] of [
    ['acme-*', 'acme-fraud', 'matches'], ['acme-*', 'acme-', 'matches'], ['acme-*', 'acme', 'misses'], ['acme-*', 'ACME-x', 'misses'], ['acme-*', 'xacme-', 'misses'],
    ['*-prod', 'fraud-prod', 'matches'], ['*-prod', 'fraud-prod2', 'misses'], ['a*a', 'a', 'misses'], ['a*a', 'aa', 'matches'], ['a*a', 'aba', 'matches'], ['a*b', 'aba', 'misses'], ['b*a', 'aba', 'misses'],
    ['a*b*c', 'a-b-c', 'matches'], ['a*b*c', 'abc', 'matches'], ['a*b*c', 'ac', 'misses'], ['a*bb*b', 'abb', 'misses'], ['a*bb*b', 'abbb', 'matches'], ['a**c', 'ac', 'matches'], ['*b*', 'abc', 'matches'], ['*b*', 'ac', 'misses'],
    ['*', 'anything', 'matches'], ['a*ab*b', 'aabb', 'matches'], ['a*ab*b', 'aab', 'misses'], ['a*cd*e*f', 'a/cd/f/e', 'misses'],
    ['fraud', '*', 'misses'], ['fraud', 'fraud-*', 'misses'], ['fraud-*', '*', 'misses'], ['fraud', 'fraud', 'matches'], ['a.c', 'abc', 'misses'], ['[a-z]*', 'abc', 'misses'],
    [['fraud', 'churn'], 'churn', 'matches'], [['fraud', 'churn'], 'other', 'misses'], [['fraud', 'acme-*'], 'acme-x', 'matches'], [['fraud', '*-x'], 'globex', 'misses'], [['fraud', '*-x'], 'acme-x', 'matches']
  ] as const) t.equal(outcome(said, id), expected, `${JSON.stringify(said)} and ${id}`)
})

t.test('a pattern of many stars takes time in proportion to the text', async (t) => {
  const policy = rulesOf({ resource: { id: 'a*'.repeat(500) + 'b' } }, { resource: { id: `${'a*'.repeat(20)}${'a'.repeat(255)}b*` } })
  const start = cpuMs()
  t.equal(ask(policy, { resource: { id: 'a'.repeat(100_000) } }).allowed, false)
  t.ok(cpuMs() - start < 1000)
})

t.test('references stand for one value, literally, inside a pattern too', async (t) => {
  const outcome = (said: unknown, id: string, attributes: Record<string, unknown>): string => bothEffects({ resource: { id: said } }, { resource: { id }, principal: { attributes } })
  const one = reference('principal.attributes.project')
  for (const [said, id, project, expected] of [
    [one, 'p1', 'p1', 'matches'], [one, 'p1', 'p2', 'misses'], [one, 'p1', undefined, 'misses'], [one, 'p1', null, 'misses'], [one, 'p1', '*', 'misses'], [one, '*', '*', 'matches'], [one, '1', 1, 'misses'],
    [one, 'p1', ['p0', 'p1'], 'matches'], [one, 'p1', ['p0', '*'], 'misses'], [one, 'p1', [['p1']], 'misses'], [one, 'p1', { p1: 1 }, 'misses'],
    [`${one}-*`, 'p1-x', 'p1', 'matches'], [`${one}-*`, 'p2-x', 'p1', 'misses'], [`${one}-*`, 'p2-x', '*', 'misses'], [`${one}-*`, '*-x', '*', 'matches'], [`${one}-*`, '-x', '', 'misses'],
    [`${one}-*`, '1-x', 1, 'misses'], [`${one}-*`, 'p1-x', undefined, 'misses'], [`${one}-*`, 'p1-x', ['p1'], 'misses'], [`*/${one}/*`, 'a/p1/b', 'p1', 'matches'], [`*/${one}/*`, 'a/p2/b', 'p1', 'misses'],
    [`${one}${one}`, 'abab', 'ab', 'matches'], [`${one}${one}`, 'ab', 'ab', 'misses'], [`a*${one}`, 'a-p1', 'p1', 'matches'], [`${one}*${one}`, 'p1', 'p1', 'misses'], [`${one}*${one}`, 'p1p1', 'p1', 'matches'],
    [`${one}*`, 'x'.repeat(300), 'x'.repeat(256), 'matches'], [`${one}*`, 'x'.repeat(300), 'x'.repeat(257), 'misses'], [[one, 'other'], 'other', undefined, 'matches']
  ] as const) t.equal(outcome(said, id, project === undefined ? {} : { project }), expected, `${JSON.stringify(said)} and ${id.slice(0, 9)} with ${project === undefined ? 'nothing' : JSON.stringify(project).slice(0, 9)}`)
})

t.test('a reference to the resource serves the principal, and either serves the condition', async (t) => {
  const matches = (rule: Record<string, unknown>, asked: Asked): boolean => ask(rulesOf(rule), asked).allowed
  t.equal(matches({ principal: { id: reference('resource.owner') } }, { resource: { attributes: { owner: 'ann' } } }), true)
  t.equal(matches({ principal: { id: reference('resource.owner') } }, { resource: { attributes: { owner: 'bob' } } }), false)
  t.equal(matches({ condition: { region: reference('principal.region') } }, { context: { region: 'eu' }, principal: { attributes: { region: 'eu' } } }), true)
  t.equal(matches({ condition: { region: reference('principal.region') } }, { context: { region: 'eu' }, principal: { attributes: { region: 'us' } } }), false)
  t.equal(matches({ resource: { owner: reference('principal.projects') } }, { resource: { attributes: { owner: '' } }, principal: { attributes: { projects: ['', 'x'] } } }), false, 'an empty member is as good as none')
  t.equal(matches({ resource: { owner: reference('principal.projects') } }, { resource: { attributes: { owner: 'x' } }, principal: { attributes: { projects: ['', 'x'] } } }), true)
  t.equal(matches({ condition: { region: reference('principal.region') } }, {}), false)
  t.equal(matches({ action: reference('principal.duty') }, { principal: { attributes: { duty: 'read' } } }), true)
})

t.test('every attribute of a principal and a resource can be spoken of', async (t) => {
  const asked: Asked = {
    principal: {
      id: 'spiffe://acme.example/a',
      type: 'service',
      team: 'risk',
      tier: 'gold',
      roles: ['analyst', 'viewer'],
      scopes: ['models', 'logs'],
      attributes: { level: 3, active: true, 'a-b': 'c', nested: { deep: ['x', 'y'] } },
      credential: { method: 'mtls', id: 'c1', issuer: 'ca', boundTo: 'thumb', expiresAt: Date.UTC(2027) }
    },
    resource: { attributes: { sensitivity: 'high', card: { license: 'mit' } } },
    context: { method: 'POST', server: { region: 'eu' } }
  }
  for (const rule of [
    { principal: { id: 'spiffe://acme.example/*', type: 'service', org: 'acme', team: 'risk', tier: ['gold', 'free'], roles: 'viewer', scopes: ['other', 'logs'] } },
    { principal: { level: 3, active: true, 'a-b': 'c', 'nested.deep': 'y' } },
    { principal: { attributes: { level: [2, 3], active: true, 'nested.deep': 'y' } } },
    { principal: { 'attributes.level': 3, roles: 'an*', scopes: { ne: 'admin' } } },
    { principal: { credential: { method: 'mtls', id: 'c1', issuer: 'ca', boundTo: 'thumb', expiresAt: { after: '2026-01-01T00:00:00Z' } } } },
    { principal: { 'credential.method': 'mtls' } },
    { resource: { type: 'model', id: 'fraud', org: 'acme', sensitivity: 'high', 'card.license': 'mit', attributes: { sensitivity: 'h*' } } },
    { condition: { method: ['GET', 'POST'], 'server.region': 'eu' } }
  ]) t.equal(bothEffects(rule, asked), 'matches', JSON.stringify(rule))
  for (const rule of [
    { principal: { id: 'spiffe://other.example/*' } }, { principal: { type: 'user' } }, { principal: { roles: 'admin' } }, { principal: { scopes: 'log' } }, { principal: { level: '3' } }, { principal: { level: 4 } }, { principal: { level: '*' } },
    { principal: { active: false } }, { principal: { nested: 'x' } }, { principal: { 'nested.deep.length': 2 } }, { principal: { 'nested.deep.0': 'x' } }, { principal: { missing: '*' } }, { principal: { credential: { method: 'jwt' } } },
    { principal: { attributes: { level: 3 }, level: 4 } }, { resource: { attributes: { type: 'model' } } }, { condition: { method: 'DELETE' } }, { condition: { server: 'eu' } }, { condition: { attributes: { eq: 'x' } } }
  ]) t.equal(bothEffects(rule, asked), 'misses', JSON.stringify(rule))
})

t.test('names that live on prototypes are nobody\'s until somebody has them', async (t) => {
  for (const name of ['constructor', 'prototype', 'toString', 'hasOwnProperty', 'constructor.name', 'constructor.prototype']) {
    t.equal(bothEffects({ resource: { [name]: { exists: true } } }, {}), 'misses', name)
    t.equal(bothEffects({ condition: { [name]: '*' } }, {}), 'misses', name)
    t.equal(bothEffects({ resource: { owner: reference(`principal.${name}`) } }, { resource: { attributes: { owner: 'Object' } } }), 'misses', name)
  }
  t.equal(bothEffects({ resource: { owner: reference('principal.__proto__') } }, { resource: { attributes: { owner: 'Object' } } }), 'misses')
  t.equal(bothEffects({ resource: { prototype: 'x', constructor: 'y' } }, { resource: { attributes: { prototype: 'x', constructor: 'y' } } }), 'matches')
  t.equal(bothEffects({ resource: { owner: 'x' } }, { resource: { attributes: JSON.parse('{ "__proto__": { "owner": "x" } }') as Record<string, unknown> } }), 'misses', 'a member of this name gives nothing to the object that has it')
})

t.test('what one constraint misses counts more than what another cannot evaluate, whatever their order', async (t) => {
  const unevaluable = { 'a.size': { gt: 3 } }
  const missed = { sensitivity: 'high' }
  for (const resource of [{ ...unevaluable, ...missed }, { ...missed, ...unevaluable }]) t.equal(bothEffects({ resource }, {}), 'misses')
  t.equal(bothEffects({ resource: { ...unevaluable, ...missed } }, { resource: { attributes: { sensitivity: 'high' } } }), 'cannot be evaluated')
})

t.test('a matching deny is named before one that cannot be evaluated, and that one before any allow', async (t) => {
  const unevaluable = { name: 'a', effect: 'deny', resource: { size: { gt: 3 } } }
  const policy = rulesOf(unevaluable, { name: 'b', effect: 'deny', principal: { id: 'bob' } }, { name: 'c' })
  t.same(ask(policy), { allowed: false, rule: 'rule:a', reason: 'policy-error' })
  t.same(ask(policy, { principal: { id: 'bob' } }), { allowed: false, rule: 'rule:b', reason: 'forbidden' })
  t.same(ask(policy, { resource: { attributes: { size: 3 } } }), { allowed: true, rule: 'rule:c', reason: 'allowed' })
  t.equal(ask(rulesOf({ resource: { size: { gt: 3 } } }, { name: 'other' })).rule, 'rule:other', 'an allow rule that cannot be evaluated hinders no other')
})

t.test('a question that throws when it is read is denied', async (t) => {
  const throwing = { get bad (): never { throw new Error('no') } }
  t.equal(bothEffects({ resource: { bad: 'x' } }, { resource: { attributes: throwing } }), 'cannot be evaluated')
  const policy = rulesOf({}, ...Array.from({ length: 9 }, (_, index) => ({ name: `n${index}`, resource: { bad: `x${index}` } })))
  t.same(ask(policy, { resource: { attributes: throwing } }), { allowed: false, rule: null, reason: 'policy-error' }, 'also where rules are looked up by it')
  const malformed: readonly unknown[] = [undefined, null, 'ann', {}]
  for (const principal of malformed) {
    t.same(askAnything(policy, principal, 'read', undefined, undefined), { allowed: false, rule: null, reason: 'policy-error' })
  }
})

t.test('a rule without a part matches whatever that part is', async (t) => {
  t.equal(ask(rulesOf({}), { resource: { type: 'anything' } }).allowed, true)
  t.equal(ask(rulesOf({ action: '*' }), { action: 'anything' }).allowed, true)
  t.equal(ask(policyOf({ policies: [{ name: 'banned', effect: 'deny', principal: { id: 'ann' } }], roles: { admin: { permissions: ['*'] } } }), { principal: { roles: ['admin'] }, action: 'anything' }).rule, 'rule:banned')
  t.equal(ask(policyOf({})).reason, 'no-match', 'a file without rules and roles allows nothing')
})

t.test('decisions are frozen and shared, so that nobody can change one for the next', async (t) => {
  const policy = policyOf({ roles: { r: { permissions: ['model:read'] } }, policies: [{ name: 'no', effect: 'deny', action: 'write', resource: { size: { gt: 1 } } }, { name: 'banned', effect: 'deny', principal: { id: 'bob' } }, { name: 'yes', effect: 'allow', action: 'ping' }] })
  for (const asked of [{ principal: { roles: ['r'] } }, { action: 'write' }, { action: 'ping' }, { principal: { id: 'bob' } }, { action: 'other' }]) t.ok(Object.isFrozen(ask(policy, asked)))
})
