import { createHash } from 'node:crypto'
import t from 'tap'
import { loadPolicy, parsePolicy } from '../../src/authz/file-policy.ts'
import { testPolicy } from '../../src/authz/policy-tests.ts'
import { ask, cpuMs, reference } from './questions.ts'

// Hostile files of a megabyte take a slow or busy machine their time.
t.setTimeout(120_000)

const file = `
version: 1
roles:                                  # a role's permissions reach its holder's own org only, unless org: '*'
  viewer:         { permissions: [model:read] }
  analyst:        { inherits: [viewer], permissions: [model:predict] }
  data_scientist: { inherits: [analyst], permissions: [model:write, model:train, model:evaluate] }
  admin:          { permissions: ['*'], org: '*' }
assignments:                            # roles for principals whose credential brings none
  - principal: { id: 'spiffe://acme.example/batch/*' }
    roles: [analyst]
policies:
  - name: data scientists predict in their own org
    effect: allow
    principal: { team: data_science }
    resource: { type: model, org: '\${principal.org}' }
    action: [read, predict]
  - name: nobody deletes production models
    effect: deny
    resource: { type: model }
    action: [delete]
    condition: { environment: production }
tests:
  - name: an analyst may not retrain
    principal: { id: ann, roles: [analyst] }
    action: train
    resource: { type: model, id: fraud, org: acme }
    expect: deny
`

/** Refuses the text, and says where and why. */
function refusal (text: string): string {
  try {
    loadPolicy(text, { source: 'policy.yaml' })
    return 'taken'
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'FMG_ERR_POLICY_INVALID') throw error
    return error.message.replace('policy invalid: ', '')
  }
}

t.test('a file is named by its bytes and says what it holds', async (t) => {
  const policy = loadPolicy(file, { source: 'policy.yaml' })
  t.equal(policy.id, `sha256:${createHash('sha256').update(Buffer.from(file)).digest('hex')}`)
  t.strictSame(policy.roles, ['viewer', 'analyst', 'data_scientist', 'admin'])
  t.strictSame(policy.rules, ['data scientists predict in their own org', 'nobody deletes production models'])
  t.equal(policy.tests, 1)
  t.ok(Object.isFrozen(policy) && Object.isFrozen(policy.roles) && Object.isFrozen(policy.rules) && Object.isFrozen(policy.testCases))
  t.equal(ask(policy, { principal: { id: 'spiffe://acme.example/batch/1' }, action: 'predict' }).rule, 'role:analyst')
  t.equal(ask(policy, { principal: { team: 'data_science' }, action: 'predict' }).rule, 'rule:data scientists predict in their own org')
  t.equal(ask(policy, { principal: { roles: ['admin'] }, action: 'delete', context: { environment: 'production' } }).rule, 'rule:nobody deletes production models')
})

t.test('a test of the file that fails refuses the file, and says what came out', async (t) => {
  t.equal(refusal(file.replace('expect: deny', 'expect: allow')),
    'policy.yaml:23:5: test "an analyst may not retrain" expected allow, got deny (no-match)')
  t.equal(refusal(file.replace('action: train', 'action: predict').replace('roles: [analyst] }\n    action', 'roles: [analyst], org: acme }\n    action')),
    'policy.yaml:23:5: test "an analyst may not retrain" expected deny, got allow (allowed, "role:analyst")')
})

