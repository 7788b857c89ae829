import fc from 'fast-check'
import t from 'tap'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import type { Obligations } from '../../src/authz/policy.ts'
import { ask, type Asked, policyOf, reference } from './questions.ts'

const roles = { analyst: { permissions: ['model:predict'] } }
const analyst: Asked = { action: 'predict', principal: { roles: ['analyst'], tier: 'trial' } }
const obliged = (rules: readonly Record<string, unknown>[], asked: Asked = analyst): Obligations | undefined =>
  ask(policyOf({ roles, policies: rules.map((rule, index) => ({ name: `r${index}`, ...rule })) }), asked).obligations

t.test('what a rule obliges to is due whenever it matches, whoever allowed', async (t) => {
  const mask = { effect: 'oblige', principal: { tier: 'trial' }, obligations: { mask: ['scores'] } }
  const policy = policyOf({ roles, policies: [{ name: 'trial', ...mask }] })
  t.strictSame(ask(policy, analyst), { allowed: true, rule: 'role:analyst', reason: 'allowed', obligations: { mask: ['scores'] } })
  t.strictSame(ask(policy, { ...analyst, principal: { roles: ['analyst'], tier: 'gold' } }), { allowed: true, rule: 'role:analyst', reason: 'allowed' }, 'nothing is due where it does not match')
  t.strictSame(ask(policy, { action: 'predict', principal: { tier: 'trial' } }), { allowed: false, rule: null, reason: 'no-match' }, 'it allows nothing by itself')
  const allowing = { effect: 'allow', action: 'predict', principal: { tier: 'trial' }, obligations: { tier: 'slow' } }
  t.strictSame(ask(policyOf({ policies: [{ name: 'a', ...allowing }] }), { action: 'predict', principal: { tier: 'trial' } }), { allowed: true, rule: 'rule:a', reason: 'allowed', obligations: { tier: 'slow' } })
  t.strictSame(obliged([allowing, { effect: 'allow', action: '*' }, mask]), { mask: ['scores'], tier: 'slow' }, 'all that match add up')
  t.strictSame(obliged([mask, { ...mask, obligations: { mask: ['shape', 'scores'], record: 'full-metadata' } }]), { mask: ['scores', 'shape'], record: 'full-metadata' })
  t.strictSame(obliged([allowing, { ...allowing, obligations: { tier: 'slow' } }]), { tier: 'slow' }, 'one tier twice is one tier')
})

t.test('what is denied is only recorded', async (t) => {
  const full = { record: 'full-metadata' }
  const asked: Asked = { action: 'delete', principal: { roles: ['analyst'], tier: 'trial' } }
  const deny = { effect: 'deny', action: 'delete', obligations: full }
  t.strictSame(ask(policyOf({ roles, policies: [{ name: 'never', ...deny }] }), asked), { allowed: false, rule: 'rule:never', reason: 'forbidden', obligations: full })
  t.strictSame(obliged([{ effect: 'deny', action: 'delete' }, { effect: 'oblige', obligations: { mask: ['x'], tier: 'slow', ...full } }], asked), full)
  t.equal(obliged([{ effect: 'oblige', obligations: { mask: ['x'], tier: 'slow' } }], asked), undefined)
  t.strictSame(obliged([{ effect: 'oblige', condition: { hour: { gt: 3 } }, obligations: full }], asked), full, 'in doubt it is recorded')
  t.strictSame(obliged([{ effect: 'oblige', obligations: { tier: 'slow', ...full } }, { effect: 'oblige', obligations: { tier: 'fast' } }], asked), full)
})

t.test('what cannot be said to be due or not denies', async (t) => {
  const policy = policyOf({ roles, policies: [{ name: 'night', effect: 'oblige', condition: { hour: { gt: 3 } }, obligations: { mask: ['scores'] } }] })
  t.strictSame(ask(policy, analyst), { allowed: false, rule: 'rule:night', reason: 'policy-error' })
  t.strictSame(ask(policy, { ...analyst, context: { hour: 2 } }), { allowed: true, rule: 'role:analyst', reason: 'allowed' })
  t.strictSame(ask(policy, { ...analyst, context: { hour: 4 } }).obligations, { mask: ['scores'] })
  const [a, b] = [{ name: 'a', effect: 'oblige', obligations: { tier: 'slow' } }, { name: 'b', effect: 'oblige', resource: { id: ['fraud', 'x'] }, obligations: { tier: 'fast' } }]
  const tiers = policyOf({ roles, policies: [a, b] })
  const full = { name: 'z', effect: 'oblige', obligations: { record: 'full-metadata' } }
  t.strictSame(ask(policyOf({ roles, policies: [a, b, full] }), analyst), { allowed: false, rule: 'rule:b', reason: 'policy-error', obligations: full.obligations }, 'and is recorded all the same')
  t.equal(ask(policyOf({ roles, policies: [b, a] }), analyst).rule, 'rule:b', 'whatever their order')
  t.strictSame(ask(tiers, analyst), { allowed: false, rule: 'rule:b', reason: 'policy-error' }, 'one request cannot be charged under two tiers')
  t.strictSame(ask(tiers, { ...analyst, resource: { id: 'churn' } }).obligations, { tier: 'slow' })
})

