import t, { type Test } from 'tap'
import { decisionPointFor, type TestDecisionPoint } from '../helpers/decision-point.ts'
import { arrayOf, memberOf } from '../helpers/json.ts'

// The facts and the eight decisions of the AuthZEN certification scenario (sections 1.1 to 1.4), and what each of its levels asks of them.
const text = `
version: 1
policies:
  - { name: alice reads and writes, effect: allow, principal: { id: alice }, resource: { type: record }, action: [read, write] }
  - { name: bob reads, effect: allow, principal: { id: bob }, resource: { type: record }, action: [read] }
  - { name: only administrators write archived records, effect: deny, principal: { attributes: { role: { ne: admin } } }, resource: { type: record, status: archived }, action: [write] }
  - { name: administrators write archived records, effect: allow, principal: { attributes: { role: admin } }, resource: { type: record, status: archived }, action: [write] }
  - { name: alice deletes softly, effect: allow, principal: { id: alice }, resource: { type: record }, action: [delete], condition: { action.soft: true } }
`
const alice = { type: 'user', id: 'alice' }
const bob = { type: 'user', id: 'bob' }
const admin = { ...bob, properties: { role: 'admin' } }
const first = { type: 'record', id: 'record-1' }
const archived = { type: 'record', id: 'record-2', properties: { status: 'archived' } }
const active = { ...first, properties: { status: 'active' } }
const read = { name: 'read' }
const write = { name: 'write' }
const remove = (soft: boolean): unknown => ({ name: 'delete', properties: { soft } })
const good = { subject: alice, action: read, resource: first }

const certified = async (t: Test): Promise<TestDecisionPoint> => await decisionPointFor(t, text, { url: 'https://pdp.example' })

t.test('basic: decisions', async (t) => {
  const { ask } = await certified(t)
  const table: readonly (readonly [string, object, boolean])[] = [
    ['rule 1', good, true],
    ['rule 2', { ...good, action: write }, true],
    ['rule 3', { ...good, subject: bob }, true],
    ['rule 4', { ...good, subject: bob, action: write }, false],
    ['rule 5', { ...good, action: write, resource: archived }, false],
    ['rule 6', { subject: admin, action: write, resource: archived }, true],
    ['rule 7', { ...good, action: remove(true) }, true],
    ['rule 8', { ...good, action: remove(false) }, false],
    ['with context', { ...good, context: { time: '2025-06-27T18:03-07:00', ip: '192.168.1.1' } }, true],
    ['with more properties', { subject: { ...alice, properties: { department: 'Sales', role: 'manager' } }, action: { ...read, properties: { method: 'GET' } }, resource: { ...first, properties: { status: 'active', owner: 'bob' } } }, true],
    ['with unknown fields', { ...good, foo: 'bar', futureField: { nested: true } }, true]
  ]
  for (const [name, question, decision] of table) {
    for (const time of ['first', 'second']) {
      const response = await ask('evaluation', question)
      t.equal(response.statusCode, 200)
      t.same(response.json(), { decision }, `${name}, the ${time} time`)
    }
  }
})

t.test('basic: errors', async (t) => {
  const { ask } = await certified(t)
  const table: readonly (readonly [string, unknown, Readonly<Record<string, string>>?])[] = [
    ['no subject', { ...good, subject: undefined }],
    ['no action', { ...good, action: undefined }],
    ['no resource', { ...good, resource: undefined }],
    ['no subject type', { ...good, subject: { id: 'alice' } }],
    ['no subject id', { ...good, subject: { type: 'user' } }],
    ['no action name', { ...good, action: {} }],
    ['no resource type', { ...good, resource: { id: 'record-1' } }],
    ['no resource id', { ...good, resource: { type: 'record' } }],
    ['another content type', JSON.stringify(good), { 'content-type': 'text/plain' }],
    ['no JSON', '{'],
    ['no body', ''],
    ['subject is a string', { ...good, subject: 'alice' }],
    ['name is a number', { ...good, action: { name: 123 } }]
  ]
  for (const [name, body, headers] of table) {
    const response = await ask('evaluation', body, { 'x-request-id': name, ...headers })
    t.match(response, { statusCode: 400, headers: { 'x-request-id': name } }, name)
  }
})

t.test('batch', async (t) => {
  const { ask } = await certified(t)
  const table: readonly (readonly [string, object, readonly boolean[]])[] = [
    ['3.2.1', { subject: alice, action: read, evaluations: [{ resource: first }, { resource: { ...first, id: 'record-2' } }] }, [true, true]],
    ['3.2.2', { subject: bob, resource: first, evaluations: [{ action: read }, { action: write }] }, [true, false]],
    ['3.2.3', { subject: alice, action: write, evaluations: [{ resource: active }, { resource: archived }] }, [true, false]],
    ['3.2.4', { action: write, resource: archived, evaluations: [{ subject: alice }, { subject: admin }] }, [false, true]],
    ['3.2.5', { evaluations: [good, { ...good, subject: bob, action: write }] }, [true, false]],
    ['3.2.6', { subject: alice, action: read, context: { time: '2025-06-27T18:03-07:00' }, evaluations: [{ resource: first }, { resource: first, context: { time: '2025-06-27T19:00-07:00', source: 'override' } }] }, [true, true]],
    ['3.2.7', { subject: alice, action: write, resource: { type: 'record' }, evaluations: [{ resource: { id: 'record-1', properties: { status: 'active' } } }, { resource: archived }] }, [true, false]],
    ['3.4.1', { subject: alice, action: read, evaluations: [{ resource: first }, {}] }, [true, false]]
  ]
  for (const [name, request, decisions] of table) {
    const response = await ask('evaluations', request)
    t.equal(response.statusCode, 200)
    t.same(arrayOf(memberOf(response.json(), 'evaluations')).map((one) => memberOf(one, 'decision')), decisions, name)
    t.equal(memberOf(response.json(), 'decision'), undefined)
  }
  t.same((await ask('evaluations', good)).json(), { decision: true })
  t.same((await ask('evaluations', { ...good, evaluations: [] })).json(), { decision: true })
})

t.test('discovery', async (t) => {
  const { app } = await certified(t)
  const response = await app.inject('/.well-known/authzen-configuration')
  t.match(response, { statusCode: 200, headers: { 'content-type': /^application\/json/ } })
  t.match(response.json(), { policy_decision_point: 'https://pdp.example' })
})
