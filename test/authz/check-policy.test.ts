import t from 'tap'
import { checkPolicy, type CheckPolicyOptions, type PolicyCheck } from '../../src/authz/check-policy.ts'
import { cpuMs, reference } from './questions.ts'

// Ten thousand rules take a slow or busy machine their time.
t.setTimeout(120_000)

type Given = Readonly<Record<string, unknown>>

const check = (parts: Given, options: Partial<CheckPolicyOptions> = {}): PolicyCheck => checkPolicy(JSON.stringify({ version: 1, ...parts }), { source: 'p', ...options })
const named = (rules: readonly Given[]): Given[] => rules.map((rule, index) => ({ name: `r${index}`, effect: 'allow', action: 'read', ...rule }))
const kinds = (parts: Given, options: Partial<CheckPolicyOptions> = {}): string => check(parts, options).findings.map(({ kind, rule }) => rule === undefined ? kind : `${kind} ${rule}`).join(', ')
const ofRules = (...rules: readonly Given[]): string => kinds({ policies: named(rules) })

t.test('a finding says where, what is wrong and what to do', async (t) => {
  const text = `version: 1
roles:
  viewer: { permissions: [model:read] }
  analyst: { inherits: [viewer], permissions: [model:predict] }
  trainee: { permissions: [model:train] }
assignments:
  - { principal: { id: ann, roles: analyst }, roles: [analyst] }
  - { principal: { type: bot }, roles: [analyst] }
policies:
  - { name: at night, effect: allow, action: read, condition: { time: { after: '22:00', before: '06:00' } } }
  - { name: nobody deletes, effect: deny, action: [delete, drop], resource: { type: model } }
  - { name: owners delete, effect: allow, action: delete, resource: { type: model, owner: '${reference('principal.id')}' } }
  - { name: risk writes, effect: allow, action: [read, write], principal: { team: risk } }
  - { name: risk reads, effect: allow, action: read, principal: { team: risk, level: { gte: 3 } } }
  - { name: of some size, effect: deny, resource: { size: { lt: 3, gt: 5 } } }
  - { name: interns, effect: deny, action: read, principal: { roles: [analist] } }
  - { name: viewers, effect: deny, action: read, principal: { roles: viewer } }
  - { name: again, effect: allow, action: read, resource: { attributes: { level: { gt: 3 } }, level: { lt: 3 } } }
tests:
  - { name: t, principal: { roles: [veiwer] }, action: read, resource: { type: model }, expect: deny }
`
  const lines = (heldRoles?: readonly string[]): string[] => checkPolicy(text, { source: 'p', ...heldRoles !== undefined && { heldRoles } }).findings.map(({ place: { line, column }, message }) => `${line}:${column} ${message}`)
  const found = [
    '7:5 this assignment never applies: it asks for a role (7:36), and is for principals whose credential brings none; correct it, or remove it',
    '8:5 this assignment never applies: principal.type is user or service, and never "bot" (8:26); correct it, or remove it',
    '10:5 rule "at night" never matches: context.attributes.time is never after "22:00" and before "06:00" (10:71) at once; past midnight is between: [\'22:00\', \'06:00\']; correct it, or remove the rule',
    '12:5 rule "owners delete" never allows: rule "nobody deletes" (11:5) denies whatever it matches; narrow that one, or remove this one',
    '14:5 rule "risk reads" says nothing new: rule "risk writes" (13:5) allows whatever it does; remove it, or change one of them',
    '15:5 rule "of some size" never matches: resource.attributes.size is never lt 3 and gt 5 (15:59) at once; it denies only what cannot be evaluated; say what it should do',
    '16:71 role "analist" is not declared; did you mean analyst? If a credential brings it, name all roles that credentials bring (--held)',
    '18:5 rule "again" never matches: resource.attributes.level is never gt 3 (18:82) and lt 3 (18:102) at once; correct it, or remove the rule',
    '20:37 role "veiwer" is not declared; did you mean viewer? If a credential brings it, name all roles that credentials bring (--held)'
  ]
  t.same(lines(), found)
  t.same(lines(['analyst']).filter((line) => !found.includes(line)), [
    '5:3 nobody has role "trainee": no credential and no assignment brings it, and no role that somebody has inherits from it; grant it, or remove it',
    '16:5 rule "interns" is for nobody: nobody has a role that it asks for (16:70)',
    '17:5 rule "viewers" is for nobody: nobody has a role that it asks for (17:70); who inherits from a role does not have it: name the heirs'
  ])
})

