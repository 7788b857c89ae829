import path from 'node:path'
import t from 'tap'
import type { AuditRecord } from '../../src/audit/record.ts'
import { policyUsage, type UsageReport } from '../../src/plugins/policy-usage.ts'
import { asPrincipal } from '../../src/testing.ts'
import { policy, policyText } from '../helpers/guard.ts'
import { handMade, production, recorded } from '../helpers/recorded.ts'

const usage = async (folder: string, text = policyText, more: object = {}): Promise<UsageReport> =>
  await policyUsage({ directory: path.join(folder, 'audit'), policy: policy(text), identities: path.join(folder, 'identities.jsonl'), ...more })

/** Role, permission, holders, users, and how often it was used. */
const permissions = ({ roles }: UsageReport): unknown[] => roles.flatMap(({ role, permissions }) => permissions.map(({ permission, holders, users, used }) => [role, permission, holders, users, used]))

t.test('what was used is counted, and by how many of those who could', async (t) => {
  const folder = await recorded(t)
  const report = await usage(folder)
  t.match(report, { policy: policy().id, requests: 50, allowed: 15, unknown: 0, principals: 5, rules: [] })
  t.same(report.unneeded, [])
  t.same(permissions(report), [['viewer', 'model:read', 3, 3, 5], ['analyst', 'model:predict', 2, 2, 3], ['admin', '*', 1, 1, 7]])
  t.same(report.roles.map(({ role, holders, used }) => [role, holders, used]), [['viewer', 1, 2], ['analyst', 2, 6], ['admin', 1, 7]])
  t.same(report.roles.at(-1)?.permissions[0]?.actions, { 'model:predict': 3, 'model:read': 3, 'key:read': 1 }, 'under a glob stands what was used of it')
})

t.test('the given policy counts, not the one that decided then', async (t) => {
  const folder = await recorded(t)
  const wider = policyText
    .replace('permissions: [model:predict]', "permissions: ['model:*', train:start]")
    .replace('policies:', 'policies:\n  - { name: bob reads keys, effect: allow, principal: { id: bob }, resource: { type: key }, action: read }\n  - { name: nobody trains, effect: allow, action: train }')
    .replace('{ environment: production }', '{ environment: staging }')
  const report = await usage(folder, wider)
  t.same(report.rules, [{ rule: 'rule:bob reads keys', decided: 1 }, { rule: 'rule:nobody trains', decided: 0 }])
  t.same(permissions(report), [['viewer', 'model:read', 3, 3, 5], ['analyst', 'model:*', 2, 2, 9], ['analyst', 'train:start', 2, 0, 0], ['admin', '*', 1, 1, 10]])
  t.equal(report.allowed, 22)
  const none = await usage(folder, 'version: 1\nroles: { viewer: { permissions: [model:read] }, guest: { permissions: [model:list] } }\npolicies: [{ name: no, effect: deny }]')
  t.match(none, { allowed: 0, roles: [{ role: 'viewer', holders: 1, used: 0 }, { role: 'guest', holders: 0, used: 0 }] }, 'a role that permits uses nothing where a rule denies')
})

t.test('roles that somebody did without are named, so that all of them could go at once', async (t) => {
  const folder = await recorded(t, production, {}, async (app) => {
    const ask = async (id: string, roles: readonly string[], ...urls: readonly string[]): Promise<void> => {
      for (const url of urls) await app.inject({ method: 'POST', url, payload: {}, ...asPrincipal({ id, org: 'acme', roles }) })
    }
    await ask('reads', ['admin', 'analyst', 'viewer'], '/read/acme-1')
    await ask('predicts', ['viewer', 'analyst', 'unheard-of'], '/read/acme-1', '/predict/acme-1')
    await ask('elsewhere', ['analyst', 'admin'], '/predict/acme-1', '/predict/other-1')
    await ask('denied', ['viewer', 'analyst'], '/delete/acme-1')
    await app.inject({ url: '/known', ...asPrincipal({ id: 'idle', org: 'acme', roles: ['admin'] }) })
  })
  const unneeded = async (text = policyText): Promise<unknown> => Object.fromEntries((await usage(folder, text)).unneeded.map(({ principal, held, unneeded }) => [principal, `${unneeded.join()} of ${held.join()}`]))
  t.same(await unneeded(), {
    reads: 'admin,analyst of admin,analyst,viewer',
    predicts: 'viewer,unheard-of of analyst,viewer,unheard-of',
    elsewhere: 'analyst of admin,analyst',
    denied: 'analyst,viewer of analyst,viewer',
    idle: 'admin of admin'
  })
  t.match(await unneeded(policyText.replace('policies:', 'policies:\n  - { name: predicts, effect: allow, action: predict, principal: { roles: unheard-of } }')), { predicts: 'analyst of analyst,viewer,unheard-of' },
    'a rule may ask for a role, too')
  t.match(await unneeded(policyText.replace('policies:', 'policies:\n  - { name: not both, effect: deny, action: read, principal: { roles: viewer } }')), { reads: 'admin,analyst,viewer of admin,analyst,viewer', predicts: 'unheard-of of analyst,viewer,unheard-of' },
    'a role is not taken away that something else is denied for')
  t.match(await unneeded(`${policyText}assignments: [{ principal: { org: acme }, roles: [admin] }]\n`), { denied: 'analyst,viewer of analyst,viewer' })
})

