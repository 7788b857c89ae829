import t from 'tap'
import { readBatch } from '../../src/authz/authzen-batch.ts'
import { readQuestion } from '../../src/authz/authzen-question.ts'
import { policy } from '../helpers/guard.ts'

const subject = { type: 'user', id: 'ann' }
const action = { name: 'predict' }
const resource = { type: 'model', id: 'fraud' }
const question = { subject, action, resource }

t.test('what is left out is not known', async (t) => {
  t.same(readQuestion(question), {
    principal: { id: 'ann', type: 'user', org: undefined, team: undefined, tier: undefined, roles: [], scopes: [], attributes: {}, credential: undefined },
    action: 'predict',
    resource: { type: 'model', id: 'fraud', org: undefined, attributes: {} },
    context: {}
  })
})

t.test('properties that policies have names for are under these names, all others are attributes', async (t) => {
  const read = readQuestion({
    ...question,
    subject: { ...subject, type: 'agent', properties: { org: 'acme', team: 'risk', tier: 'gold', roles: ['analyst'], scopes: ['s'], credential: { method: 'mtls', issuer: 'ca', id: 'ignored' }, grade: 7, attributes: { x: 1 } }, extra: 1 },
    action: { ...action, properties: { soft: true }, extra: 1 },
    resource: { ...resource, properties: { org: 'acme', sensitivity: 'high' }, extra: 1 },
    context: { environment: 'lab', action: 'replaced' },
    extra: 1
  })
  t.same(read, {
    principal: { id: 'ann', type: 'agent', org: 'acme', team: 'risk', tier: 'gold', roles: ['analyst'], scopes: ['s'], attributes: { grade: 7, attributes: { x: 1 } }, credential: { method: 'mtls', issuer: 'ca' } },
    action: 'predict',
    resource: { type: 'model', id: 'fraud', org: 'acme', attributes: { sensitivity: 'high' } },
    context: { environment: 'lab', action: { soft: true } }
  })
})

t.test('what is of another kind is refused, and named', async (t) => {
  const refused = (message: unknown, detail: string): void => {
    t.throws(() => readQuestion(message), { code: 'FMG_ERR_REQUEST_INVALID', message: `the request is not valid: ${detail}`, reason: 'evaluation-malformed' }, detail)
  }
  refused(null, 'the evaluation must be an object')
  for (const part of ['subject', 'action', 'resource']) {
    for (const value of [undefined, null, 'ann', [], 1]) refused({ ...question, [part]: value }, `${part} must be an object`)
  }
  for (const value of [undefined, null, '', 7, ['x'], {}]) {
    refused({ ...question, subject: { ...subject, id: value } }, 'subject.id must be a non-empty string')
    refused({ ...question, subject: { ...subject, type: value } }, 'subject.type must be a non-empty string')
    refused({ ...question, action: { name: value } }, 'action.name must be a non-empty string')
    refused({ ...question, resource: { ...resource, type: value } }, 'resource.type must be a non-empty string')
    refused({ ...question, resource: { ...resource, id: value } }, 'resource.id must be a non-empty string')
  }
  for (const value of [null, 'x', []]) {
    refused({ ...question, context: value }, 'context must be an object')
    refused({ ...question, subject: { ...subject, properties: value } }, 'subject.properties must be an object')
    refused({ ...question, action: { ...action, properties: value } }, 'action.properties must be an object')
    refused({ ...question, resource: { ...resource, properties: value } }, 'resource.properties must be an object')
    refused({ ...question, subject: { ...subject, properties: { credential: value } } }, 'subject.properties.credential must be an object')
  }
  for (const name of ['org', 'team', 'tier']) {
    for (const value of [null, '', 7, ['acme']]) refused({ ...question, subject: { ...subject, properties: { [name]: value } } }, `subject.properties.${name} must be a non-empty string`)
  }
  refused({ ...question, resource: { ...resource, properties: { org: ['acme'] } } }, 'resource.properties.org must be a non-empty string')
  for (const name of ['method', 'issuer']) refused({ ...question, subject: { ...subject, properties: { credential: { [name]: 1 } } } }, `subject.properties.credential.${name} must be a non-empty string`)
  for (const name of ['roles', 'scopes']) {
    for (const value of [null, 'admin', { 0: 'admin', length: 1 }]) refused({ ...question, subject: { ...subject, properties: { [name]: value } } }, `subject.properties.${name} must be a list of strings`)
    for (const value of [[['admin']], [null], [{}], ['analyst', ''], [1]]) refused({ ...question, subject: { ...subject, properties: { [name]: value } } }, `each of subject.properties.${name} must be a non-empty string`)
  }
})