t.test('a file that no server would take is refused as ever, its tests included', async (t) => {
  t.throws(() => check({ rolls: {} }), { code: 'FMG_ERR_POLICY_INVALID', message: /p:1:14: unknown key "rolls"; did you mean roles\?/ })
  t.throws(() => check({ tests: [{ name: 'a', principal: {}, action: 'b', resource: { type: 'c' }, expect: 'allow' }] }), { message: /test "a" expected allow, got deny/ })
  t.same(kinds({}), '')
})

t.test('an allow rule whose constraints exclude each other never matches', async (t) => {
  const twice = (one: unknown, other: unknown): Given => ({ resource: { attributes: { x: one }, x: other } })
  const never: readonly Given[] = [
    { principal: { credential: { id: 'a*' }, 'credential.id': 'b*' } }, { principal: { credential: { id: '*a' }, 'credential.id': { suffix: 'b' } } },
    { resource: { id: { eq: 'a', ne: 'a' } } }, { resource: { x: { eq: 'a', ne: 'a' } } }, { resource: { x: { in: ['a', 'b'], nin: ['a', 'b', 'c'] } } }, { resource: { id: { in: ['a', 'b'], prefix: 'c' } } }, { resource: { id: { eq: 'a', in: ['b'] } } },
    { resource: { id: { prefix: 'a', suffix: 'x', eq: 'ab' } } }, { resource: { x: { exists: false, eq: 'a' } } }, { resource: { x: { exists: false, ne: 'a' } } }, { resource: { x: { exists: false, gt: 1 } } }, { resource: { x: { exists: false, prefix: 'a' } } },
    { resource: { x: { exists: false, eq: reference('principal.id') } } }, { resource: { x: { lt: 3, gte: 3 } } }, { resource: { x: { lte: 3, gt: 3 } } }, { resource: { x: { between: [1, 2], gt: 2 } } }, { resource: { x: { eq: 3, lt: 3 } } }, { resource: { x: { in: [1, 'a'], gt: 1 } } },
    { resource: { x: { prefix: 'a', gt: 1 } } }, { resource: { x: { cidr: '10.0.0.0/8', eq: '11.0.0.1' } } }, { resource: { x: { cidr: '10.0.0.0/8', eq: 'here' } } },
    { condition: { at: { after: '18:00', before: '08:00' } } }, { condition: { at: { before: '00:00' } }, principal: { type: 'bot' } },
    { condition: { at: { after: '2026-06-01T00:00:00Z', before: '2026-01-01T00:00:00Z' } } }, { condition: { at: { eq: 'noon', after: '08:00' } } },
    { principal: { type: 'bot' } }, { principal: { type: 'User' } }, { principal: { type: { nin: ['user', 'service'] } } }, { principal: { credential: { method: 'mTLS' } } }, { principal: { type: { suffix: 'x' } } }, { principal: { credential: { method: 'x*' } } },
    { principal: { tier: { eq: 3 } } }, { principal: { tier: { gt: 3 } } }, { principal: { tier: { ne: 3 } } }, { principal: { roles: { in: [1, 2] } } }, { principal: { roles: { gt: 3 } } },
    { resource: { id: [{ eq: 'a', ne: 'a' }, { prefix: 'a', suffix: 'b', in: ['b', 'c'] }] } }, { action: { prefix: 'a', in: ['b'] } }, { resource: { id: { prefix: 'a', eq: 'b' } } },
    twice('a', { exists: false }), twice({ gt: 3 }, { lt: 3 }), twice({ gt: 3 }, [{ lt: 1 }, { between: [1, 2] }]), twice([{ gt: 3 }, { eq: 'a', ne: 'a' }], { lt: 3 }), twice({ gt: 3 }, 'a'), twice(['a', { gt: 3 }], { lt: 3 }), twice({ gt: 3, lt: 2 }, 'a'), twice('a', { gt: 3, lt: 2 })
  ]
  for (const rule of never) t.equal(ofRules(rule), 'never-matches r0', JSON.stringify(rule))
  const possible: readonly Given[] = [
    twice({ prefix: 'a' }, { prefix: 'b' }), twice('a*', '*b'), twice('a*', 'b*'), { principal: { credential: { id: 'a*' }, 'credential.id': '*b' } }, { principal: { credential: { id: 'ab*' }, 'credential.id': 'a*' } },
    { resource: { x: { eq: 'a', in: ['b'] } } }, { resource: { x: { eq: 'a', prefix: 'b' } } }, { resource: { x: { prefix: 'a', suffix: 'b' } } }, { resource: { id: { prefix: 'a', suffix: 'b' } } }, { resource: { id: { in: ['a', 'b'], ne: 'a' } } },
    { resource: { x: { exists: false, nin: reference('principal.x') } } }, { resource: { x: { exists: false } } }, { resource: { x: { exists: true, eq: 'a' } } }, { resource: { x: { lte: 3, gte: 3 } } }, { resource: { x: { nin: ['a', 3] } } }, { resource: { x: { eq: 3, in: [3, 4] } } },
    { condition: { at: { after: '2026-06-01T00:00:00Z', before: '08:00' } } }, { condition: { at: { between: ['22:00', '06:00'], before: '07:00' } } }, { condition: { at: { between: ['22:00', '06:00'], after: '07:00', before: '21:00' } } }, { principal: { type: { ne: 'user' } } }, { principal: { type: reference('resource.kind') } },
    { principal: { roles: { nin: [1] } } }, { principal: { roles: { eq: 'a', in: ['b'] } } }, { principal: { tier: { eq: reference('principal.x') } } }, { resource: { x: [{ gt: 3, lt: 2 }, 'a'] } }, twice([{ gt: 3 }, 'b'], { gt: 1 }),
    { resource: { x: { gt: 3, between: ['22:00', '06:00'] } } }, { resource: { x: { prefix: 'a', after: '08:00' } } }, { resource: { x: { eq: 7, cidr: reference('principal.x') } } }, { resource: { x: { cidr: '10.0.0.0/8', in: ['11.0.0.1', '10.0.0.1'] } } },
    twice(Array.from({ length: 40 }, (_, index) => ({ gt: index + 10 })), Array.from({ length: 40 }, () => ({ lt: 3 })))
  ]
  for (const rule of possible) t.equal(ofRules(rule), '', JSON.stringify(rule))
})