t.test('roles that a policy assigns are held, and can be unneeded too', async (t) => {
  const folder = await recorded(t)
  const report = await usage(folder, `${policyText}assignments: [{ principal: { id: nobody }, roles: [viewer, analyst, admin], resource: { id: acme-1 } }]\n`)
  t.same(report.unneeded, [{ principal: 'nobody', held: ['admin', 'analyst', 'viewer'], unneeded: ['admin', 'viewer'] }])
  t.equal(report.roles.find(({ role }) => role === 'admin')?.holders, 2)
  const unknown = await usage(folder, `${policyText}assignments: [{ principal: { id: nobody }, roles: [viewer] }]\n`, { identities: undefined })
  t.match(unknown, { unknown: 2, allowed: 15 })
  const principal = { type: 'user', tier: 't', roles: [], scopes: [], org: 'acme', credential: { method: 'session' } }
  const directory = await handMade(t, [{ action: 'read' }], { principal })
  t.same(permissions(await policyUsage({ directory, policy: policy(`${policyText}assignments: [{ principal: { id: x }, roles: [viewer] }]\n`) }))[0], ['viewer', 'model:read', 0, 1, 1])
})

t.test('an assigned role that somebody needs is not given back by its very assignment', async (t) => {
  const text = `${policyText}assignments: [{ principal: { org: acme }, roles: [viewer] }]\n`
  const principal = { type: 'user', tier: 't', roles: [], scopes: [], org: 'acme', credential: { method: 'session' } }
  const of = async (action: string): Promise<UsageReport> => await policyUsage({ directory: await handMade(t, [{ action }], { principal }), policy: policy(text) })
  const { allowed, unneeded } = await of('read')
  t.same([allowed, unneeded], [1, []])
  t.match(await of('predict'), { allowed: 0, unneeded: [{ held: ['viewer'], unneeded: ['viewer'] }] })
})

t.test('a role that its holder would be assigned anyway is not needed', async (t) => {
  const principal = { type: 'user', tier: 't', roles: ['viewer'], scopes: [], org: 'acme', credential: { method: 'session' } }
  const directory = await handMade(t, [{ action: 'read' }], { principal })
  t.match((await policyUsage({ directory, policy: policy(`${policyText}assignments: [{ principal: { org: acme }, roles: [viewer] }]\n`) })).unneeded, [{ unneeded: ['viewer'] }])
  t.same((await policyUsage({ directory, policy: policy() })).unneeded, [])
})

t.test('what is not known is taken for used where it was allowed', async (t) => {
  const text = policyText.replace('policies:', 'policies:\n  - { name: office, effect: allow, action: [predict, read], condition: { ip: { cidr: 10.0.0.0/8 } } }\n  - { name: other, effect: allow, action: train }')
  const allowed: Partial<AuditRecord> = { model_id: 'm' }
  const refused: Partial<AuditRecord> = { model_id: 'm', decision: 'deny', rule: undefined, status: 'denied' }
  const of = async (...requests: readonly Partial<AuditRecord>[]): Promise<UsageReport> => await policyUsage({ directory: await handMade(t, requests, { principal: { type: 'user', tier: 't', roles: ['admin', 'unheard-of'], scopes: [], credential: { method: 'session' } } }), policy: policy(text) })
  const lost = { facts: 'sha256:none' }
  t.match(await of({ ...allowed, action: 'predict' }), { unknown: 0, allowed: 1, unneeded: [{ unneeded: ['unheard-of'] }], rules: [{ decided: 0 }, { decided: 0 }] })
  const partial = await of({ ...allowed, ...lost, action: 'predict' }, { ...allowed, ...lost, action: 'predict', decision: undefined }, { ...refused, ...lost, action: 'read' }, { ...refused, ...lost, action: 'read', decision: undefined }, {})
  t.match(partial, { requests: 5, unknown: 4, allowed: 3 })
  t.same(partial.unneeded, [], 'and nobody is told to do without of whom not everything is known')
  t.same(permissions(partial), [['viewer', 'model:read', 0, 0, 0], ['analyst', 'model:predict', 0, 1, 2], ['admin', '*', 1, 1, 3]])
  t.match(await of({ ...allowed, ...lost, action: 'start', resource_type: 'job', resource_id: 'x', model_id: undefined }), { roles: [{ used: 0 }, { used: 0 }, { used: 1 }] })
})

