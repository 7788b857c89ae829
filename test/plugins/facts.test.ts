import { hash } from 'node:crypto'
import fc from 'fast-check'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { detailJson } from '../../src/audit/detail.ts'
import type { Context, Resource } from '../../src/authz/policy.ts'
import { canonicalJson } from '../../src/encoding.ts'
import { factsWriter, type FactsWriter } from '../../src/plugins/facts.ts'
import { contextPart, principalPart, resourcePart } from '../../src/plugins/facts-parts.ts'
import { keepMembers } from '../../src/plugins/kept-members.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { fixed, model, param, resource } from '../../src/plugins/resource.ts'
import type { Principal } from '../../src/principal.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'

const principal = (id: string, more: Partial<Principal> = {}): Principal => ({ id, type: 'user', tier: 't', roles: [], scopes: [], attributes: {}, credential: { method: 'session', id }, ...more })
const ann = principal('ann')
const fraud: Resource = { type: 'model', id: 'fraud', org: 'acme', attributes: Object.freeze({ org: 'acme', sensitivity: 'high' }) }
const context: Context = { time: 1, ip: '192.0.2.1', method: 'POST', tls: true, environment: 'production' }

interface Opened {
  readonly write: FactsWriter
  /** Closes the log and gives what it holds of facts. */
  readonly lines: () => Promise<Record<string, unknown>[]>
}

async function open (t: Test, more: Partial<Parameters<typeof factsWriter>[1]> = {}): Promise<Opened> {
  const folder = t.testdir()
  const { log } = await auditIn(folder)
  return {
    write: factsWriter(log, { principalAttributes: [], ...more }),
    lines: async () => {
      await log.close()
      return recordsIn(folder)
    }
  }
}

t.test('what was judged is written once, under its digest', async (t) => {
  const { write, lines } = await open(t)
  const facts = write(ann, 'u_1', { resource: fraud, context })
  t.equal(write(ann, 'u_1', { resource: fraud, context }), facts)
  t.equal(write(principal('ann'), 'u_1', { resource: { ...fraud }, context: { ...context } }), facts, 'whichever objects say it')
  t.equal(write(ann, 'u_1', { resource: { ...fraud, attributes: { sensitivity: 'high', org: 'acme' } }, context }), facts, 'in whatever order')
  t.equal(write(ann, 'u_1', { resource: { ...fraud, id: 'churn' }, context: { ...context, time: 2, ip: '192.0.2.2' } }), facts, 'whatever the id, the time and the address')
  const written = await lines()
  t.same(written.map(({ action, user_id: user, facts, detail }) => ({ action, user, facts, detail })), [{
    action: 'facts',
    user: 'u_1',
    facts,
    detail: {
      principal: { type: 'user', tier: 't', roles: [], scopes: [], credential: { method: 'session' } },
      resource: { type: 'model', org: 'acme', attributes: { org: 'acme', sensitivity: 'high' } },
      context: { method: 'POST', tls: true, environment: 'production' }
    }
  }])
  const detail = written[0]?.['detail']
  t.equal(facts, `sha256:${hash('sha256', canonicalJson({ ...Object(detail) as object, user: 'u_1' }))}`)
  t.notMatch(JSON.stringify(written), /192\.0\.2/)
})