t.test('a deny rule that never matches may still deny what cannot be evaluated, and is then not said to be without effect', async (t) => {
  const message = (resource: Given): string | undefined => check({ policies: named([{ effect: 'deny', resource }]) }).findings[0]?.message
  for (const resource of [{ x: { prefix: 'a', gt: 1 } }, { x: { exists: false, gt: 1 } }, { x: { lt: 1, gt: 1 } }, { x: { exists: false, prefix: 'a' } }, { x: { eq: 3, lt: 3 } }, { org: { prefix: 'a', suffix: 'x', in: ['b'], gt: 3 } }, { org: { gt: 3 } }, { x: { exists: false, ne: reference('principal.x') } }]) {
    t.equal(/denies only what cannot be evaluated/.test(String(message(resource))), resource.org === undefined || !('in' in resource.org), JSON.stringify(resource))
  }
  for (const resource of [{ x: { exists: false, eq: 'a' } }, { x: { exists: false, in: [reference('principal.x')] } }, { x: { in: ['a'], nin: ['a'] } }, { org: { in: ['a', 'b'], prefix: 'c' } }, { id: ['a'], 'attributes.x': { exists: false, eq: 'b' } }]) {
    t.match(message(resource), /never matches: .* correct it, or remove the rule$/, JSON.stringify(resource))
  }
  t.equal(ofRules({ effect: 'deny', principal: { org: { prefix: 'a', suffix: 'x' } } }), '')
  const twice = (one: unknown, other: unknown): string => String(check({ policies: named([{ effect: 'deny', principal: { credential: { issuer: one }, 'credential.issuer': other } }]) }).findings[0]?.message)
  t.match(twice({ prefix: 'a' }, { prefix: 'b' }), /denies only what cannot be evaluated/)
  t.match(twice('a*', 'b*'), /correct it, or remove the rule$/)
  t.match(message({ org: { in: ['a', 'b'], gt: 3 } }), /denies only what cannot be evaluated/, 'a text is no number, and cannot be compared with one')
})