t.test('tests can be run one by one, also those that fail', async (t) => {
  const policy = parsePolicy(`version: 1
roles: { viewer: { permissions: [model:read] } }
policies:
  - { name: own, effect: allow, action: write, principal: { clearance: high, credential: { method: mtls, issuer: ca, boundTo: t }, scopes: w }, resource: { owner: '\${principal.id}', 'card.license': mit } }
  - { name: night, effect: deny, action: '*', condition: { time: { after: '22:00' }, tags: [x], site: { eq: null-island } } }
tests:
  - { name: reads, principal: { roles: [viewer], org: acme }, action: read, resource: { type: model, org: acme }, expect: allow }
  - { name: writes, principal: { id: ann, type: service, team: t, tier: gold, scopes: [w], clearance: high, credential: { method: mtls, id: c, issuer: ca, boundTo: t } }, action: write, resource: { type: model, id: m, owner: ann, attributes: { card: { license: mit } } }, expect: allow }
  - { name: not at night, principal: { roles: [viewer], org: acme }, action: read, resource: { type: model, org: acme }, context: { time: '23:00', tags: [x, 1, null], site: null-island }, expect: allow }
  - { name: not elsewhere, principal: { roles: [viewer] }, action: read, resource: { type: model, org: acme }, expect: allow }
`, { source: 'p' })
  t.match(testPolicy(policy), [
    { name: 'reads', passed: true, expected: 'allow', decision: { rule: 'role:viewer' }, place: { source: 'p', line: 7, column: 5 } },
    { name: 'writes', passed: true, decision: { rule: 'rule:own' } },
    { name: 'not at night', passed: false, decision: { allowed: false, rule: 'rule:night', reason: 'forbidden' } },
    { name: 'not elsewhere', passed: false, decision: { rule: null, reason: 'no-match' } }
  ])
  t.equal(refusal('version: 1\ntests:\n- { name: a, principal: {}, action: b, resource: { type: c }, expect: allow }\n- { name: d, principal: {}, action: b, resource: { type: c }, expect: allow }'),
    'policy.yaml:3:3: test "a" expected allow, got deny (no-match); 1 more failed')
})

const rule = (said: string): string => `version: 1\npolicies:\n- { name: r, effect: deny, ${said} }`

