import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { isGuardError } from '../../src/errors.ts'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import { watchPolicy } from '../../src/authz/watched-policy.ts'
import { modelGuard } from '../helpers/command.ts'
import { until } from '../helpers/until.ts'
import { ask, cpuMs } from './questions.ts'

// A slow or busy machine needs its time.
t.setTimeout(120_000)

/** Refuses the text within a second of work, and says where and why. */
function refusal (text: string): string {
  const start = cpuMs()
  try {
    loadPolicy(text, { source: 'p' })
    return 'taken'
  } catch (error) {
    if (!isGuardError(error, 'FMG_ERR_POLICY_INVALID')) throw error
    const spent = cpuMs() - start
    return `${error.message.replace('policy invalid: ', '')}${spent < 1000 ? '' : ` after ${spent} ms`}`
  }
}

const megabytes = (count: number, text: string): string => text.repeat(Math.ceil(count * 1024 * 1024 / text.length))
const tooLarge = 'p:1:1: expected at most 1048576 bytes'

t.test('ten megabytes are refused before they are read', async (t) => {
  for (const text of ['version: 1\n', '# nothing\n', '[', '{"a":', '- ', '*a ', '\ud83d\ude00', 'roles: { a: { permissions: [model:read] } }\n', '__proto__: ', '"', '\0', '\n']) t.equal(refusal(megabytes(10, text)), tooLarge, JSON.stringify(text))
})

t.test('nesting of a hundred levels is refused where it becomes too deep', async (t) => {
  const levels = Array.from({ length: 100 }, (_, index) => index)
  const block = (line: (indent: string) => string): string => levels.map((level) => line('  '.repeat(level))).join('')
  const forms: Readonly<Record<string, string>> = {
    'flow lists': `${'['.repeat(100)}1${']'.repeat(100)}`,
    'flow mappings': `${'{a: '.repeat(100)}1${'}'.repeat(100)}`,
    'JSON lists': `{"version": 1, "tests": ${'['.repeat(100)}1${']'.repeat(100)}}`,
    'JSON mappings': `{"version": 1, "roles": ${'{"a":'.repeat(100)}1${'}'.repeat(100)}}`,
    'block mappings': `version: 1\nroles:\n${block((indent) => `  ${indent}a:\n`)}`,
    'block lists': `version: 1\ntests:\n${block((indent) => `${indent}-\n`)}`,
    'lists on one line': `version: 1\ntests:\n${'- '.repeat(100)}a`,
    'explicit keys': `${'? '.repeat(100)}a`,
    'block, then flow': `version: 1\nroles:\n${block((indent) => `  ${indent}a:\n`).split('\n').slice(0, 20).join('\n')} ${'['.repeat(80)}${']'.repeat(80)}`
  }
  for (const [name, text] of Object.entries(forms)) t.match(refusal(text), /^p:\d+:\d+: expected at most 32 levels of nesting$/, name)
})

t.test('a key named __proto__ is refused wherever it stands', async (t) => {
  const proto = '"__proto__": { "permissions": ["*"], "org": "*" }'
  const rule = '"name": "r", "effect": "allow", "action": "read"'
  const test = '"name": "t", "action": "a", "expect": "deny"'
  for (const text of [
    `{ ${proto}, "version": 1 }`,
    `{ "version": 1, ${proto} }`,
    `{ "version": 1, "roles": { ${proto} } }`,
    `{ "version": 1, "roles": { "a": { ${proto} } } }`,
    `{ "version": 1, "policies": [{ ${rule}, ${proto} }] }`,
    ...['principal', 'resource', 'condition'].flatMap((part) => [
      `{ "version": 1, "policies": [{ ${rule}, "${part}": { ${proto} } }] }`,
      `{ "version": 1, "policies": [{ ${rule}, "${part}": { "x": { ${proto} } } }] }`,
      `{ "version": 1, "policies": [{ ${rule}, "${part}": { "a.__proto__.b": 1 } }] }`
    ]),
    `{ "version": 1, "policies": [{ ${rule}, "resource": { "attributes": { ${proto} } } }] }`,
    `{ "version": 1, "assignments": [{ ${proto} }] }`,
    `{ "version": 1, "assignments": [{ "principal": { ${proto} } }] }`,
    `{ "version": 1, "tests": [{ ${test}, "principal": { ${proto} } }] }`,
    `{ "version": 1, "tests": [{ ${test}, "context": { "a": [{ ${proto} }] } }] }`
  ]) t.equal(refusal(text).replace(/ than.*/, ''), `p:1:${text.search(/"(a\.)?__proto__/) + 1}: expected another name`, text)
  t.equal(refusal('version: 1\nroles:\n  __proto__: { permissions: ["*"] }'), 'p:3:3: expected another name than "__proto__", which is no name of an attribute or a role')
  t.equal(refusal('version: 1\nroles:\n  "\\u005f_proto__": { permissions: ["*"] }'), 'p:3:3: expected another name than "__proto__", which is no name of an attribute or a role', 'however it is written')
  t.equal(Object.getPrototypeOf({}), Object.prototype)
  t.notOk('permissions' in {})
})