/** Two values for an attribute `x`, of which the first says all that the second does and less. */
const within: ReadonlyArray<readonly [narrow: unknown, wide: unknown]> = [
  ['a', 'a'], ['a', ['a', 'b']], [['a', 'b'], ['b', 'a', 'c']], ['ab', 'a*'], ['ab', '*b'], ['a-b-c', 'a*b*c'], ['ab*', 'a*'], ['a*b*c', 'a*c'], ['*ab', '*b'], ['a*', '*'], [['ab', 'xb*', 'c'], ['c', 'a*', 'x*']], [3, [2, 3]], [true, [true, false]],
  [{ eq: 'a' }, 'a'], [{ in: ['a', 'b'] }, ['a', 'b', 'c']], ['a', { eq: 'a' }], [{ eq: 'a*' }, { prefix: 'a' }], [{ prefix: 'ab' }, { prefix: 'a' }], [{ prefix: 'ab' }, 'a*'], [{ suffix: 'ba' }, { suffix: 'a' }], ['ab', { prefix: 'a' }], [{ prefix: 'a', suffix: 'b' }, 'a*'],
  [{ nin: ['a', 'b'] }, { ne: 'a' }], [{ ne: 'a' }, { ne: 'a' }], [{ nin: [1, 2] }, { nin: [2] }], [{ gt: 3 }, { ne: 3 }], [{ gt: 3 }, { exists: true }], ['a', { exists: true }], ['a*', { exists: true }], [{ ne: 'a' }, { exists: true }], [{ cidr: '10.0.0.0/8' }, { exists: true }], [{ prefix: 'a' }, { exists: true }],
  [reference('principal.id'), { exists: true }], [{ lt: reference('principal.x') }, { exists: true }], [{ eq: reference('principal.id') }, { exists: true }], [reference('principal.id'), ['a', reference('principal.id')]], [`${reference('principal.id')}-*`, `${reference('principal.id')}-*`], [{ nin: ['a', reference('principal.x')] }, { nin: ['a', reference('principal.x')] }],
  [{ gt: 3 }, { gte: 3 }], [{ gt: 3 }, { gt: 2 }], [{ lt: 3 }, { lte: 3 }], [{ lt: 3 }, { lt: 4 }], [{ between: [1, 2] }, { gte: 1 }], [{ between: [1, 2] }, { between: [0, 2] }], [{ gte: 1, lt: 2 }, { lt: 3 }],
  [{ after: '10:00' }, { after: '09:00' }], [{ between: ['23:00', '05:00'] }, { between: ['22:00', '06:00'] }], [{ before: '2026-01-01T00:00:00Z' }, { before: '2026-01-01T00:00:01Z' }], [{ before: '05:00' }, { between: ['22:00', '06:00'] }],
  [{ cidr: '10.1.0.0/16' }, { cidr: '10.0.0.0/8' }], [{ cidr: '10.1.2.3' }, { cidr: ['192.0.2.0/24', '10.1.0.0/16'] }], [{ cidr: '10.1.2.3' }, { cidr: '10.1.2.3' }], [{ cidr: '2001:db8:1::/48' }, { cidr: '2001:db8::/32' }], [{ cidr: '10.1.2.3/32' }, { cidr: '10.0.0.0/8' }],
  [{ exists: false }, { exists: false }], [{ exists: false }, [{ exists: false }, 'a']], [['a', { gt: 5 }], ['a', { gt: 4 }]]
]
/** Two of which the first is not certain to say all that the second does, though it may look so. */
const notWithin: ReadonlyArray<readonly [narrow: unknown, wide: unknown]> = [
  ['a', 'b'], [['a', 'b'], 'a'], ['a*', 'a'], ['a*', 'ab*'], ['*b', 'a*'], ['a*c', 'a*b*c'], ['*', 'a*'], [3, '3*'], [3, { prefix: '3' }], [{ prefix: 'a*' }, 'a*b'], [{ eq: 'a*' }, 'ab*'], [3, { gt: 2 }], [3, { lt: 5 }], ['10.1.2.3', { cidr: '10.0.0.0/8' }], ['12:00', { after: '08:00' }],
  ['a', { ne: 'b' }], ['a*', { ne: 'b' }], [{ ne: 'a' }, { nin: ['a', 'b'] }], [{ gt: 3 }, { ne: 4 }], [{ gt: 3 }, { ne: 'a' }], [{ exists: true }, 'a*'], [{ exists: true }, { exists: false }], ['a', { exists: false }], [{ nin: [reference('principal.x')] }, { exists: true }], [{ exists: false }, { exists: true }],
  [{ gte: 3 }, { gt: 3 }], [{ lte: 3 }, { lt: 3 }], [{ between: [1, 3] }, { lt: 3 }], [{ gt: 3 }, { between: [3, 9] }], [{ after: '10:00' }, { after: '2026-01-01T00:00:00Z' }], [{ between: ['21:00', '05:00'] }, { between: ['22:00', '06:00'] }], [{ after: '08:00' }, { ne: 3 }], [{ before: '08:00' }, 'a'],
  [{ cidr: '10.0.0.0/8' }, { cidr: '10.1.0.0/16' }], [{ cidr: '11.1.0.0/16' }, { cidr: '10.0.0.0/8' }], [{ cidr: '10.1.2.3' }, { cidr: '10.1.2.4' }], [{ cidr: '::/96' }, { cidr: '0.0.0.0/0' }], [{ cidr: '10.0.0.0/8' }, 'a'], [{ cidr: ['10.1.0.0/16', '11.0.0.0/8'] }, { cidr: '10.0.0.0/8' }],
  [3, '*'], [true, '*'], [{ between: ['10:00', '11:00'] }, { gt: 3 }], [['zz', { prefix: 'a' }], ['zz', { prefix: 'a*' }]], [{ cidr: '::ffff:10.0.0.0/96' }, { cidr: '10.0.0.0/8' }], [{ cidr: '10.0.0.0/7' }, { cidr: '10.0.0.0/8' }], [{ cidr: '10.1.2.0/24' }, { cidr: '10.1.2.0' }],
  [reference('principal.id'), reference('principal.org')], [reference('principal.id'), '*'], ['a', reference('principal.id')], [['a', 'b'], { gt: 1 }], [{ gt: 3 }, [{ lt: 9 }, 'a']]
]