t.test('a file that is wrong anywhere is refused with line, column and what was expected', async (t) => {
  for (const [text, expected] of [
    ['', '1:1: expected a mapping of version, roles, assignments, policies, tests, got nothing'],
    ['[]', '1:1: expected a mapping of version, roles, assignments, policies, tests, got an empty list'],
    ['roles: {}', '1:1: expected "version" in this mapping'],
    ['version: 2', '1:10: expected version 1, got 2'],
    ["version: '1'", '1:10: expected version 1, got "1"'],
    ['version: [1]', '1:10: expected version 1, got a list'],
    ['version: 1\npolices: []', '2:1: unknown key "polices"; did you mean policies?'],
    ['version: 1\nsomething: []', '2:1: unknown key "something"; known are version, roles, assignments, policies, tests'],
    [`version: 1\n${'x'.repeat(100)}: []`, `2:1: unknown key "${'x'.repeat(60)}…"; known are version, roles, assignments, policies, tests`],
    ['version: 1\n---\nversion: 1', '2:1: expected one document'],
    ['version: 1\nversion: 1', '2:1: expected each name once, got "version" again'],
    ['{"version": 1, "roles": {"a": {"permissions": ["*"]}, "a": {"permissions": ["x:y"]}}}', '1:55: expected each name once, got "a" again'],
    ['version: 1\nroles: &x { a: { permissions: [\'*\'] } }', '2:8: expected no anchor, got "&x"; put text that begins so in quotes'],
    ['version: 1\nroles: *x', '2:8: expected no alias, got "*x"; put text that begins so in quotes'],
    ['version: !!int 1', '1:10: expected no tag, got "!!int"; put text that begins so in quotes'],
    ['version: 1\nroles: !secret {}', '2:8: expected no tag, got "!secret"; put text that begins so in quotes'],
    ['%YAML 1.1\n---\nversion: 1', '1:1: expected no directive, got "%YAML 1.1"'],
    ['version: 1\n? [a]\n: b', '2:3: expected a name; put a number, a truth value or nothing in quotes'],
    ['version: 1\n1: b', '2:1: expected a name; put a number, a truth value or nothing in quotes'],
    ['version: 1\n<<: { roles: {} }', '2:1: unknown key "<<"; known are version, roles, assignments, policies, tests'],
    ['version: 1\nroles:\n\t a: b', '3:1: Tabs are not allowed as indentation; indent by spaces'],
    ['version: [1', '1:12: Flow sequence in block collection must be sufficiently indented and end with a ]'],
    ['{ "version": 1 } ]', '1:18: Unexpected flow-seq-end token in YAML stream: "]"'],
    ['version: "\ud800"', '1:1: expected well-formed Unicode'],

    ['version: 1\nroles: []', '2:8: expected a mapping of roles, got an empty list'],
    ['version: 1\nroles: { a: }', '2:13: expected a mapping of inherits, permissions, org, got nothing'],
    ['version: 1\nroles: { a: { org: \'*\' } }', '2:13: expected "inherits" or "permissions" in this mapping'],
    ['version: 1\nroles: { a: { permission: [] } }', '2:15: unknown key "permission"; did you mean permissions?'],
    ['version: 1\nroles: { a: { permissions: [] } }', '2:28: expected a list of at least one, got an empty list'],
    ['version: 1\nroles: { a: { permissions: model:read } }', '2:28: expected a list, like [model:read], got "model:read"'],
    ['version: 1\nroles: { a: { permissions: [read] } }', '2:29: expected a permission like model:read, model:* or *, got "read"'],
    ['version: 1\nroles: { a: { permissions: [3] } }', '2:29: expected a permission like model:read, model:* or *, got 3'],
    ['version: 1\nroles: { a: { permissions: ["model:"] } }', '2:29: expected a permission like model:read, model:* or *, got "model:"'],
    ['version: 1\nroles: { a: { permissions: [":read"] } }', '2:29: expected a permission like model:read, model:* or *, got ":read"'],
    ['version: 1\nroles: { a: { permissions: ["a:b:c"] } }', '2:29: expected a permission like model:read, model:* or *, got "a:b:c"'],
    ['version: 1\nroles: { a: { permissions: ["model: read"] } }', '2:29: expected a permission like model:read, model:* or *, got "model: read"'],
    [`version: 1\nroles: { a: { permissions: ["model:${reference('principal.x')}"] } }`, `2:29: expected a permission like model:read, model:* or *, got "model:${reference('principal.x')}"`],
    [`version: 1\nroles: { a: { permissions: ["model:${'x'.repeat(257)}*"] } }`, `2:29: expected at most 256 characters beside a star, got "model:${'x'.repeat(54)}…"`],
    ['version: 1\nroles: { a: { permissions: [x:y], org: acme } }', "2:40: expected '*' (a role without org reaches its holder's own org), got \"acme\""],
    ['version: 1\nroles: { a: { permissions: [x:y], org: ["*"] } }', "2:40: expected '*' (a role without org reaches its holder's own org), got a list"],
    ['version: 1\nroles: { viewer: { permissions: [x:y] }, b: { inherits: [veiwer] } }', '2:58: unknown role "veiwer"; did you mean viewer?'],
    ['version: 1\nroles: { a: { inherits: [b] }, b: { inherits: [c] }, c: { inherits: [a] } }', '2:70: expected no circle of roles, got "a" inherits "b" inherits "c" inherits "a"'],
    ['version: 1\nroles: { a: { inherits: [a] } }', '2:26: expected no circle of roles, got "a" inherits "a"'],
    ['version: 1\nroles: { "a\\nb": { permissions: [x:y] } }', '2:10: expected a name of at most 256 characters on one line, got "a\\nb"'],
    ['version: 1\nroles: { "a\\u2028b": { permissions: [x:y] } }', '2:10: expected a name of at most 256 characters on one line, got "a\\u2028b"'],
    [`version: 1\nroles: { ${'a'.repeat(257)}: { permissions: [x:y] } }`, `2:10: expected a name of at most 256 characters on one line, got "${'a'.repeat(60)}…"`],
    ['version: 1\nroles: { "": { permissions: [x:y] } }', '2:10: expected a name, got ""'],

    ['version: 1\nassignments: {}', '2:14: expected a list of assignments, got a mapping'],
    ['version: 1\nassignments: [{ roles: [a] }]', '2:15: expected "principal" in this mapping'],
    ['version: 1\nassignments: [{ principal: { id: x }, roles: [a] }]', '2:47: unknown role "a"; known are none'],
    ['version: 1\nroles: { a: { permissions: [x:y] } }\nassignments: [{ principal: { id: x }, roles: [] }]', '3:46: expected a list of at least one, got an empty list'],
    [`version: 1\nroles: { a: { permissions: [x:y] } }\nassignments: [{ principal: { id: "${reference('resource.owner')}" }, roles: [a] }]`, '3:34: unknown reference "resource.owner"; known are principal.owner'],

    [`version: 1\nroles: { a: { inherits: [${'b'.repeat(99)}] } }`, `2:26: unknown role "${'b'.repeat(60)}…"; known are a`],

    ['version: 1\npolicies: {}', '2:11: expected a list of rules, got a mapping'],
    ['version: 1\npolicies: [{ effect: allow, action: x }]', '2:12: expected "name" in this mapping'],
    ['version: 1\npolicies: [{ name: 3, effect: allow, action: x }]', '2:20: expected a name, got 3'],
    ['version: 1\npolicies: [{ name: a, action: x }]', '2:12: expected "effect" in this mapping'],
    ['version: 1\npolicies: [{ name: a, effect: alow, action: x }]', '2:31: unknown word "alow"; did you mean allow?'],
    ['version: 1\npolicies: [{ name: a, effect: allow }]', '2:12: expected "action" in this mapping'],
    ['version: 1\npolicies: [{ name: a, effect: deny }, { name: a, effect: deny }]', '2:39: expected each rule name once, got "a" again'],
    [rule('actions: read'), '3:28: unknown key "actions"; did you mean action?'],
    [rule('action: []'), '3:36: expected a list of at least one, got an empty list'],
    [rule('action:'), '3:36: expected a value, a list of values, or an operator object, got nothing'],
    [rule('action: ""'), '3:36: expected a value, a list of values, or an operator object, got ""'],
    [rule('action: [[a]]'), '3:37: expected a value, a list of values, or an operator object, got a list'],
    [rule('action: 3'), '3:36: expected a string, which action always is (put it in quotes), got 3'],
    [rule('resource: { id: [a, true] }'), '3:48: expected a string, which resource.id always is (put it in quotes), got true'],
    [rule('resource: { level: 12345678901234567890 }'), '3:47: expected a number that keeps its value; put an id in quotes'],
    [rule('resource: { level: .inf }'), '3:47: expected a number that keeps its value; put an id in quotes'],
    [rule('resource: model'), '3:38: expected a mapping of attributes of the resource, got "model"'],
    [rule('resource: {}'), '3:38: expected at least one attribute; leave the key out to match everything'],
    [rule('resource: { attributes: {} }'), '3:52: expected at least one attribute; leave the key out to match everything'],
    [rule('resource: { attributes: x }'), '3:52: expected a mapping, got "x"'],
    [rule('resource: { Org: x }'), '3:40: expected org, or attributes.Org if there is such an attribute, got "Org"'],
    [rule('principal: { role: x }'), '3:41: expected roles, or attributes.role if there is such an attribute, got "role"'],
    [rule('principal: { credential.methd: x }'), '3:41: unknown attribute "credential.methd"; did you mean credential.method?'],
    [rule('principal: { credential: { name: x } }'), '3:55: unknown attribute "credential.name"; known are credential.method, credential.id, credential.issuer, credential.expiresAt, credential.boundTo'],
    [rule('principal: { credential: mtls }'), '3:53: expected a mapping, got "mtls"'],
    [rule('resource: { a..b: x }'), '3:40: expected the name of an attribute, got "a..b"'],
    [rule('resource: { "": x }'), '3:40: expected the name of an attribute, got ""'],
    [rule('resource: { "attributes.": x }'), '3:40: expected the name of an attribute, got "attributes."'],
    [rule('resource: { "env*": x }'), '3:40: expected the name of an attribute, got "env*"'],
    [rule('resource: { a: { equals: x } }'), '3:45: unknown operator "equals"; did you mean eq?'],
    [rule('resource: { a: { prefx: x } }'), '3:45: unknown operator "prefx"; did you mean prefix?'],
    [rule('resource: { a: {} }'), '3:43: expected one of the operators eq, ne, in, nin, lt, lte, gt, gte, prefix, suffix, exists, cidr, before, after, between, got a mapping'],
    [rule(`resource: { a: "${reference('principal.org').slice(0, -1)}" }`), `3:43: expected a } that closes the reference "${reference('principal.org').slice(0, -1)}"`],
    [rule(`resource: { a: "${reference('principal.attributes')}" }`), '3:43: expected the name of an attribute, got "attributes"'],
    [rule(`resource: { a: "${reference('principal')}" }`), '3:43: unknown reference "principal"; did you mean principal.?'],
    [rule(`resource: { a: "${reference('principals')}" }`), '3:43: unknown reference "principals"; did you mean principal.?'],
    [rule(`resource: { a: "${reference('context.x')}" }`), '3:43: unknown reference "context.x"; known are principal.x, resource.x'],
    [rule(`resource: { a: "${reference('principal.role')}" }`), '3:43: expected roles, or attributes.role if there is such an attribute, got "role"'],
    [rule(`resource: { a: "${'x'.repeat(257)}*" }`), `3:43: expected at most 256 characters beside a star, got "${'x'.repeat(60)}…"`],
    [rule(`resource: { a: "${reference('principal.x')}*${'x'.repeat(257)}*" }`), `3:43: expected at most 256 characters beside a star, got "${reference('principal.x')}*${'x'.repeat(45)}…"`],
    ...Object.entries({
      eq: ['[a]', 'a string, a number, true or false behind eq, got a list'],
      ne: ['[a]', 'a string, a number, true or false behind ne, got a list'],
      in: ['a', 'a list of strings, numbers, true or false behind in, got "a"'],
      nin: ['3', 'a list of strings, numbers, true or false behind nin, got 3'],
      lt: ['"3"', 'a number behind lt, got "3"'],
      lte: ['true', 'a number behind lte, got true'],
      gt: ['[3]', 'a number behind gt, got a list'],
      gte: ['a', 'a number behind gte, got "a"'],
      prefix: ['3', 'a string behind prefix, got 3'],
      suffix: ['[a]', 'a string behind suffix, got a list'],
      exists: ['yes', 'true or false behind exists, got "yes"'],
      before: ['2026-01-31', 'a time like 2026-01-31T08:00:00Z or 08:00 behind before, got "2026-01-31"'],
      after: ['24:00', 'a time like 2026-01-31T08:00:00Z or 08:00 behind after, got "24:00"']
    }).map(([name, [operand = '', expected = '']]) => [rule(`resource: { a: { ${name}: ${operand} } }`), `3:${47 + name.length}: expected ${expected}`] as const),
    ...['10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/', '10.0.0/8', '10.0.0.0/8/8', '::/129', 'fe80::1%eth0', 'localhost'].map((operand) => [rule(`resource: { a: { cidr: ${operand} } }`), `3:51: expected an address, a network like 10.0.0.0/8, or a list of them behind cidr, got "${operand}"`] as const),
    [rule('resource: { a: { cidr: [10.0.0.0/8, 3] } }'), '3:51: expected an address, a network like 10.0.0.0/8, or a list of them behind cidr, got a list'],
    ...['3', '[1]', '[1, 2, 3]', '[2, 1]', '[1, 08:00]', '[08:00, 2026-01-31T08:00:00Z]', '[2026-01-31T08:00:00Z, 2026-01-30T08:00:00Z]', '[soon, 08:00]', '[08:00, later]'].map((operand) => [rule(`resource: { a: { between: ${operand} } }`), `3:54: expected a list of two numbers or two times, the lower first behind between, got ${operand === '3' ? operand : 'a list'}`] as const),
    [rule('resource: { a: { in: [] } }'), '3:49: expected a list of at least one, got an empty list'],
    [rule('resource: { a: { in: [[a]] } }'), '3:50: expected a value or a reference, got a list'],
    [rule('resource: { a: { eq: null } }'), '3:49: expected a value or a reference, got nothing'],
    [rule('resource: { a: { eq: "" } }'), '3:49: expected a value or a reference, got ""'],
    [rule('resource: { a: { eq: { eq: a } } }'), '3:49: expected a value or a reference, got a mapping'],

    ['version: 1\ntests: {}', '2:8: expected a list of tests, got a mapping'],
    ['version: 1\ntests: [{ name: a, principal: {}, action: b, resource: { type: c } }]', '2:9: expected "expect" in this mapping'],
    ['version: 1\ntests: [{ name: a, principal: {}, action: b, resource: {}, expect: deny }]', '2:56: expected "type" in this mapping'],
    ['version: 1\ntests: [{ name: a, principal: { role: x }, action: b, resource: { type: c }, expect: deny }]', '2:33: expected roles, or attributes.role if there is such an attribute, got "role"'],
    ['version: 1\ntests: [{ name: a, principal: { roles: x }, action: b, resource: { type: c }, expect: deny }]', '2:40: expected a list of strings, got "x"'],
    ['version: 1\ntests: [{ name: a, principal: { type: bot }, action: b, resource: { type: c }, expect: deny }]', '2:39: unknown word "bot"; known are user, service'],
    ['version: 1\ntests: [{ name: a, principal: { x.y: 1 }, action: b, resource: { type: c }, expect: deny }]', '2:33: expected a name without a dot (nest mappings instead), got "x.y"'],
    ['version: 1\ntests: [{ name: a, principal: { attributes: { x.y: 1 } }, action: b, resource: { type: c }, expect: deny }]', '2:47: expected a name without a dot (nest mappings instead), got "x.y"'],
    ['version: 1\ntests: [{ name: a, principal: { credential: { secret: x } }, action: b, resource: { type: c }, expect: deny }]', '2:47: unknown key "secret"; known are method, id, issuer, boundTo']
  ] as const) t.equal(refusal(text), `policy.yaml:${expected}`)
})

