import fc from 'fast-check'
import t from 'tap'
import { isGuardError } from '../../src/errors.ts'
import { attributeOf, type Owner } from '../../src/authz/attribute.ts'
import type { Constraint } from '../../src/authz/constraint.ts'
import { loadPolicy, parsePolicy } from '../../src/authz/file-policy.ts'
import { buildIndex, candidates } from '../../src/authz/rule-index.ts'
import { ask, askAnything, type Asked, cpuMs, model, policyOf, principal, reference } from './questions.ts'

// Every policy is read anew: a slow or busy machine needs its time.
t.setTimeout(120_000)

const word = fc.constantFrom('a', 'b', 'ab', 'abc', 'a*', '*', '__proto__')
const literal = fc.constantFrom('a', 'b', 'ab', 'abc')
const pattern = fc.oneof(word, fc.constantFrom('a*', '*b', 'a*c', '*', reference('principal.org'), reference('resource.owner'), `${reference('principal.team')}-*`))
const said = fc.oneof(
  { weight: 3, arbitrary: literal },
  pattern,
  fc.array(pattern, { minLength: 1, maxLength: 3 }),
  fc.constantFrom<unknown>({ ne: 'a' }, { eq: reference('principal.org') }, { nin: ['a', 'b'] }, { prefix: 'a' }, { exists: false }, { exists: true })
)
const part = (...names: readonly string[]): fc.Arbitrary<Record<string, unknown> | undefined> =>
  fc.option(fc.dictionary(fc.constantFrom(...names), said, { minKeys: 1, maxKeys: 3 }).map((made) => ({ ...made })), { nil: undefined })
const rule = fc.record({
  effect: fc.constantFrom('allow', 'deny'),
  action: said,
  principal: part('id', 'org', 'team', 'roles', 'level'),
  resource: part('type', 'id', 'org', 'owner', 'level'),
  condition: part('environment', 'level')
})
type GivenRule = typeof rule extends fc.Arbitrary<infer T> ? T : never

const roles = { a: { permissions: ['a:*', 'b:b'] }, b: { inherits: ['a'], org: '*' }, ab: { permissions: ['*:a'] } }
const attributes = fc.dictionary(fc.constantFrom('owner', 'level'), fc.oneof(word, fc.array(word, { maxLength: 2 }), fc.constantFrom<unknown>(3, null, true)))
const question: fc.Arbitrary<Asked> = fc.record({
  principal: fc.record({ id: word, org: fc.option(word, { nil: undefined }), team: fc.option(word, { nil: undefined }), roles: fc.array(word, { maxLength: 2 }), attributes }),
  action: word,
  resource: fc.record({ type: word, id: word, org: fc.option(word, { nil: undefined }), attributes }),
  context: fc.dictionary(fc.constantFrom('environment', 'level'), fc.oneof(word, fc.constantFrom<unknown>(3, null)))
})

const named = (rules: readonly GivenRule[]): Record<string, unknown>[] => rules.map((given, index) => ({ ...given, name: `r${index}` }))
const allowed = (rules: readonly Record<string, unknown>[], asked: Asked, withRoles = roles): boolean => ask(policyOf({ roles: withRoles, policies: rules }), asked).allowed
const rules = fc.array(rule, { maxLength: 24 })

t.test('a question is allowed when no rule alone denies it, and a rule or a role alone allows it', async (t) => {
  fc.assert(fc.property(rules, question, (given, asked) => {
    const all = named(given)
    const denied = all.some((one) => one['effect'] === 'deny' && !allowed([one, { name: 'all', effect: 'allow', action: '*' }], asked))
    const permitted = allowed([], asked) || all.some((one) => one['effect'] === 'allow' && ask(policyOf({ roles, policies: [one] }), asked).allowed)
    return allowed(all, asked) === (permitted && !denied)
  }), { numRuns: 100 })
  t.pass()
})

t.test('what nothing allows is denied', async (t) => {
  fc.assert(fc.property(rules, question, (given, asked) => {
    const denies = named(given).filter((one) => one['effect'] === 'deny')
    return !ask(policyOf({ policies: denies }), asked).allowed
  }))
  t.pass()
})

t.test('another deny never allows more, another allow never denies more', async (t) => {
  fc.assert(fc.property(rules, rule, question, (given, added, asked) => {
    const before = allowed(named(given), asked)
    const after = allowed(named([...given, added]), asked)
    return added.effect === 'deny' ? before || !after : after || !before
  }), { numRuns: 150 })
  t.pass()
})