t.test('an allow rule says nothing new when another one allows whatever it does', async (t) => {
  for (const [narrow, wide] of within) t.equal(ofRules({ resource: { x: narrow } }, { resource: { x: wide } }).replace('r1', 'r0'), 'redundant r0', `${JSON.stringify(narrow)} and ${JSON.stringify(wide)}`)
  for (const [narrow, wide] of notWithin) t.notMatch(ofRules({ resource: { x: wide } }, { resource: { x: narrow } }), /redundant r1/, `${JSON.stringify(narrow)} and ${JSON.stringify(wide)}`)
  for (const [narrow, wide] of [['a', { ne: 'b' }], ['a*', { nin: ['b', 'c'] }], ['12:00', { after: '08:00' }], ['10.1.2.3', { cidr: '10.0.0.0/8' }]]) t.equal(ofRules({ resource: { id: narrow } }, { resource: { id: wide } }), 'redundant r0', 'what is one text is no list')
  t.equal(ofRules({ resource: { id: 'a' } }, { resource: { id: { nin: ['b', 3] } } }).includes('redundant'), false)
  t.equal(ofRules({ resource: { id: '07:00' } }, { resource: { id: { after: '08:00' } } }), '')
  t.equal(ofRules({}, {}), 'redundant r1', 'of two that say the same it is the later one')
  t.equal(ofRules({}, {}, {}), 'redundant r1, redundant r2')
  t.equal(ofRules({ principal: { team: 'a' } }, { action: '*' }), 'redundant r0')
  t.equal(ofRules({ principal: { team: 'a' }, resource: { type: 'model' } }, { resource: { type: ['**', { eq: 'x' }] } }), 'redundant r0', 'a star says nothing of what every question has')
  for (const wide of [{ resource: { type: '*' } }, { resource: { id: '*' } }, { principal: { id: '*', tier: '**' } }]) t.equal(ofRules({ principal: { team: 'a' } }, wide), 'redundant r0', JSON.stringify(wide))
  t.equal(ofRules({ principal: { team: 'a' } }, { resource: { org: '*' } }), '', 'but of what may be missing')
  t.equal(ofRules({ principal: { team: 'a', x: 1 }, resource: { y: 2 } }, { principal: { team: 'a' }, resource: { z: 2 } }), '')
  t.equal(ofRules({ effect: 'deny' }, { resource: { x: 1 }, effect: 'deny', action: 'write' }), '')
})