t.test('YAML, JSON, a byte order mark and Windows line ends read the same', async (t) => {
  t.equal(refusal('\ufeffversion: 1\r\nroles:\r\n  a:\r\n    permissions:\r\n    - model:read\r\n...\r\n'), 'taken')
  t.equal(refusal('{\n\t"version": 1,\n\t"roles": {"a": {"permissions": ["model:read"]}}\n}'), 'taken')
  t.equal(refusal('version: 1\r\n\r\npolices: []'), 'policy.yaml:3:1: unknown key "polices"; did you mean policies?')
})

t.test('whole numbers are taken as far as they keep their value', async (t) => {
  t.equal(refusal(rule('resource: { level: [9007199254740991, -9007199254740991, 0.5, 0x10] }')), 'taken')
  t.equal(refusal(rule('resource: { level: 9007199254740992 }')), 'policy.yaml:3:47: expected a number that keeps its value; put an id in quotes')
})

t.test('a value may look like what is refused', async (t) => {
  t.equal(refusal('version: 1\ntests:\n- name: |\n    *a &b !c\n  principal: {}\n  action: "*a"\n  resource: { type: "&b", id: a*b, "%c": \'!d\' }\n  expect: deny').replace(/".*"/, '…'), 'policy.yaml:3:9: expected a name of at most 256 characters on one line, got …')
  t.equal(refusal('version: 1\ntests:\n- name: >-\n    *a &b !c\n  principal: {}\n  action: "*a"\n  resource: { type: "&b", id: a*b, "%c": \'!d\' }\n  expect: deny'), 'taken')
})