t.test('the order of rules changes nothing, not even the rule that is named', async (t) => {
  fc.assert(fc.property(rules.chain((given) => fc.tuple(fc.constant(named(given)), fc.shuffledSubarray(named(given), { minLength: given.length }))), question, ([given, shuffled], asked) => {
    t.strictSame(ask(policyOf({ roles, policies: shuffled }), asked), ask(policyOf({ roles, policies: given }), asked))
  }))
})

t.test('however many rules a file holds, each is found', async (t) => {
  const many = Array.from({ length: 1500 }, (_, index) => ({
    name: `r${index}`,
    effect: 'allow',
    action: ['read', 'write', 'r*', '*'][index % 4],
    resource: { type: ['model', ['model', 'data']][index % 2], id: [`m${index}`, `m${index}-*`, [`m${index}`, `n${index}`], `m${index}`][index % 4] },
    ...index % 3 === 0 ? { principal: { roles: ['x', `t${index}`] } } : {}
  }))
  const policy = policyOf({ policies: many })
  for (let index = 0; index < 1500; index++) {
    const asked = { principal: { roles: index % 2 === 0 ? [`t${index}`] : ['other', `t${index}`] }, action: index % 4 === 1 ? 'write' : 'read', resource: { id: index % 4 === 1 ? `m${index}-x` : `m${index}` } }
    if (ask(policy, asked).rule !== `rule:r${index}`) t.fail(`rule ${index} is not found`)
    if (ask(policy, { ...asked, resource: { id: `o${index}` } }).allowed) t.fail(`rule ${index} is found for another model`)
  }
  t.equal(ask(policy, { resource: { type: 'other' } }).allowed, false)
})

t.test('rules are found by each member of a list', async (t) => {
  const policy = policyOf({ policies: Array.from({ length: 50 }, (_, index) => ({ name: `r${index}`, effect: 'allow', action: 'read', principal: { roles: index % 2 === 0 ? `t${index}` : `t${index}-*` } })) })
  const holding = (...roles: readonly string[]): string | null => ask(policy, { principal: { roles } }).rule
  t.equal(holding('t8'), 'rule:r8')
  t.equal(holding('other', 't8'), 'rule:r8')
  t.equal(holding('t9-x', 'other'), 'rule:r9')
  t.equal(holding('t9'), null)
  t.equal(holding('other', 'another'), null)
  t.equal(holding('t'), null)
  t.equal(holding(), null)
  const teams = policyOf({ policies: Array.from({ length: 50 }, (_, index) => ({ name: `r${index}`, effect: 'allow', action: 'read', principal: { level: [`l${index}-*`, 7] } })) })
  t.equal(ask(teams, { principal: { attributes: { level: 7 } } }).rule, 'rule:r0', 'what is no string is not looked up')
  t.equal(ask(teams, { principal: { attributes: { level: 'l9-x' } } }).rule, 'rule:r9')
  const projects = policyOf({ policies: Array.from({ length: 50 }, (_, index) => ({ name: `r${index}`, effect: 'allow', action: 'read', principal: { project: `p${index}-*` } })) })
  t.equal(ask(projects, { principal: { attributes: { project: 'p9-x' } } }).rule, 'rule:r9')
  t.equal(ask(projects, { principal: { attributes: { project: 9 } } }).reason, 'no-match')
  const start = cpuMs()
  t.equal(holding(...Array.from({ length: 50_000 }, () => 't8')), 'rule:r8')
  t.ok(cpuMs() - start < 1000, 'a role that is repeated is one role')
})

t.test('what is to be tested for a question does not grow with the rules that could not concern it', async (t) => {
  const place = { source: 'p', line: 1, column: 1 }
  const about = (owner: Owner, name: string, text: string): Constraint => ({ attribute: attributeOf(owner, name, place), place, test: () => true, keys: { kind: 'whole', texts: [text] } })
  for (const count of [10, 100, 1000]) {
    const index = buildIndex(Array.from({ length: count }, (_, number) => ({
      filed: number,
      constraints: number % 2 === 0
        ? [about('resource', 'id', `m${number}`), about('principal', 'team', 'x'), about('principal', 'tier', `tier${number % 3}`)]
        : [about('principal', 'id', `p${number}`), about('resource', 'type', 'model')]
    })))
    const asked = { principal: principal({ id: 'p3', team: 'x', tier: 'tier1' }), roles: [], action: 'read', resource: model({ id: 'm4' }), context: {} }
    t.ok(candidates(index, asked).length <= 8, `${count} rules`)
    t.equal(candidates(index, { ...asked, resource: model({ type: 'dataset', id: 'none' }) }).length <= 4, true)
  }
})

