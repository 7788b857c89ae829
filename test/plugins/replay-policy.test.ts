import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { AuditRecord } from '../../src/audit/record.ts'
import type { FilePolicy } from '../../src/authz/file-policy.ts'
import { judgeAgain } from '../../src/plugins/judge-again.ts'
import { recordedRequests } from '../../src/plugins/recorded-requests.ts'
import { replayPolicy, type ReplayReport } from '../../src/plugins/replay-policy.ts'
import { asPrincipal } from '../../src/testing.ts'
import { reference } from '../authz/questions.ts'
import { limits, policy, policyText, recordsIn } from '../helpers/guard.ts'
import { handMade, production, recorded } from '../helpers/recorded.ts'

const replay = async (folder: string, text: string, more: object = {}): Promise<ReplayReport> =>
  await replayPolicy({ directory: path.join(folder, 'audit'), policy: policy(text), identities: path.join(folder, 'identities.jsonl'), ...more })

const rows = ({ changes }: ReplayReport): unknown[] => changes.map(({ change, principal, action, resource, count, before, after }) => [change, principal, action, resource, count, before, after])

t.test('the very policy of the records changes nothing', async (t) => {
  const folder = await recorded(t)
  const report = await replay(folder, policyText)
  t.match(report, { policy: policy().id, requests: 50, same: 50, refused: 0, admitted: 0, unknown: 0, unjudged: 17, changes: [], open: [] })
  t.match(await replay(folder, `${policyText}# the same by another name\n`), { same: 50, unknown: 0 }, 'nor does one that says the same')
  const requests = recordsIn(folder).filter(({ action }) => action !== 'facts')
  t.equal(report.first, requests[0]?.['timestamp'])
  t.equal(report.last, requests.at(-1)?.['timestamp'])
})

t.test('a changed policy changes exactly what it says', async (t) => {
  const folder = await recorded(t)
  const changed = policyText
    .replace('permissions: [model:predict]', 'permissions: [model:delete]')
    .replace('policies:', 'policies:\n  - { name: no secrets, effect: deny, resource: { sensitivity: high }, principal: { team: red } }\n  - { name: bob reads keys, effect: allow, principal: { id: bob }, resource: { type: key }, action: read }')
    .replace('{ environment: production }', '{ environment: staging }')
  t.same(rows(await replay(folder, changed)), [
    ['admitted', 'ann', 'delete', 'model acme-1', 1, 'rule:nobody deletes', 'role:analyst'],
    ['admitted', 'bob', 'read', 'key all', 1, null, 'rule:bob reads keys'],
    ['admitted', 'eve', 'delete', 'model other-1', 1, 'rule:nobody deletes', 'role:analyst'],
    ['admitted', 'root', 'delete', 'model acme-1', 1, 'rule:nobody deletes', 'role:admin'],
    ['admitted', 'root', 'delete', 'model acme-secret', 1, 'rule:nobody deletes', 'role:admin'],
    ['admitted', 'root', 'delete', 'model other-1', 1, 'rule:nobody deletes', 'role:admin'],
    ['refused', 'ann', 'predict', 'model acme-1', 1, 'role:analyst', null],
    ['refused', 'ann', 'predict', 'model acme-secret', 1, 'role:analyst', 'rule:no secrets'],
    ['refused', 'ann', 'read', 'model acme-secret', 1, 'role:analyst', 'rule:no secrets'],
    ['refused', 'eve', 'predict', 'model other-1', 1, 'role:analyst', null]
  ])
})

t.test('without the identities people are called by their pseudonyms, and whose id counts cannot be told', async (t) => {
  const folder = await recorded(t)
  const report = await replay(folder, policyText.replace('policies:', 'policies:\n  - { name: bob reads keys, effect: allow, principal: { id: bob }, resource: { type: key }, action: read }'), { identities: undefined })
  t.match(report, { same: 46, refused: 0, admitted: 0, unknown: 4, open: [{ count: 4, because: [{ rule: 'rule:bob reads keys', attributes: ['principal.id'] }] }] }, 'but of an administrator, who reads them anyway')
  t.match((await replay(folder, 'version: 1', { identities: undefined })).changes[0]?.principal, /^u_/)
})