t.test('a deny rule says nothing new only when another denies what it denies by not being evaluated, too', async (t) => {
  const denies = (narrow: unknown, wide: unknown): string => ofRules({ effect: 'deny', resource: { x: narrow } }, { effect: 'deny', resource: { x: wide } })
  for (const [narrow, wide] of [['a', ['a', 'b']], ['ab', { prefix: 'a' }], [{ prefix: 'ab' }, { prefix: 'a' }], [{ gt: 3 }, { gt: 2 }], [{ nin: ['a', 'b'] }, { ne: 'a' }], ['a', { exists: true }], [3, { gt: 2 }], [3, { lt: 3.5 }], ['12:00', { after: '08:00' }], ['10.1.2.3', { cidr: '10.0.0.0/8' }], [['10.1.2.3', 'x'], { cidr: '10.0.0.0/8' }], [{ cidr: '10.1.0.0/16' }, { cidr: '10.0.0.0/8' }], [reference('principal.x'), { exists: true }], ['a*', { exists: true }]]) {
    t.equal(denies(narrow, wide), 'redundant r0', `${JSON.stringify(narrow)} and ${JSON.stringify(wide)}`)
  }
  for (const [narrow, wide] of [[{ prefix: 'ab' }, 'a*'], [{ gt: 3 }, { exists: true }], [{ prefix: 'a' }, { exists: true }], [{ lt: reference('principal.x') }, { exists: true }], [{ gt: 3 }, { ne: 2 }], [[3, 9], { gt: 4 }], [{ ne: 'a' }, { exists: true }], [{ cidr: '10.0.0.0/8' }, { exists: true }], [{ exists: false }, { exists: true }]]) {
    t.equal(denies(narrow, wide), '', `${JSON.stringify(narrow)} and ${JSON.stringify(wide)}`)
  }
})