t.test('another obliging rule never allows more, and takes no obligation away', async (t) => {
  const rule = fc.record({
    effect: fc.constantFrom('allow', 'oblige'),
    action: fc.constantFrom('predict', 'read', '*'),
    principal: fc.constantFrom({ tier: 'trial' }, { tier: 'gold' }, { team: 'risk' }, { roles: 'analyst' }, { level: { gt: 2 } }),
    obligations: fc.constantFrom({ mask: ['a'] }, { mask: ['b', 'c'] }, { tier: 'slow' }, { tier: 'fast', mask: ['a'] }, { record: 'full-metadata' })
  })
  const asked = fc.record({
    action: fc.constantFrom('predict', 'read'),
    principal: fc.record({ roles: fc.constantFrom(['analyst'], []), tier: fc.constantFrom('trial', 'gold'), team: fc.constantFrom('risk', undefined), attributes: fc.constantFrom({}, { level: 1 }, { level: 3 }) })
  })
  fc.assert(fc.property(fc.array(rule, { maxLength: 8 }), rule, asked, (given, added, question) => {
    const named = [...given, { ...added, effect: 'oblige' }].map((one, index) => ({ name: `r${index}`, ...one }))
    const before = ask(policyOf({ roles, policies: named.slice(0, -1) }), question)
    const after = ask(policyOf({ roles, policies: named }), question)
    if (after.allowed && !before.allowed) return false
    const isRecorded = (before.obligations?.record ?? after.obligations?.record) === after.obligations?.record
    if (!after.allowed) return isRecorded && (after.reason === before.reason || after.reason === 'policy-error')
    const all = new Set(after.obligations?.mask)
    return after.rule === before.rule && (before.obligations?.mask ?? []).every((name) => all.has(name)) &&
      (before.obligations?.tier ?? after.obligations?.tier) === after.obligations?.tier && isRecorded
  }), { numRuns: 1000 })
  t.pass()
})

t.test('a file can test what is due', async (t) => {
  const tested = (...expected: readonly (object | undefined)[]): unknown => policyOf({
    roles,
    policies: [{ name: 'trial', effect: 'oblige', obligations: { mask: ['a', 'b'] } }],
    tests: expected.map((obligations, index) => ({ name: `t${index}`, principal: { org: 'acme', roles: ['analyst'] }, action: 'predict', resource: { type: 'model', org: 'acme' }, expect: 'allow', obligations }))
  }).tests
  t.equal(tested({ mask: ['b', 'a'] }, undefined), 2)
  t.throws(() => tested({ mask: ['a'] }), /test "t0" expected other obligations than {"mask":\["a","b"\]} \(allowed, "role:analyst"\)/)
  t.throws(() => tested({ mask: ['a', 'b'], tier: 'slow' }), /expected other obligations/)
  t.throws(() => tested({ mask: ['a', 'b'], notify: 'ops' }), /unknown key "notify"/)
  const nothingDue = { roles, tests: [{ name: 't', principal: { org: 'acme', roles: ['analyst'] }, action: 'predict', resource: { type: 'model', org: 'acme' }, expect: 'allow', obligations: { mask: ['a'] } }] }
  t.throws(() => policyOf(nothingDue), /expected other obligations than {} \(allowed/)
})

t.test('a file that obliges to what nobody can do is refused', async (t) => {
  const refusal = (rule: string, tiers?: readonly string[]): unknown => {
    try {
      return loadPolicy(`version: 1\npolicies:\n  - ${rule}\n`, { source: 'p.yaml', ...tiers !== undefined && { tiers } }).tiers
    } catch (error) {
      return (error as Error).message.replace('policy invalid: p.yaml:', '')
    }
  }
  const rule = (obligations: string, effect = 'oblige'): string => `{ name: a, effect: ${effect}, obligations: ${obligations} }`
  t.strictSame(refusal(rule('{ tier: slow }')), ['slow'])
  t.strictSame(refusal(rule('{ mask: [a, b.c], record: full-metadata }')), [])
  t.equal(refusal(rule('{ maks: [a] }')), '3:47: unknown key "maks"; did you mean mask?')
  t.equal(refusal(rule('{ email: ops@acme.example }')), '3:47: unknown key "email"; known are mask, tier, record')
  t.equal(refusal(rule('{}')), '3:45: expected at least one obligation, got a mapping')
  t.equal(refusal(rule('[mask]')), '3:45: expected a mapping of mask, tier, record, got a list')
  t.equal(refusal(rule('{ mask: [] }')), '3:53: expected a list of at least one, got an empty list')
  t.equal(refusal(rule('{ mask: scores }')), '3:53: expected a list, like [scores], got "scores"')
  t.equal(refusal(rule('{ mask: [3] }')), '3:54: expected the name of a member, got 3')
  for (const name of ['scores*', '*', 'a..b', '.a', 'a.']) t.match(refusal(rule(`{ mask: ["${name}"] }`)), /^3:54: expected the name of a member, with dots into nested ones and without stars, got/)
  t.equal(refusal(rule('{ record: everything }')), '3:55: unknown word "everything"; known are full-metadata')
  t.equal(refusal(rule('{ tier: 3 }')), '3:53: expected a name, got 3')
  t.equal(refusal(rule('{ tier: trail }'), ['trial', 'gold']), '3:53: unknown tier "trail"; did you mean trial?')
  t.strictSame(refusal(rule('{ tier: trial }'), ['trial', 'gold']), ['trial'])
  t.equal(refusal('{ name: a, effect: oblige }'), '3:5: expected "obligations" in this mapping')
  t.equal(refusal(rule('{ mask: [a] }', 'deny')), '3:43: expected nothing but record in the obligations of a rule that denies, which has no answer to mask, got a mapping')
  t.match(refusal(rule('{ tier: a }', 'deny')), /nothing but record/)
  t.strictSame(refusal(rule('{ record: full-metadata }', 'deny')), [])
  t.match(refusal(`{ name: a, effect: allow, principal: { team: '${reference('principal.org')}' }, obligations: { tier: a } }`), /expected "action"/)
})