t.test('a time is read as the specification writes it, and another is left as it is', async (t) => {
  const time = (value: unknown): unknown => readQuestion({ ...question, context: { time: value } }).context['time']
  t.equal(time('1985-10-26T01:22-07:00'), '1985-10-26T01:22:00-07:00')
  t.equal(time('1985-10-26T01:22Z'), '1985-10-26T01:22:00Z')
  for (const value of ['1985-10-26T01:22:03-07:00', '1985-10-26T01:22', '01:22', 7, null]) t.equal(time(value), value)
  t.notOk('time' in readQuestion(question).context)
})

t.test('a policy file answers about who has no credential here, and what asks for one is not met', async (t) => {
  const decide = (rule: string, properties: unknown = {}): unknown => {
    const { principal, action, resource, context } = readQuestion({ ...question, subject: { type: 'agent', id: 'ann', properties } })
    const { allowed, reason } = policy(`version: 1\npolicies: [{ name: all, effect: allow, action: '*' }, ${rule}]`).decide(principal, action, resource, context)
    return allowed ? 'allowed' : reason
  }
  t.equal(decide('{ name: agents, effect: deny, principal: { type: agent } }'), 'forbidden')
  t.equal(decide('{ name: users, effect: deny, principal: { type: [user, service] } }'), 'allowed')
  t.equal(decide('{ name: keys, effect: deny, principal: { credential: { method: api-key } } }'), 'allowed')
  t.equal(decide('{ name: certificates only, effect: deny, principal: { credential: { method: { ne: mtls } } } }'), 'policy-error')
  t.equal(decide('{ name: certificates only, effect: deny, principal: { credential: { method: { ne: mtls } } } }', { credential: { method: 'mtls' } }), 'allowed')
  t.equal(decide('{ name: certificates only, effect: deny, principal: { credential: { method: { ne: mtls } } } }', { credential: { method: 'api-key' } }), 'forbidden')
  for (const name of ['id', 'issuer', 'boundTo', 'expiresAt']) t.equal(decide(`{ name: x, effect: deny, principal: { credential: { ${name}: { exists: true } } } }`), 'allowed', name)
  t.equal(decide('{ name: tiers, effect: deny, principal: { tier: { exists: false } } }'), 'forbidden')
})

t.test('somebody without roles has those that are assigned', async (t) => {
  const file = policy("version: 1\nroles: { analyst: { permissions: [model:predict], org: '*' }, nobody: { permissions: [model:none] } }\nassignments: [{ principal: { id: ann }, roles: [analyst] }]")
  const allowed = (properties: unknown): boolean => {
    const { principal, action, resource, context } = readQuestion({ ...question, subject: { ...subject, properties } })
    return file.decide(principal, action, resource, context).allowed
  }
  t.equal(allowed({}), true)
  t.equal(allowed({ roles: [] }), true)
  t.equal(allowed({ roles: ['nobody'] }), false)
})

t.test('of a list, each question is as if it had been asked alone', async (t) => {
  const messages = (request: Readonly<Record<string, unknown>>): unknown => readBatch(request, 10)?.messages
  t.same(messages({ ...question, context: { a: 1, b: 2 }, evaluations: [{}, { context: { a: 3 } }, { subject: { type: 'user', id: 'bob' } }] }), [
    { ...question, context: { a: 1, b: 2 } },
    { ...question, context: { a: 3 } },
    { ...question, subject: { type: 'user', id: 'bob' }, context: { a: 1, b: 2 } }
  ])
  const whole = { type: 'model', id: 'fraud', properties: { org: 'acme' } }
  t.same(messages({ subject, action, resource: whole, evaluations: [{ resource: { type: 'model', id: 'x' } }] }), [{ subject, action, resource: { type: 'model', id: 'x' }, context: undefined }], 'properties are not inherited')
  t.same(messages({ subject, action, resource: {}, evaluations: [{ resource }] }), [{ subject, action, resource, context: undefined }])
})

t.test('of what it overrides, a question takes only what it needs and does not have', async (t) => {
  const first = (top: object, own: object): unknown => readBatch({ ...top, evaluations: [own] }, 10)?.messages[0]
  t.match(first({ resource: { type: 'model' } }, { resource: { id: 'x', properties: { a: 1 } } }), { resource: { type: 'model', id: 'x', properties: { a: 1 } } })
  t.match(first({ subject: { id: 'ann', type: 'user', properties: { roles: ['admin'] } } }, { subject: { id: 'bob' } }), { subject: { id: 'bob', type: 'user', properties: undefined } })
  t.match(first({ action }, { action: { properties: { soft: true } } }), { action: { name: 'predict', properties: { soft: true } } })
  t.match(first({ resource }, { resource: { id: null, type: 'x' } }), { resource: { id: null, type: 'x' } }, 'what is null is there')
  t.match(first({ resource: {} }, { resource: { id: 'x' } }), { resource: { id: 'x', type: undefined } })
  t.match(first({ resource }, { resource: 'x' }), { resource: 'x' })
  t.match(first({}, { resource: { id: 'x' } }), { resource: { id: 'x', type: undefined } })
})