t.test('whatever can change a decision has facts of its own', async (t) => {
  const { write, lines } = await open(t)
  const judged = { resource: fraud, context }
  const others: [Principal, string, Parameters<FactsWriter>[2]][] = [
    [ann, 'u_1', undefined],
    [ann, 'u_2', judged],
    [principal('ann', { roles: ['a'] }), 'u_1', judged],
    [principal('ann', { scopes: ['model:read'] }), 'u_1', judged],
    [principal('ann', { org: 'acme' }), 'u_1', judged],
    [principal('ann', { team: 'red' }), 'u_1', judged],
    [principal('ann', { tier: 'x' }), 'u_1', judged],
    [principal('ann', { type: 'service' }), 'u_1', judged],
    [principal('ann', { credential: { method: 'jwt', id: 'x' } }), 'u_1', judged],
    [principal('ann', { credential: { method: 'session', id: 'x', issuer: 'i' } }), 'u_1', judged],
    [principal('ann', { credential: { method: 'session', id: 'x', limitedTo: ['a:b'] } }), 'u_1', judged],
    [ann, 'u_1', { resource: { ...fraud, type: 'key' }, context }],
    [ann, 'u_1', { resource: { ...fraud, org: 'other' }, context }],
    [ann, 'u_1', { resource: { type: 'model', id: 'fraud', attributes: fraud.attributes }, context }],
    [ann, 'u_1', { resource: { ...fraud, attributes: { org: 'acme', sensitivity: 'low' } }, context }],
    [ann, 'u_1', { resource: { ...fraud, attributes: { org: 'acme', sensitivity: { level: 1 } } }, context }],
    [ann, 'u_1', { resource: { ...fraud, attributes: { org: 'acme', sensitivity: { level: 2 } } }, context }],
    [ann, 'u_1', { resource: fraud, context: { ...context, method: 'GET' } }],
    [ann, 'u_1', { resource: fraud, context: { ...context, tags: ['a'] } }],
    [ann, 'u_1', { resource: fraud, context: { ...context, long: 'x'.repeat(500) } }],
    [ann, 'u_1', { resource: fraud, context: { a: 1, [`xx20:${'y'.repeat(17)}`]: 'v' } }],
    [ann, 'u_1', { resource: fraud, context: { a: 12, xx: `${'y'.repeat(17)}1:v` } }],
    [ann, 'u_1', { resource: fraud, context: { a: 'bc' } }],
    [ann, 'u_1', { resource: fraud, context: { ab: 'c' } }],
    [ann, 'u_1', { resource: fraud, context: { a: true } }],
    [ann, 'u_1', { resource: fraud, context: { a: 'true' } }],
    [ann, 'u_1', judged]
  ]
  const all = others.map(([who, user, what]) => write(who, user, what))
  t.same(others.map(([who, user, what]) => write(who, user, what)), all)
  t.equal(new Set(all).size, others.length)
  const written = await lines()
  t.equal(written.length, others.length)
  t.same(written[0]?.['detail'], { principal: { type: 'user', tier: 't', roles: [], scopes: [], credential: { method: 'session' } } }, 'of a request that nothing judged there is the principal alone')
})

t.test('an object that is not frozen may say something else the next time', async (t) => {
  const { write } = await open(t)
  const attributes = { sensitivity: 'low' }
  const before = write(ann, 'u_1', { resource: { ...fraud, attributes }, context })
  attributes.sensitivity = 'high'
  t.not(write(ann, 'u_1', { resource: { ...fraud, attributes }, context }), before)
})

t.test('what was written is written again when too much is remembered', async (t) => {
  const { write, lines } = await open(t, { maxRemembered: 2 })
  for (const id of ['a', 'b', 'c', 'a', 'c']) write(principal(id), `u_${id}`)
  t.same((await lines()).map(({ user_id: user }) => user), ['u_a', 'u_b', 'u_c', 'u_a'])
})

t.test('of a principal only what the operator names is kept, and what is not there is kept as that', async (t) => {
  const person = principal('ann', { attributes: { department: 'fraud', email: 'ann@acme.example' } })
  t.match(principalPart(person, ['department']), { part: { attributes: { department: 'fraud' } }, notKept: ['principal.attributes'] })
  t.same(principalPart(person, ['department', 'email']).notKept, [])
  t.same({ ...Object(principalPart(person, ['department', 'grade']).part['attributes']) as object }, { department: 'fraud', grade: null })
  t.match(principalPart(person, []), { part: { attributes: undefined }, notKept: ['principal.attributes'] })
  t.same(principalPart(ann, []).notKept, [])
  t.same(principalPart(principal('a', { attributes: { long: 'x'.repeat(513) } }), ['long', 'none']), { ...principalPart(ann, []), part: { ...principalPart(ann, []).part, attributes: {} }, notKept: ['principal.attributes'] })
})

t.test('what does not fit is not kept, and the record says so', async (t) => {
  const { write, lines } = await open(t)
  const groups = Array.from({ length: 200 }, (_, index) => `group-${index}-of-the-directory`)
  const attributes = { a: 'x'.repeat(513), b: Object.fromEntries(groups.map((name) => [name, name])), c: 'kept', nonce: '00'.repeat(32) }
  write(principal('ann', { roles: groups }), 'u_1', { resource: { ...fraud, attributes }, context: { long: 'x'.repeat(400), longer: 'y'.repeat(500), ip: '192.0.2.1' } })
  write(ann, 'u_1', { resource: { ...fraud, org: 'x'.repeat(600) }, context })
  t.same((await lines()).map(({ detail }) => detail), [
    { principal: {}, resource: { type: 'model', org: 'acme', attributes: { c: 'kept' } }, context: { long: 'x'.repeat(400) }, not_kept: ['principal', 'resource.attributes', 'context'] },
    { principal: { type: 'user', tier: 't', roles: [], scopes: [], credential: { method: 'session' } }, resource: {}, context: { method: 'POST', tls: true, environment: 'production' }, not_kept: ['resource'] }
  ])
})