t.test('an allow rule never allows when a deny rule does not miss whatever it matches', async (t) => {
  for (const [narrow, wide] of [...within, [3, { gt: 2 }], [3, { gt: 4, lt: 'x' }], ['a', { gt: 4 }], [{ gt: 3 }, { ne: 'a' }], [{ gt: 3 }, { nin: [2, 'a'] }]]) {
    if (JSON.stringify(wide).includes('"x"')) continue
    t.equal(ofRules({ resource: { x: narrow } }, { effect: 'deny', resource: { x: wide } }), 'overridden r0', `${JSON.stringify(narrow)} and ${JSON.stringify(wide)}`)
  }
  for (const [narrow, wide] of [['a', 'b'], ['a*', 'ab*'], [3, { gt: 4 }], ['a', { ne: 'b' }], [{ gt: 3 }, { nin: [4] }], ['07:00', { after: '08:00' }]]) t.equal(ofRules({ resource: { x: narrow } }, { effect: 'deny', resource: { x: wide } }), '', `${JSON.stringify(narrow)} and ${JSON.stringify(wide)}`)
  t.equal(kinds({ policies: [{ name: 'r0', effect: 'allow', action: 'read' }, { name: 'r1', effect: 'deny' }] }), 'overridden r0', 'a deny rule without constraints denies everything')
  t.equal(ofRules({ effect: 'deny' }, { action: 'write' }), '')
  t.equal(ofRules({ resource: { id: 'a' } }, { effect: 'deny', resource: { id: { ne: 3 } } }), 'overridden r0, never-matches r1', 'another kind cannot be compared, and denies')
})

t.test('a rule that obliges is due whoever decides, and says something even where it decides nothing', async (t) => {
  const obligations = { record: 'full-metadata' }
  t.equal(ofRules({ principal: { team: 'a' }, obligations }, {}), '')
  t.equal(ofRules({ principal: { team: 'a' } }, { obligations }), 'redundant r0', 'but does what another one does, too')
  t.equal(ofRules({ obligations }, { effect: 'deny' }), '')
  t.equal(ofRules({ effect: 'oblige', obligations }, { effect: 'oblige', obligations }, { effect: 'deny' }), '')
  const message = (rule: Given): string => String(check({ policies: named([{ effect: 'oblige', obligations, ...rule }]) }).findings[0]?.message)
  t.match(message({ resource: { id: { eq: 'a', ne: 'a' } } }), /never matches: .*; correct it, or remove the rule$/)
  t.match(message({ resource: { x: { lt: 1, gt: 2 } } }), /it denies only what cannot be evaluated; say what it should do$/, 'what is due could not be said')
  t.match(message({ effect: 'allow', resource: { x: { lt: 1, gt: 2 } } }), /it denies only what cannot be evaluated/)
})

const roles = { viewer: { permissions: ['model:read'] }, analyst: { inherits: ['viewer'], permissions: ['model:predict'] }, trainer: { permissions: ['model:train'] } }

t.test('a role that is nearly a declared one is most likely a slip', async (t) => {
  const speaking = (said: unknown, heldRoles?: readonly string[]): string => kinds({ roles, policies: named([{ principal: { roles: said } }]) }, heldRoles === undefined ? {} : { heldRoles: ['viewer', 'analyst', 'trainer', ...heldRoles] })
  for (const said of ['analist', ['viewer', 'trainr'], { ne: 'analysts' }, { nin: ['Viewer'] }, [{ eq: 'trainor' }]]) t.equal(speaking(said), 'unknown-role', JSON.stringify(said))
  for (const said of ['analyst', 'contractor', 'analys*', { prefix: 'analys' }, { exists: true }, 'x'.repeat(65), reference('principal.team'), 'trainers and others']) t.equal(speaking(said), '', JSON.stringify(said))
  t.equal(speaking('analist', ['analist']), '', 'unless a credential brings it')
  for (const [declared, word] of [['opsy', 'ops'], ['dev', 'devs'], ['x'.repeat(66), 'x'.repeat(65)]] as const) {
    t.equal(kinds({ roles: { [declared]: { permissions: ['a:b'] } }, policies: named([{ principal: { roles: word } }]) }), '', 'short and very long words are near to each other without being meant')
  }
  t.equal(kinds({ roles, assignments: [{ principal: { roles: { ne: 'analist' } }, roles: ['analyst'] }] }), 'unknown-role')
  t.equal(kinds({ roles, tests: [{ name: 't', principal: { roles: ['analist'] }, action: 'x', resource: { type: 'y' }, expect: 'deny' }] }), 'unknown-role')
  t.equal(kinds({ roles, tests: [{ name: 't', principal: {}, action: 'x', resource: { type: 'y' }, expect: 'deny' }] }), '')
})