t.test('lists that multiply are not copied without end', async (t) => {
  const names = (letter: string): string[] => Array.from({ length: 1500 }, (_, index) => `${letter}${index}`)
  const start = cpuMs()
  const policy = policyOf({ policies: Array.from({ length: 6 }, (_, index) => ({ name: `r${index}`, effect: 'allow', action: names('a'), resource: { type: names('t'), id: names('i'), org: `o${index}` } })) })
  t.ok(cpuMs() - start < 3000)
  t.equal(ask(policy, { action: 'a59', resource: { type: 't0', id: 'i30', org: 'o5' } }).rule, 'rule:r5')
  t.equal(ask(policy, { action: 'a59', resource: { type: 't0', id: 'i1500', org: 'o5' } }).allowed, false)
})

t.test('whatever the file holds, it is taken or refused as invalid', async (t) => {
  const key = fc.oneof(fc.constantFrom('version', 'roles', 'policies', 'tests', 'assignments', 'name', 'effect', 'principal', 'resource', 'action', 'condition', 'permissions', 'inherits', 'org', 'expect', 'attributes', 'credential', 'eq', 'in', 'between', '__proto__', 'constructor', '<<'), fc.string())
  const value = fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof({ depthSize: 'small' }, fc.constantFrom<unknown>('allow', 'deny', '*', 'model:read', reference('principal.org'), '$' + '{', 1, -0, 1e300, null, true, ''), fc.string({ unit: 'binary' }), fc.double(), fc.array(tie('node'), { maxLength: 4 }), fc.dictionary(key, tie('node'), { maxKeys: 5 }))
  })).node
  const loads = (text: string): void => {
    try {
      loadPolicy(text, { source: 'fuzz' })
    } catch (error) {
      if (!isGuardError(error, 'FMG_ERR_POLICY_INVALID') || !/^policy invalid: fuzz:\d+:\d+: ./.test(error.message)) throw error
    }
  }
  const top = (node: unknown): string => JSON.stringify(node)
  fc.assert(fc.property(value, (node) => { loads(top(node)) }), { numRuns: 200 })
  const member = fc.oneof(fc.record({ roles: value }), fc.record({ policies: fc.array(fc.record({ name: fc.string(), effect: fc.constantFrom('allow', 'deny'), action: value, resource: value, principal: value, condition: value }, { requiredKeys: ['name', 'effect', 'action'] })) }), fc.record({ tests: fc.array(fc.record({ name: fc.string(), principal: value, resource: value, action: value, context: value, expect: fc.constant('deny') })) }))
  fc.assert(fc.property(member, (made) => { loads(top({ version: 1, ...made })) }), { numRuns: 500 })
  const scrap = fc.constantFrom('version: 1', 'roles:', '- ', '  ', '\n', '\n  ', ': ', ':', '? ', '{', '}', '[', ']', ',', '"', "'", '|', '>', '#', '&a', '*a', '!t', '%', '---', '...', '\t', '\r', '\0', '\x1f', '\ufeff', '\ud800', 'a', '1', '~', 'policies:', 'name: x', 'tests:')
  fc.assert(fc.property(fc.array(scrap, { maxLength: 40 }), (scraps) => { loads(scraps.join('')) }), { numRuns: 1000 })
  t.pass()
})

t.test('a policy that is taken answers whatever it is asked', async (t) => {
  const policy = parsePolicy(JSON.stringify({ version: 1, roles, policies: [{ name: 'r', effect: 'deny', action: '*', resource: { 'a.b': { gt: 1 } }, condition: { x: reference('principal.y') } }, { name: 's', effect: 'allow', action: 'read' }] }), { source: 'p' })
  fc.assert(fc.property(fc.anything(), fc.anything(), fc.anything(), fc.anything(), (principal, action, resource, context) => {
    const decision = askAnything(policy, principal, action, resource, context)
    return typeof decision === 'object' && decision !== null && 'allowed' in decision && typeof decision.allowed === 'boolean'
  }), { numRuns: 1000 })
  t.pass()
})