t.test('what the log does not keep is not guessed', async (t) => {
  const ask = async (app: FastifyInstance): Promise<void> => {
    await app.inject({ method: 'POST', url: '/predict/acme-1', payload: {}, ...asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'], attributes: { department: 'fraud', email: 'ann@acme.example' } }) })
  }
  const folder = await recorded(t, production, { principalAttributes: ['department', 'grade'] }, ask)
  const open = async (rule: string): Promise<unknown> => {
    const { same, refused, open } = await replay(folder, policyText.replace('policies:', `policies:\n  - ${rule}`))
    return same === 1 ? 'same' : refused === 1 ? 'refused' : open[0]?.because
  }
  const deny = (about: string): string => `{ name: d, effect: deny, ${about} }`
  for (const [about, expected] of [
    ['condition: { ip: { cidr: 10.0.0.0/8 } }', 'context.ip'],
    ['principal: { email: x }', 'principal.email'],
    ['principal: { credential: { id: x } }', 'principal.credential.id'],
    ['principal: { credential: { expiresAt: { gt: 1 } } }', 'principal.credential.expiresAt'],
    ['principal: { credential: { boundTo: x } }', 'principal.credential.boundTo'],
    [`resource: { sensitivity: '${reference('principal.email')}' }`, 'principal.email'],
    ['resource: { nonce: x }', 'resource.nonce']
  ] as const) {
    t.same(await open(deny(about)), [{ rule: 'rule:d', attributes: [expected] }], about)
    t.equal(await open(deny(`${about}, action: other`)), 'same', 'what does not matter may be unknown')
  }
  t.equal(await open(deny('principal: { department: fraud }')), 'refused')
  t.equal(await open(deny('principal: { department: sales }')), 'same')
  t.equal(await open(deny('principal: { grade: { exists: false } }')), 'refused', 'what is named and not there is not there')
  t.equal(await open(deny('resource: { sensitivity: low }')), 'refused')
  t.equal(await open(deny('resource: { other: { exists: false } }')), 'refused', 'all that a resource has is kept')
  t.equal(await open(deny('condition: { other: { exists: false } }')), 'refused')
  t.equal(await open(deny('condition: { method: POST, tls: false }')), 'refused')
  t.equal(await open(deny('principal: { credential: { method: session, issuer: { exists: false } } }')), 'refused')
  t.equal(await open('{ name: a, effect: allow, action: predict, condition: { ip: 10.0.0.1 } }'), 'same')
})

t.test('by the very policy that decided nothing is unknown', async (t) => {
  const text = policyText.replace('policies:', 'policies:\n  - { name: office, effect: deny, condition: { ip: { cidr: 10.0.0.0/8 } } }')
  const folder = await recorded(t, { authorize: { policy: policy(text), context: () => ({ environment: 'production' }) } })
  t.match(await replay(folder, text), { requests: 50, same: 50, unknown: 0 })
  t.match(await replay(folder, `${text}#`), { unknown: 15 })
})

t.test('the time is that of each record', async (t) => {
  const directory = await handMade(t, ['07:59:59', '08:00:01', '09:00:00', '12:00:00', '18:00:03'].map((time) => ({ timestamp: `2026-11-22T${time}.000Z` })))
  const options = { directory, policy: policy(policyText.replace('policies:', 'policies:\n  - { name: hours, effect: deny, condition: { time: { between: ["08:00", "18:00"] } } }')) }
  t.match(await replayPolicy(options), { same: 2, refused: 2, unknown: 1, open: [{ count: 1, because: [{ rule: 'role:analyst', attributes: ['context.time'] }, { rule: 'rule:hours', attributes: ['context.time'] }] }] },
    'of a request that was running at that moment it cannot be told')
  t.match(await replayPolicy({ ...options, since: Date.parse('2026-11-22T09:00:00Z'), until: Date.parse('2026-11-22T18:00:03Z') }), { requests: 2, refused: 2, first: '2026-11-22T09:00:00.000Z', last: '2026-11-22T12:00:00.000Z' })
  await t.rejects(replayPolicy({ ...options, since: 'yesterday' } as never), { code: 'FMG_ERR_OPTION_INVALID', message: /replayPolicy\.since/ })
  await t.rejects(replayPolicy({ ...options, directory: path.join(directory, 'none') }), { code: 'FMG_ERR_FILE' })
  await t.rejects(replayPolicy({ ...options, identities: path.join(directory, 'none') }), { code: 'FMG_ERR_FILE' })
})

t.test('what does not hang on the time is not asked for it, and the same moment between two answers that agree is one', async (t) => {
  const directory = await handMade(t, [{}, {}, { duration_ms: undefined }])
  t.match(await replayPolicy({ directory, policy: policy(policyText.replace('policies:', 'policies:\n  - { name: old, effect: deny, condition: { time: { before: "2000-01-01T00:00:00Z" } } }')) }), { same: 3 })
  t.match(await replayPolicy({ directory, policy: policy('version: 1\npolicies:\n  - { name: later, effect: allow, action: predict, condition: { time: { after: "11:59:59" } } }') }), { same: 1, unknown: 2, open: [{ because: [{ rule: 'rule:later', attributes: ['context.time'] }] }] })
})

t.test('a request counts once, however often its record was amended, and only where a policy was asked', async (t) => {
  const directory = await handMade(t, [
    {},
    { amends: 1, status: 'aborted' },
    { decision: undefined, rule: undefined, policy: undefined, status: 'limited', http_status: 429 },
    { decision: undefined, rule: undefined, policy: undefined, user_id: undefined, status: 'unauthenticated', http_status: 401, count: 20 },
    { decision: 'deny', rule: undefined, user_id: undefined, facts: undefined, reason: 'observed-credential-missing' },
    { action: 'policy:reload', http_status: undefined }
  ])
  t.match(await replayPolicy({ directory, policy: policy() }), { requests: 1, same: 1, unjudged: 22 })
})

t.test('a record without facts that can be read cannot be told', async (t) => {
  const untold = { requests: 1, unknown: 1, open: [{ count: 1, because: [{ rule: 'facts', attributes: [] }] }] }
  const ask = async (request: Partial<AuditRecord>, facts?: object): Promise<ReplayReport> => await replayPolicy({ directory: await handMade(t, [request], facts), policy: policy() })
  t.match(await ask({ facts: 'sha256:none' }), untold)
  t.match(await ask({ facts: undefined }), untold)
  t.match(await ask({ model_id: undefined }), untold)
  t.match(await ask({}, { resource: undefined, context: undefined }), untold, 'of the principal alone')
  t.match(await ask({}, { principal: {}, not_kept: ['principal'] }), untold)
  t.match(await ask({ decision: undefined }, { type: 'user', roles: ['analyst'], principal: undefined, resource: undefined, context: undefined }), untold, 'of an older version')
  t.match(await ask({ decision: undefined }), { requests: 1, unknown: 1 }, 'nor what was decided where it does not say')
  t.match(await ask({ decision: undefined, policy: policy().id, facts: 'sha256:none' }), untold)
  t.match(await ask({ resource_type: 'model', resource_id: 'm', model_id: undefined }), { requests: 1, same: 1 })
})

t.test('an id that was too long for a record is not known', async (t) => {
  const directory = await handMade(t, [{ model_id: 'x'.repeat(600) }, { model_id: 'x'.repeat(512) }])
  const about = (rule: string): Promise<ReplayReport> => replayPolicy({ directory, policy: policy(policyText.replace('policies:', `policies:\n  - { name: d, effect: deny, ${rule} }`)) })
  t.match(await about('resource: { id: y }'), { same: 1, unknown: 1, open: [{ because: [{ rule: 'rule:d', attributes: ['resource.id'] }] }] })
  t.match(await about('action: other'), { same: 2 })
  t.match(await replayPolicy({ directory: await handMade(t, [{ model_id: 'short…' }]), policy: policy('version: 1\npolicies: [{ name: a, effect: allow, action: predict, resource: { id: short… } }]') }), { same: 1 })
  const limited = await handMade(t, [{ model_id: 'x'.repeat(600) }], { principal: { type: 'user', tier: 't', roles: ['analyst'], scopes: [], org: 'acme', limited_to: ['model:predict:x*'], credential: { method: 'session' } } })
  t.match(await replayPolicy({ directory: limited, policy: policy() }), { unknown: 1, open: [{ because: [{ rule: 'scopes', attributes: ['resource.id'] }] }] })
})

t.test('what the scopes of a credential refused stays refused', async (t) => {
  const principal = { type: 'user', tier: 't', roles: ['analyst'], scopes: [], org: 'acme', limited_to: ['model:predict:m'], credential: { method: 'session' } }
  const directory = await handMade(t, [{}, { model_id: 'other', decision: 'deny', rule: undefined, reason: 'insufficient-scope', status: 'denied', http_status: 403 }], { principal })
  t.match(await replayPolicy({ directory, policy: policy() }), { same: 2 })
  t.match(await replayPolicy({ directory, policy: policy('version: 1\npolicies: [{ name: all, effect: allow, action: predict }]') }), { same: 2 })
})

t.test('roles that the new policy assigns are those that it goes by', async (t) => {
  const folder = await recorded(t)
  const assigned = `${policyText}assignments: [{ principal: { id: nobody }, roles: [viewer], resource: { id: acme-1 } }]\n`
  t.same(rows(await replay(folder, assigned)), [['admitted', 'nobody', 'read', 'model acme-1', 1, null, 'role:viewer']])
  t.match(await replay(folder, assigned, { identities: undefined }), { refused: 0, admitted: 0, unknown: 1, open: [{ because: [{ rule: 'assignments', attributes: ['principal.id'] }] }] })
})

t.test('what a record of facts says it does not hold is not known', async (t) => {
  const kept = { resource: { type: 'model', org: 'acme', attributes: { known: 'x' } }, context: { known: 'x' } }
  for (const [owner, about] of [['resource', 'resource'], ['context', 'condition']] as const) {
    const directory = await handMade(t, [{}, { model_id: 'n' }], { ...kept, not_kept: [owner === 'context' ? 'context' : 'resource.attributes'] })
    const of = async (name: string): Promise<ReplayReport> => await replayPolicy({ directory, policy: policy(policyText.replace('policies:', `policies:\n  - { name: d, effect: deny, ${about}: { ${name}: y } }`)) })
    t.match(await of('known'), { same: 2 })
    t.match(await of('other'), { unknown: 2, open: [{ count: 2, because: [{ rule: 'rule:d', attributes: [`${owner}.other`] }] }] })
  }
})

t.test('what one question wanted to know does not make the next one unknown', async (t) => {
  const principal = { type: 'user', tier: 't', roles: ['analyst'], scopes: [], org: 'acme', limited_to: ['model:predict:*'], credential: { method: 'session' } }
  const directory = await handMade(t, [{}, { model_id: 'n' }], { principal })
  const { open } = await replayPolicy({ directory, policy: policy(policyText.replace('policies:', 'policies:\n  - { name: z, effect: deny, condition: { ip: 10.0.0.1 } }')) })
  t.same(open, [{ because: [{ rule: 'rule:z', attributes: ['context.ip'] }], count: 2 }])
})

t.test('what is forgotten is judged again', async (t) => {
  const directory = await handMade(t, [{}, { model_id: 'n' }, {}, {}])
  const { batches, questions } = await recordedRequests({ directory, policy: policy() })
  let asked = 0
  const counted: FilePolicy = { ...policy(), decide: (...question) => { asked++; return policy().decide(...question) } }
  for (const [maxRemembered, times] of [[10, 2], [1, 3]] as const) {
    const answer = judgeAgain(counted, questions, maxRemembered)
    asked = 0
    for await (const records of batches()) t.ok(records.every((record) => answer(record).outcome === 'allow'))
    t.equal(asked, times)
  }
})

t.test('limited requests are not judged', async (t) => {
  const folder = await recorded(t, { ...production, rateLimit: limits(3) })
  t.match(await replay(folder, policyText), { requests: 15, same: 15, unjudged: 52 })
})