t.test('where it is known what credentials bring, a role and a rule for nobody are found', async (t) => {
  t.equal(kinds({ roles }, { heldRoles: ['analyst', 'trainer'] }), '', 'an heir makes its role one that counts')
  t.equal(kinds({ roles }, { heldRoles: ['viewer', 'trainer', 'other'] }), 'role-nobody-has')
  t.equal(kinds({ roles }, { heldRoles: [] }), 'role-nobody-has, role-nobody-has, role-nobody-has')
  t.equal(kinds({ roles, assignments: [{ principal: { id: 'a' }, roles: ['analyst', 'trainer'] }] }, { heldRoles: [] }), '')
  const speaking = (said: unknown): string => kinds({ roles, policies: named([{ principal: { team: 'x', roles: said } }]) }, { heldRoles: ['analyst', 'trainer', 'guest'] })
  for (const said of ['viewer', ['viewer', 'other'], 'view*', { prefix: 'x' }, { in: ['viewer'] }, [{ eq: 'viewer' }, 'x*']]) t.equal(speaking(said), 'role-nobody-has r0', JSON.stringify(said))
  t.equal(kinds({ roles: { analyst: roles.analyst, viewer: roles.viewer }, policies: named([{ principal: { roles: { ne: 'analyst' } } }]) }, { heldRoles: ['analyst'] }), '', 'who has no role at all has not this one')
  for (const said of ['analyst', ['viewer', 'guest'], ['viewer', 'an*'], 'g*', { ne: 'viewer' }, { exists: true }, reference('principal.team')]) t.equal(speaking(said), '', JSON.stringify(said))
  t.equal(kinds({ policies: named([{ principal: { roles: 'x' } }]) }), '')
})

t.test('an assignment that cannot apply is found, one that can is not', async (t) => {
  const assigning = (principal: Given, resource?: Given): string => kinds({ roles, assignments: [{ principal, roles: ['viewer', 'analyst', 'trainer'], ...resource !== undefined && { resource } }] })
  for (const principal of [{ roles: 'viewer' }, { roles: ['viewer', '*'] }, { roles: { prefix: 'x' } }, { type: 'robot' }, { level: { gt: 3, lt: 2 } }]) t.equal(assigning(principal), 'assignment-never-applies', JSON.stringify(principal))
  t.equal(assigning({ id: 'a' }, { id: { eq: 'a', ne: 'a' } }), 'assignment-never-applies')
  for (const principal of [{ roles: { ne: 'viewer' } }, { roles: { exists: true } }, { roles: reference('principal.team') }, { roles: ['viewer', { ne: 'trainer' }] }, { id: 'spiffe://*' }]) t.equal(assigning(principal, { id: 'fraud-*' }), '', JSON.stringify(principal))
})

t.test('ten thousand rules are compared in seconds, and what was left out is said', async (t) => {
  const many = (make: (index: number) => Given): Given => ({ policies: named(Array.from({ length: 10_000 }, (_, index) => ({ effect: index % 3 === 0 ? 'deny' : 'allow', ...make(index) }))) })
  const shapes: Readonly<Record<string, (index: number) => Given>> = {
    'a model each': (index) => ({ action: ['read', 'predict'], resource: { type: 'model', id: `m${index}` }, principal: { team: `t${index % 50}` } }),
    'an end each': (index) => ({ resource: { id: `*-m${index}` } })
  }
  for (const [name, make] of Object.entries(shapes)) {
    const start = cpuMs()
    const { findings, isComplete } = check(many(make), { maxBytes: 4_000_000 })
    t.same([findings, isComplete], [[], true], name)
    t.ok(cpuMs() - start < 15_000, `${name}: in seconds`)
  }
  const start = cpuMs()
  t.match(check(many((index) => ({ resource: { level: { between: [index, index + 0.5] } } })), { maxBytes: 4_000_000 }), { findings: [], isComplete: false })
  t.ok(cpuMs() - start < 15_000)
  t.equal(check({ policies: named(Array.from({ length: 10_000 }, () => ({}))) }, { maxBytes: 4_000_000 }).findings.length, 9999)
})