t.test('only what comes back from a record as it is is kept', async (t) => {
  const loop: Record<string, unknown> = {}
  loop['self'] = loop
  const lossy = { date: new Date(0), none: NaN, big: 1n, run: () => 1, lone: '\ud800', bytes: Buffer.from('x'), loop, long: 'x'.repeat(513), deep: { a: { b: { c: { d: { e: { f: 1 } } } } } }, ['x'.repeat(513)]: 1 }
  for (const [name, value] of Object.entries(lossy)) t.same(keepMembers({ [name]: value, kept: 1 }, 5000), { kept: { kept: 1 }, isWhole: false }, name)
  const exact = JSON.parse('{"__proto__":{"a":1},"list":[1,"…",null,true],"cut":{"cut":"…"},"none":null}') as Record<string, unknown>
  t.equal(canonicalJson(keepMembers(exact, 5000).kept), canonicalJson(exact))
  t.same(keepMembers({ gone: undefined }, 5000), { kept: {}, isWhole: true })
  t.equal(keepMembers({ get broken () { throw new Error('no') } }, 5000).isWhole, false)
  t.equal(keepMembers(new Proxy({}, { ownKeys () { throw new Error('no') } }), 5000).isWhole, false)
})

t.test('a record says of every part exactly what was kept', async () => {
  const members = fc.dictionary(fc.string({ unit: 'binary', maxLength: 30 }), fc.oneof(fc.jsonValue(), fc.string({ maxLength: 600 }), fc.constant(undefined)), { maxKeys: 30 })
  fc.assert(fc.property(members, members, members, fc.array(fc.string({ maxLength: 60 }), { maxLength: 80 }), (a, b, c, roles) => {
    const detail = {
      principal: principalPart(principal('x', { attributes: a, roles, org: 'x'.repeat(300) }), Object.keys(a)).part,
      resource: resourcePart({ ...fraud, attributes: b }).part,
      context: contextPart(c).part,
      not_kept: ['principal', 'principal.attributes', 'resource.attributes', 'context']
    }
    return detailJson(detail) === canonicalJson(detail)
  }), { numRuns: 300 })
})

t.test('facts that nobody can read harm no request', async (t) => {
  const { write, lines } = await open(t)
  const broken = { ...fraud, attributes: { get broken () { throw new Error('no') }, good: 1 } }
  const none = JSON.parse('{"type":"model","id":"x"}') as Resource
  for (const resource of [broken, none]) {
    const facts = write(ann, 'u_1', { resource, context })
    t.equal(write(ann, 'u_1', { resource, context }), facts)
  }
  t.match((await lines()).map(({ detail }) => detail), [
    { resource: { type: 'model', attributes: {} }, not_kept: ['resource.attributes'] },
    { resource: { type: 'model', attributes: {} }, not_kept: ['resource.attributes'] }
  ])
})

t.test('a record names what was judged, and what for', async (t) => {
  const folder = t.testdir()
  const app = Fastify()
  await app.register(modelGuard, guardOptions({ audit: { ...await auditIn(folder), principalAttributes: ['department'] } }))
  const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } } }, async () => 'x')
  app.post('/other/:model', { config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } } }, async (request) => {
    request.audit?.set({ model_id: 'what the handler made of it' })
    return 'x'
  })
  app.get('/keys', { config: { access: { action: 'read', resource: resource('key', fixed('all'), { org: () => 'acme' }) } } }, async () => 'x')
  app.get('/known', { config: { access: 'authenticated' } }, async () => 'x')
  t.teardown(() => app.close())
  const who = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'], attributes: { department: 'fraud', email: 'ann@acme.example' } })
  await app.inject({ method: 'POST', url: '/models/acme-1', payload: {}, ...who })
  await app.inject({ method: 'POST', url: '/other/acme-1', payload: {}, ...who })
  await app.inject({ url: '/keys', ...who })
  await app.inject({ url: '/known', ...who })
  await app.close()
  const records = recordsIn(folder)
  t.notMatch(JSON.stringify(records), /ann@/)
  const facts = new Map(records.flatMap(({ action, facts, detail }) => action === 'facts' ? [[facts, detail]] : []))
  const [predict, other, read, known] = records.filter(({ action }) => action !== 'facts')
  t.match(predict, { model_id: 'acme-1', resource_type: undefined, resource_id: undefined, decision: 'allow' })
  t.match(other, { model_id: /handler/, resource_type: 'model', resource_id: 'acme-1', decision: 'allow', facts: predict?.['facts'] })
  t.match(read, { model_id: undefined, resource_type: 'key', resource_id: 'all', decision: 'deny', rule: undefined })
  t.match(known, { resource_type: undefined, decision: undefined })
  t.match(facts.get(read?.['facts']), {
    principal: { roles: ['analyst'], org: 'acme', attributes: { department: 'fraud' }, credential: { method: 'session' } },
    resource: { type: 'key', org: 'acme' },
    context: { method: 'GET', tls: false },
    not_kept: ['principal.attributes']
  })
  t.same(Object.keys(Object(facts.get(known?.['facts'])) as object), ['address', 'not_kept', 'principal'])
})
