import fc from 'fast-check'
import t from 'tap'
import type { FilePolicy } from '../../src/authz/file-policy.ts'
import type { Weighed } from '../../src/authz/weigh.ts'
import type { Principal } from '../../src/principal.ts'
import { type Asked, model, policyOf, principal, reference } from './questions.ts'

t.setTimeout(120_000)

/** Asks with these names hidden: `principal.id`, or an attribute. */
function weigh (policy: FilePolicy, { principal: who = {}, action = 'read', resource = {}, context = {} }: Asked, hidden: readonly string[]): Weighed {
  const asked = new Set<string>()
  const members = (owner: string, given: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> => {
    const kept = Object.fromEntries(Object.entries(given).filter(([name]) => !hidden.includes(`${owner}.${name}`)))
    return new Proxy(kept, {
      getOwnPropertyDescriptor (target, name) {
        if (hidden.includes(`${owner}.${String(name)}`)) asked.add(`${owner}.${String(name)}`)
        return Reflect.getOwnPropertyDescriptor(target, name)
      }
    })
  }
  const whole: Principal = principal({ ...who, attributes: members('principal', who.attributes) })
  const { id } = whole
  const watched = {
    ...whole,
    get id () {
      if (hidden.includes('principal.id')) asked.add('principal.id')
      return hidden.includes('principal.id') ? 'hidden' : id
    }
  }
  return policy.weigh(watched, action, model({ ...resource, attributes: members('resource', resource.attributes) }), members('context', context), asked)
}

const roles = { reader: { permissions: ['model:read'] }, writer: { permissions: ['model:write'], org: '*' } }
const policies = [
  { name: 'office', effect: 'deny', action: 'read', condition: { ip: { cidr: '10.0.0.0/8' } } },
  { name: 'ann', effect: 'allow', action: ['read', 'train'], principal: { id: 'ann' } },
  { name: 'red', effect: 'allow', action: 'read', principal: { team: 'red' } }
]

t.test('an answer that no value of what is unknown changes is known', async (t) => {
  const policy = policyOf({ roles, policies })
  const ask = (asked: Asked, ...hidden: readonly string[]): unknown[] => {
    const { outcome, rule, because } = weigh(policy, asked, hidden)
    return [outcome, rule, ...because.map(({ rule, attributes }) => `${rule} ${attributes.join()}`)]
  }
  t.same(ask({ context: { ip: '192.0.2.1' } }), ['allow', 'rule:ann'])
  t.same(ask({ context: { ip: '10.0.0.1' } }, 'principal.id'), ['deny', 'rule:office'])
  t.same(ask({ principal: { id: 'bob' } }, 'context.ip'), ['deny', null], 'denied either way')
  t.same(ask({}, 'context.ip'), ['unknown', null, 'rule:office context.ip'])
  t.same(ask({}, 'principal.id', 'context.ip'), ['unknown', null, 'rule:office context.ip', 'rule:ann principal.id'])
  t.same(ask({ action: 'train' }, 'principal.id', 'context.ip'), ['unknown', null, 'rule:ann principal.id'])
  t.same(ask({ action: 'write', principal: { roles: ['writer'] } }, 'principal.id', 'context.ip'), ['allow', 'role:writer'])
  t.same(ask({ context: { ip: '192.0.2.1' }, principal: { team: 'red' } }, 'principal.id'), ['allow', 'rule:red'])
  t.same(ask({ principal: { roles: ['reader'], org: 'other' }, context: { ip: '192.0.2.1' } }, 'principal.id'), ['unknown', null, 'rule:ann principal.id'], 'a role of another org allows nothing')
})

t.test('a rule that something known misses hangs on nothing, one that cannot be evaluated denies or says nothing', async (t) => {
  const rule = (more: object): FilePolicy => policyOf({ policies: [{ name: 'all', effect: 'allow', action: 'read' }, { name: 'd', effect: 'deny', ...more }] })
  t.match(weigh(rule({ principal: { id: 'x', team: 'blue' } }), { principal: { team: 'red' } }, ['principal.id']), { outcome: 'allow' })
  t.match(weigh(rule({ principal: { id: 'x' }, resource: { level: { gt: 1 } } }), {}, ['principal.id']), { outcome: 'unknown' })
  t.match(weigh(rule({ principal: { team: { ne: 'x' } } }), {}, ['principal.id']), { outcome: 'deny', rule: 'rule:d' })
  const allow = policyOf({ policies: [{ name: 'a', effect: 'allow', action: 'read', principal: { id: 'x' }, resource: { level: { gt: 1 } } }] })
  t.match(weigh(allow, {}, ['principal.id']), { outcome: 'deny', rule: null })
  t.match(weigh(policyOf({ policies: [{ name: 'b', effect: 'deny', principal: { team: { ne: 'x' } } }, { name: 'c', effect: 'deny', action: 'read' }] }), {}, []), { rule: 'rule:c' }, 'what denies is named before what cannot be evaluated')
})

t.test('roles that may be assigned may allow, and whoever asks for them hangs on what they hang on', async (t) => {
  const policy = policyOf({
    roles,
    assignments: [{ principal: { id: 'ann' }, roles: ['reader'] }, { principal: { team: 'red' }, roles: ['writer'] }, { principal: { id: 'x', team: 'blue' }, roles: ['writer'] }],
    policies: [{ name: 'no readers', effect: 'deny', action: 'train', principal: { roles: 'reader' } }, { name: 'train', effect: 'allow', action: 'train' }]
  })
  t.same(weigh(policy, {}, ['principal.id']).because, [{ rule: 'assignments', attributes: ['principal.id'] }])
  t.match(weigh(policy, { principal: { team: 'red' }, action: 'write' }, ['principal.id']), { outcome: 'allow', rule: 'role:writer' })
  t.match(weigh(policy, { action: 'write' }, ['principal.id']), { outcome: 'deny' }, 'who is not blue is no writer')
  t.same(weigh(policy, { action: 'train' }, ['principal.id']).because, [{ rule: 'rule:no readers', attributes: ['principal.id'] }])
  t.match(weigh(policy, { principal: { roles: ['writer'] }, action: 'train' }, ['principal.id']), { outcome: 'allow' }, 'who brings roles is assigned none')
})

t.test('what obliges and cannot be evaluated denies, so it counts too', async (t) => {
  const oblige = (more: object): FilePolicy => policyOf({ policies: [{ name: 'all', effect: 'allow', action: 'read' }, { name: 'o', effect: 'oblige', obligations: { mask: ['x'] }, ...more }] })
  t.match(weigh(oblige({ principal: { id: 'x' } }), {}, ['principal.id']), { outcome: 'unknown', because: [{ rule: 'rule:o' }] })
  t.match(weigh(oblige({ action: 'write', principal: { id: 'x' } }), {}, ['principal.id']), { outcome: 'allow' })
  t.match(weigh(oblige({ principal: { team: { ne: 'x' } } }), {}, ['principal.id']), { outcome: 'deny', rule: 'rule:o' })
  t.match(weigh(policyOf({ policies: [{ name: 'd', effect: 'deny', principal: { id: 'x' }, obligations: { record: 'full-metadata' } }, { name: 'all', effect: 'allow', action: 'read' }] }), {}, ['principal.id']).because.length, 1)
})

const word = fc.constantFrom('a', 'b', 'ab')
const said = fc.oneof(word, fc.constantFrom<unknown>('a*', { ne: 'a' }, { exists: false }, { eq: reference('principal.id') }, reference('resource.level'), ['a', reference('principal.level')], { nin: ['a'] }))
const part = (...names: readonly string[]): fc.Arbitrary<Record<string, unknown> | undefined> => fc.option(fc.dictionary(fc.constantFrom(...names), said, { minKeys: 1 }).map((made) => ({ ...made })), { nil: undefined })
const rule = fc.record({ effect: fc.constantFrom('allow', 'allow', 'deny'), action: fc.constantFrom('read', ['read', 'write'], '*'), principal: part('id', 'level', 'roles', 'team'), resource: part('level', 'org'), condition: part('level') })
const oblige = fc.record({ effect: fc.constant('oblige'), principal: part('level', 'roles', 'id'), obligations: fc.constantFrom({ mask: ['x'] }, { tier: 'a' }, { tier: 'b' }) })
const assignment = fc.record({ principal: fc.dictionary(fc.constantFrom('id', 'level', 'team'), word, { minKeys: 1 }).map((made) => ({ ...made })), roles: fc.constantFrom(['reader'], ['writer']) })
const optionalWord = fc.option(word, { nil: undefined })
const hiding = ['principal.id', 'principal.level', 'resource.level', 'context.level']
const levels = ['a', 'b', 'ab', undefined]

t.test('what is known holds whatever the unknown is', async (t) => {
  const outcomes = new Map<string, number>()
  fc.assert(fc.property(
    fc.record({ policies: fc.array(fc.oneof({ weight: 5, arbitrary: rule }, oblige), { maxLength: 6 }), assignments: fc.array(assignment, { maxLength: 3 }) }),
    fc.record({ team: optionalWord, org: fc.constantFrom('acme', 'a'), roles: fc.constantFrom([], [], ['reader'], ['writer']) }),
    fc.constantFrom('read', 'write'),
    fc.tuple(word, optionalWord, optionalWord, optionalWord),
    fc.subarray(hiding, { minLength: 1, maxLength: 2 }),
    ({ policies, assignments }, who, action, [id, own, its, level], hidden) => {
      const policy = policyOf({ roles, assignments, policies: policies.map((one, index) => ({ ...one, name: `r${index}` })) })
      const asked = (values: readonly (string | undefined)[]): Required<Asked> => ({
        principal: { ...who, id: values[0] ?? 'a', attributes: { level: values[1] } }, action, resource: { attributes: { level: values[2] } }, context: { level: values[3] }
      })
      const given = [id, own, its, level]
      const { outcome } = weigh(policy, asked(given), hidden)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if (outcome === 'unknown') return true
      const choices = hiding.map((name, index) => hidden.includes(name) ? levels : [given[index]])
      return completions(choices).every((values) => {
        const { principal: whose, action, resource, context } = asked(values)
        return policy.decide(principal(whose), action, model(resource), context).allowed === (outcome === 'allow')
      })
    }
  ), { numRuns: 3000 })
  for (const outcome of ['allow', 'deny', 'unknown']) t.ok(Number(outcomes.get(outcome)) > 100, `${outcome}: ${String(outcomes.get(outcome))}`)
})

function completions (choices: readonly (readonly (string | undefined)[])[]): readonly (readonly (string | undefined)[])[] {
  const [first, ...others] = choices
  return first === undefined ? [[]] : first.flatMap((value) => completions(others).map((rest) => [value, ...rest]))
}