t.test('a rule that may have allowed is not said never to have decided', async (t) => {
  const text = 'version: 1\nroles: { analyst: { permissions: [model:read] } }\npolicies:\n  - { name: office, effect: allow, action: predict, condition: { ip: { cidr: 10.0.0.0/8 } } }\n'
  const report = await policyUsage({ directory: await handMade(t, [{}]), policy: policy(text) })
  t.match(report, { unknown: 1, allowed: 1, rules: [{ rule: 'rule:office', decided: 1 }] })
  const both = await policyUsage({ directory: await handMade(t, [{ decision: 'deny', rule: undefined }, {}, {}]), policy: policy(text) })
  t.match(both, { unknown: 3, allowed: 2, rules: [{ decided: 2 }] })
  const same = await policyUsage({ directory: await handMade(t, [{ policy: policy(text).id, rule: 'rule:office' }, { policy: policy(text).id, rule: undefined, decision: 'deny' }]), policy: policy(text) })
  t.match(same, { unknown: 0, allowed: 1, rules: [{ decided: 1 }] })
})

t.test('only requests of the window count, and each once', async (t) => {
  const directory = await handMade(t, [{ timestamp: '2026-11-20T00:00:00.000Z' }, {}, { amends: 1, status: 'aborted' }, { user_id: undefined, facts: undefined, policy: undefined, count: 5, decision: undefined }])
  t.match(await policyUsage({ directory, policy: policy(), since: Date.parse('2026-11-21T00:00:00Z') }), { requests: 1, allowed: 1, principals: 1, first: '2026-11-22T12:00:00.000Z' })
  await t.rejects(policyUsage({ directory, policy: {} as never }), { code: 'FMG_ERR_OPTION_INVALID', message: /policyUsage\.policy must be an object with decide, weigh/ })
})

t.test('a permission is used by what it is about, and by whom it reaches', async (t) => {
  const principal = { type: 'user', tier: 't', roles: ['a'], scopes: [], org: 'other', credential: { method: 'session' } }
  const text = "version: 1\nroles: { a: { permissions: [model:predict, key:predict, model:read] }, b: { permissions: [model:predict] } }\npolicies: [{ name: all, effect: allow, action: '*' }]"
  const of = async (who: object, ...requests: readonly Partial<AuditRecord>[]): Promise<unknown[]> => permissions(await policyUsage({ directory: await handMade(t, requests, { principal: who }), policy: policy(text) })).map((row) => String(row))
  t.same(await of({ ...principal, org: 'acme' }, {}, {}), ['a,model:predict,1,1,2', 'a,key:predict,1,0,0', 'a,model:read,1,0,0', 'b,model:predict,0,0,0'])
  t.same(await of(principal, {}, {}), ['a,model:predict,1,0,0', 'a,key:predict,1,0,0', 'a,model:read,1,0,0', 'b,model:predict,0,0,0'], 'a rule allowed it, not the role of another org')
})

t.test('a question that was allowed at one time and refused at another counts for what it was', async (t) => {
  const text = `${policyText}  - { name: office, effect: deny, condition: { ip: { cidr: 10.0.0.0/8 } } }\n`
  const directory = await handMade(t, [{ decision: 'deny', rule: 'rule:office' }, {}, {}])
  t.same(permissions(await policyUsage({ directory, policy: policy(text) }))[1], ['analyst', 'model:predict', 1, 1, 2])
})

t.test('of two roles that would do, the one that reaches less is kept', async (t) => {
  const principal = { type: 'user', tier: 't', roles: ['far', 'near'], scopes: [], org: 'acme', credential: { method: 'session' } }
  const directory = await handMade(t, [{}], { principal })
  const { unneeded } = await policyUsage({ directory, policy: policy("version: 1\nroles: { far: { permissions: [model:predict], org: '*' }, near: { permissions: [model:predict, model:read] } }") })
  t.match(unneeded, [{ held: ['far', 'near'], unneeded: ['far'] }])
})
