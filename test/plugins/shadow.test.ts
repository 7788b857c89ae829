import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Decision, Policy } from '../../src/authz/policy.ts'
import type { PresentedCredential } from '../../src/authn/presented-credential.ts'
import type { Principal } from '../../src/principal.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardedApp, guardOptions, policy, policyText, recordsIn } from '../helpers/guard.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
const live = policy()

/** What the log says of a candidate after these models were asked, and how each was answered. */
async function rehearse (t: Test, shadow: Policy, ids: readonly string[]): Promise<{ readonly statuses: readonly number[], readonly shadows: readonly unknown[], readonly app: FastifyInstance }> {
  const folder = t.testdir()
  const app = await guardedApp(t, guardOptions({ authorize: { policy: live, shadow }, audit: await auditIn(folder) }))
  const statuses = []
  for (const id of ids) statuses.push((await app.inject({ method: 'POST', url: `/models/${id}`, payload: {}, ...ann })).statusCode)
  await app.close()
  const shadows = recordsIn(folder).filter(({ action }) => action === 'predict').map((record) => (record['detail'] as Record<string, unknown> | undefined)?.['shadow'])
  return { statuses, shadows, app }
}

t.test('a candidate changes no answer, and the record says where it would have', async (t) => {
  const candidate = policy(policyText
    .replace('analyst: { inherits: [viewer], permissions: [model:predict] }', "analyst: { permissions: [model:predict], org: '*' }")
    .replace('policies:', 'policies:\n  - { name: no secrets, effect: deny, resource: { id: acme-secret } }'))
  const { statuses, shadows } = await rehearse(t, candidate, ['acme-1', 'acme-secret', 'globex-1'])
  t.same(statuses, [200, 200, 403])
  t.same(shadows, [undefined, { policy: candidate.id, decision: 'deny', rule: 'rule:no secrets' }, { policy: candidate.id, decision: 'allow', rule: 'role:analyst' }])
})

t.test('other obligations are a difference, in another order they are none', async (t) => {
  const masking = (...mask: readonly string[]): Policy => policy(`${policyText}  - { name: mask, effect: oblige, obligations: { mask: [${mask.join(', ')}] } }\n`)
  t.same((await rehearse(t, masking('scores'), ['acme-1'])).shadows, [{ policy: masking('scores').id, decision: 'allow', rule: 'role:analyst', obligations: { mask: ['scores'] } }])
  const folder = t.testdir({ order: {} })
  const app = await guardedApp(t, guardOptions({ authorize: { policy: masking('a', 'b'), shadow: masking('b', 'a') }, audit: await auditIn(`${folder}/order`) }))
  await app.inject({ method: 'POST', url: '/models/acme-1', payload: {}, ...ann })
  await app.close()
  t.equal(recordsIn(`${folder}/order`).find(({ action }) => action === 'predict')?.['detail'], undefined)
})

t.test('a candidate that fails would have denied, and nothing hangs on it', async (t) => {
  const denied = { policy: 'candidate', decision: 'deny' }
  const candidates: Policy['decide'][] = [
    () => { throw new Error('own') },
    async () => await Promise.reject(new Error('own')),
    () => ({ allowed: false }) as Decision,
    () => undefined as unknown as Decision,
    async () => await Promise.resolve(undefined as unknown as Decision)
  ]
  for (const [index, decide] of candidates.entries()) {
    const { statuses, shadows } = await rehearse(t, { id: 'candidate', decide }, ['acme-1', 'globex-1'])
    t.same(statuses, [200, 403])
    t.same(shadows, [denied, undefined], `candidate ${index}`)
  }
})

t.test('a candidate that takes its time is not waited for', async (t) => {
  const late: Policy = { id: 'late', decide: async () => await new Promise<Decision>(() => {}) }
  const { statuses, shadows } = await rehearse(t, late, ['acme-1'])
  t.same(statuses, [200])
  t.same(shadows, [undefined])
})

t.test('a candidate is not asked what no policy was asked', async (t) => {
  let asked = 0
  const shadow: Policy = { id: 'candidate', decide: () => { asked++; return { allowed: false, rule: null, reason: 'no-match' } } }
  const limited: Principal = { id: 'bot', type: 'service', tier: 'gold', roles: ['analyst'], org: 'acme', scopes: [], attributes: {}, credential: { method: 'api-key', id: 'k', limitedTo: ['model:read'] } }
  const authenticate = { authenticators: [{ authenticate: ({ value }: PresentedCredential) => value === 'limited' ? limited : null }] }
  const warnings: string[] = []
  const app = await guardedApp(t, guardOptions({ authenticate, authorize: { policy: live, shadow }, mode: 'observe' }), { logger: { level: 'warn', stream: { write: (line) => { warnings.push(line) } } } })
  await app.inject({ method: 'POST', url: '/models/acme-1', payload: {} })
  const response = await app.inject({ method: 'POST', url: '/models/acme-1', payload: {}, headers: { authorization: 'Bearer limited' } })
  t.equal(response.statusCode, 200)
  t.equal(asked, 0)
  t.notMatch(warnings.join(''), 'shadow')
})