t.test('other names from prototypes are harmless: who holds such a role has what the file says, and nothing else', async (t) => {
  for (const name of ['constructor', 'prototype', 'toString', 'hasOwnProperty', '__defineGetter__']) {
    const policy = loadPolicy(`version: 1\nroles: { ${name}: { permissions: [model:read] } }`, { source: 'p' })
    const other = loadPolicy('version: 1\nroles: { viewer: { permissions: [model:read] } }', { source: 'p' })
    t.equal(ask(policy, { principal: { roles: [name] } }).rule, `role:${name}`)
    t.equal(ask(policy, { principal: { roles: [name] }, action: 'write' }).allowed, false)
    for (const role of [name, '__proto__']) t.equal(ask(other, { principal: { roles: [role] } }).allowed, false, role)
    t.match(refusal(`version: 1\n${name}: 1`), /^p:2:1: unknown key/)
    t.match(refusal(`version: 1\nroles: { a: { inherits: [${name}] } }`), /^p:2:26: unknown role/)
    t.match(refusal(`version: 1\npolicies: [{ name: r, effect: ${name}, action: a }]`), /^p:2:31: unknown word/)
    t.match(refusal(`version: 1\npolicies: [{ name: r, effect: allow, action: { ${name}: 1 } }]`), /^p:2:48: unknown operator/)
  }
})

