import t from 'tap'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import { model, principal } from './questions.ts'

const text = `version: 1
roles:
  viewer: { permissions: [model:read] }
  analyst: { inherits: [viewer], permissions: [model:predict] }
  admin: { permissions: ['*'], org: '*' }
assignments:
  - principal: { id: batch }
    roles: [analyst]
policies:
  - name: own models
    effect: allow
    principal: { team: science, tier: gold }
    resource: { type: model }
    action: [read, predict]
  - name: no night work
    effect: deny
    action: predict
    condition: { hour: { lt: 6 } }
`
const policy = loadPolicy(text, { source: 'p.yaml' })
const explain = (who: Parameters<typeof principal>[0], action = 'predict', context = {}) => policy.explain(principal(who), action, model(), context)

t.test('every rule says whether it matches, and what of it does not', async (t) => {
  t.strictSame(explain({ team: 'risk', tier: 'gold' }, 'predict', { hour: 9 }).rules, [
    { rule: 'own models', effect: 'allow', place: { source: 'p.yaml', line: 10, column: 5 }, outcome: 'misses', unmet: [{ attribute: 'principal.team', place: { source: 'p.yaml', line: 12, column: 24 }, outcome: 'misses' }] },
    { rule: 'no night work', effect: 'deny', place: { source: 'p.yaml', line: 15, column: 5 }, outcome: 'misses', unmet: [{ attribute: 'context.attributes.hour', place: { source: 'p.yaml', line: 18, column: 24 }, outcome: 'misses' }] }
  ])
  t.match(explain({ team: 'science' }, 'read', { hour: 3 }).rules, [{ outcome: 'matches', unmet: [] }, { outcome: 'misses', unmet: [{ attribute: 'action' }] }])
  t.match(explain({ team: 'science' }).rules[1], { outcome: 'cannot be evaluated', unmet: [{ outcome: 'cannot be evaluated' }] })
})

t.test('every role that permits it says whether it is held and reaches so far', async (t) => {
  t.strictSame(explain({ roles: ['analyst'] }).roles, [{ role: 'analyst', isHeld: true, reaches: true }, { role: 'admin', isHeld: false, reaches: true }])
  t.strictSame(explain({ id: 'batch', org: 'other' }).roles, [{ role: 'analyst', isHeld: true, reaches: false }, { role: 'admin', isHeld: false, reaches: true }], 'assigned ones are held')
  t.strictSame(explain({ roles: ['viewer'] }, 'delete').roles.map(({ role }) => role), ['admin'])
})