t.test('size and nesting are bounded, and what is beyond is refused at once', async (t) => {
  const comment = (bytes: number): string => `version: 1\n#${'x'.repeat(bytes - 12)}`
  t.equal(refusal(comment(1024 * 1024)), 'taken')
  t.equal(refusal(comment(1024 * 1024 + 1)), 'policy.yaml:1:1: expected at most 1048576 bytes')
  t.equal(refusal(`version: 1\n#${'€'.repeat(400_000)}`), 'policy.yaml:1:1: expected at most 1048576 bytes', 'bytes, not characters')
  t.equal(loadPolicy(comment(1024 * 1024 + 1), { source: 'p', maxBytes: 2 * 1024 * 1024 }).tests, 0)
  t.throws(() => loadPolicy('version: 1', { source: 'p', maxBytes: 9 }), { message: /expected at most 9 bytes/ })

  const context = (levels: number): string => `version: 1\ntests: [{ name: a, principal: {}, action: b, resource: { type: c }, expect: deny, context: { a: ${'['.repeat(levels - 4)}x${']'.repeat(levels - 4)} } }]`
  t.equal(refusal(context(32)), 'taken')
  t.match(refusal(context(33)), /^policy\.yaml:2:\d+: expected at most 32 levels of nesting$/)
  const size = 1024 * 1024
  for (const hostile of ['[', '{a: ', '- ', '? ', '[{', ': ', ']', ',', '"', '*a ', '&a ', '!a ', '---\n', '%a\n']) {
    const start = cpuMs()
    t.not(refusal(hostile.repeat(size / hostile.length)), 'taken', `a megabyte of ${hostile}`)
    t.ok(cpuMs() - start < 5000, `a megabyte of ${hostile} is refused at once`)
  }
})