t.test('what multiplies, repeats or never ends is refused within a second', async (t) => {
  const rule = (said: string): string => `version: 1\npolicies: [{ name: r, effect: allow, action: read, resource: { x: ${said} } }]`
  const laughs = `a: &a [x]\n${Array.from({ length: 9 }, (_, index) => `b${index}: &b${index} [${'*a, '.repeat(9)}]\n`).join('')}`
  for (const [name, text, expected] of [
    ['an alias bomb', laughs, 'p:1:4: expected no anchor, got "&a"; put text that begins so in quotes'],
    ['a merge of itself', 'version: 1\nroles: &a { <<: *a }', 'p:2:8: expected no anchor, got "&a"; put text that begins so in quotes'],
    ['names that are given twice', `version: 1\nroles: { ${'a: 1, '.repeat(20_000)} }`, 'p:2:16: expected each name once, got "a" again'],
    ['a name given twice', 'version: 1\nroles: { a: { permissions: [x:y] }, "\\u0061": { permissions: ["*"] } }', 'p:2:37: expected each name once, got "a" again'],
    ['a million errors', megabytes(0.9, '} '), 'p:1:1: Unexpected flow-map-end token in YAML document: "}"'],
    ['a key of a megabyte', `version: 1\n"${megabytes(0.9, 'k')}": 1`, 'p:2:1: The : indicator must be at most 1024 chars after the start of an implicit block mapping key'],
    ['an explicit key of a megabyte', `version: 1\n? ${megabytes(0.9, 'k')}\n: 1`, `p:2:3: unknown key "${'k'.repeat(60)}…"; known are version, roles, assignments, policies, tests`],
    ['a number of a megabyte', rule(megabytes(0.9, '9')), 'p:2:67: expected a number that keeps its value; put an id in quotes'],
    ['a number beyond all', rule('1e999999999'), 'p:2:67: expected a number that keeps its value; put an id in quotes'],
    ['a text without end', `version: 1\nroles: "${megabytes(0.9, '\\\\')}`, /^p:2:\d+: Missing closing " quote; /],
    ['references without end', rule(`"${megabytes(0.9, '$' + '{')}"`), 'p:2:67: expected a } that closes the reference "${"'],
    ['a million tabs', `version: 1\nroles:\n${megabytes(0.9, '\t')}x: 1`, /^p:3:1: Tabs are not allowed as indentation/],
    ['a million documents', megabytes(0.9, '---\n'), 'p:2:1: expected one document'],
    ['a line of a megabyte', `version: 1\n${megabytes(0.9, 'x')}`, /^p:2:1: /],
    ['a value of a megabyte', `version: ${megabytes(0.9, 'x')}`, `p:1:10: expected version 1, got "${'x'.repeat(60)}…"`],
    ['a thousand operators', rule(`{ ${Array.from({ length: 1000 }, (_, index) => `z${index}: 1`).join(', ')} }`), /^p:2:69: unknown operator "z0"; known are eq, ne/],
    ['a nearest word among a thousand', `version: 1\nroles: { ${Array.from({ length: 1000 }, (_, index) => `${'r'.repeat(60)}${index}: { permissions: [a:b] }`).join(', ')}, x: { inherits: [${'r'.repeat(60)}x] } }`, /unknown role/]
  ] as const) {
    const said = refusal(text)
    if (typeof expected === 'string') t.equal(said, expected, name)
    else t.match(said, expected, name)
    t.notMatch(said, / ms$/, name)
  }
})

t.test('what cannot be seen, or is shown elsewhere than it stands, is refused, comments included', async (t) => {
  for (const [text, expected] of [
    ['version: 1\n# \u202e nothing', 'p:2:3: expected only what can be seen, got "\\u202e"; write it so, in quotes'],
    ['version: 1\nroles: { "a\u2066": { permissions: [x:y] } }', 'p:2:12: expected only what can be seen, got "\\u2066"; write it so, in quotes'],
    ['version: 1\nroles: { "a\u200b": { permissions: [x:y] } }', 'p:2:12: expected only what can be seen, got "\\u200b"; write it so, in quotes'],
    ['version: 1\u2028roles: {}', 'p:1:11: expected only what can be seen, got "\\u2028"; write it so, in quotes'],
    ['version: 1\n\0', 'p:2:1: expected only what can be seen, got "\\u0000"; write it so, in quotes'],
    ['version: 1\n\u0085', 'p:2:1: expected only what can be seen, got "\\u0085"; write it so, in quotes'],
    ['version: 1\n\ufeffroles: {}', 'p:2:1: expected only what can be seen, got "\\ufeff"; write it so, in quotes'],
    ['version: 1\rroles: {}', 'p:1:11: expected lines that end in LF or CR LF, got a CR alone'],
    ['version: 1 # nothing\r\n#\rpolicies: []', 'p:2:2: expected lines that end in LF or CR LF, got a CR alone'],
    ['version: 1\nroles: { "a\\u200b": { permissions: [x:y] } }', 'p:2:10: expected a name of at most 256 characters on one line, got "a\\u200b"'],
    ['version: 1 \ud800', 'p:1:1: expected well-formed Unicode'],
    ['\ufeffversion: 1\r\nroles:\r\n\ta: b', /^p:3:1: Tabs are not allowed as indentation/],
    ['\ufeffversion: 1\r\nroles: { "\\u00e4": { permissions: [x:y] } }\r\n# \u00e4 \u26a0\ufe0f \u05d0\r\n', 'taken']
  ] as const) {
    if (typeof expected === 'string') t.equal(refusal(text), expected)
    else t.match(refusal(text), expected)
  }
})

t.test('a comment, an empty line or a space more than anybody writes does not take longer than its size', async (t) => {
  for (const text of ['#', '#\n', '\n', ' \n', '# x\r\n']) {
    const start = cpuMs()
    t.equal(refusal(`version: 1\n${text.repeat(Math.floor(1_000_000 / text.length))}`), 'taken', JSON.stringify(text))
    t.ok(cpuMs() - start < 10_000, JSON.stringify(text))
  }
})

t.test('the command and a running server refuse such a file at once, and the policy before stays', async (t) => {
  const hostile: Readonly<Record<string, string>> = { 'large.yaml': megabytes(10, 'version: 1\n'), 'deep.yaml': '['.repeat(100), 'proto.yaml': 'version: 1\n__proto__: { a: 1 }' }
  const folder = t.testdir({ ...hostile, 'policy.yaml': 'version: 1\nroles: { viewer: { permissions: [model:read] } }' })
  const expected: Readonly<Record<string, RegExp>> = { 'large.yaml': /:1:1: expected at most 1048576 bytes/, 'deep.yaml': /:1:\d+: expected at most 32 levels/, 'proto.yaml': /:2:1: expected another name than "__proto__"/ }
  for (const [name, message] of Object.entries(expected)) {
    for (const verb of ['check', 'test']) t.match(await modelGuard('policy', verb, path.join(folder, name)), { status: 1, stdout: '', stderr: message }, `${verb} ${name}`)
  }
  const errors: unknown[] = []
  const policy = await watchPolicy({ file: path.join(folder, 'policy.yaml'), stillMs: 1, heartbeatMs: 10, onError: (error) => { errors.push(error) } })
  t.teardown(() => policy.close())
  const { id } = policy
  for (const [name, message] of Object.entries(expected)) {
    const before = errors.length
    writeFileSync(path.join(folder, 'policy.yaml'), hostile[name] ?? '')
    // A write may be looked at before it is whole: what it then says is another refusal.
    await until(() => errors.slice(before).some((error) => isGuardError(error) && message.test(error.message)))
    t.equal(policy.id, id, name)
    t.equal(ask(policy.current, { principal: { roles: ['viewer'] } }).allowed, true)
    t.equal(ask(policy.current, { principal: { roles: ['viewer'] }, action: 'write' }).allowed, false)
  }
})
