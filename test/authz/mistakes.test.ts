import t from 'tap'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import { reference } from './questions.ts'

/** What the file is refused with; `taken` when it is not. */
function said (text: string): string {
  try {
    loadPolicy(text, { source: 'policy.yaml' })
    return 'taken'
  } catch (error) {
    return error instanceof Error ? error.message.replace('policy invalid: policy.yaml:', '') : ''
  }
}

const roles = (text: string): string => `version: 1\nroles:\n  viewer: { permissions: [model:read] }\n  ${text}\n`
const rule = (text: string): string => `version: 1\npolicies:\n  - name: r\n    effect: allow\n    action: read\n    ${text}\n`
const operators = 'known are eq, ne, in, nin, lt, lte, gt, gte, prefix, suffix, exists, cidr, before, after, between'

t.test('mistakes that people make are answered with the place, what was expected and what was most likely meant', async (t) => {
  for (const [text, answer] of [
    ['Version: 1', '1:1: unknown key "Version"; did you mean version?'],
    ['version: 1\nrolls: {}', '2:1: unknown key "rolls"; did you mean roles?'],
    ['version: 1\nrules: []', '2:1: unknown key "rules"; did you mean roles?'],
    ['version: "1"', '1:10: expected version 1, got "1"'],
    ['roles: {}', '1:1: expected "version" in this mapping'],

    [roles('a: { inherit: [viewer] }'), '4:8: unknown key "inherit"; did you mean inherits?'],
    [roles('a: { inherits: viewer }'), '4:18: expected a list, like [viewer], got "viewer"'],
    [roles('a: { inherits: [veiwer] }'), '4:19: unknown role "veiwer"; did you mean viewer?'],
    [roles('a: { permission: [model:read] }'), '4:8: unknown key "permission"; did you mean permissions?'],
    [roles('a: { permissions: model:read }'), '4:21: expected a list, like [model:read], got "model:read"'],
    [roles('a: { permissions: [] }'), '4:21: expected a list of at least one, got an empty list'],
    [roles('a: { permissions: [model: read] }'), '4:22: expected a permission like model:read, model:* or *, without a space, got a mapping'],
    [roles('a: { permissions: [model.read] }'), '4:22: expected a permission like model:read, model:* or *, got "model.read"'],
    [roles('a: { permissions: [*] }'), '4:22: expected no alias, got "*"; put text that begins so in quotes'],
    [roles('a: { permissions: [x:y], org: * }'), '4:33: expected no alias, got "*"; put text that begins so in quotes'],
    [roles('a: { permissions: [x:y], org: all }'), "4:33: expected '*' (a role without org reaches its holder's own org), got \"all\""],
    [roles('a: [model:read]'), '4:6: expected a mapping of inherits, permissions, org, got a list'],

    ['version: 1\npolicies:\n  name: r\n  effect: allow', '3:3: expected a list of rules, got a mapping'],
    ['version: 1\npolicies:\n  - effect: deny', '3:5: expected "name" in this mapping'],
    ['version: 1\npolicies:\n  - name: r', '3:5: expected "effect" in this mapping'],
    ['version: 1\npolicies:\n  - name: r\n    effect: allow', '3:5: expected "action" in this mapping'],
    ['version: 1\npolicies:\n  - name: r\n    effect: Allow', '4:13: unknown word "Allow"; did you mean allow?'],
    ['version: 1\npolicies:\n  - name: r\n    effect: permit', '4:13: unknown word "permit"; known are allow, deny, oblige'],
    ['version: 1\npolicies:\n  - name: yes: no\n    effect: deny', '3:11: Nested mappings are not allowed in compact mappings; put text with a colon in quotes, and each key on a line of its own'],
    ['version: 1\npolicies:\n  - name: "r\n    effect: deny', '4:17: Missing closing " quote; a text that begins with a quote ends with one'],
    ['version: 1\npolicies:\n  - name: r\n   effect: deny', '4:1: Sequence item without - indicator; indent this line like the one above'],
    ['version: 1\npolicies:\n  - name: r\n    effect deny', '4:5: Implicit map keys need to be followed by map values; a colon with a space after it is missing'],
    ['version: 1\npolicies:\n\t- name: r', '3:1: Tabs are not allowed as indentation; indent by spaces'],
    ['version: 1\npolicies:\n  - { name: r, effect: deny', '3:28: Flow map in block collection must be sufficiently indented and end with a }'],
    ['{ "version": 1, "policies": [{ "name": "r" "effect": "deny" }] }', '1:44: Unexpected double-quoted-scalar token; a comma or a colon is missing before it'],

    [rule('conditon: { a: b }'), '6:5: unknown key "conditon"; did you mean condition?'],
    [rule('principals: { id: a }'), '6:5: unknown key "principals"; did you mean principal?'],
    [rule('when: { a: b }'), '6:5: unknown key "when"; known are name, effect, principal, resource, action, condition, obligations'],
    [rule('resource: model'), '6:15: expected a mapping of attributes of the resource, got "model"'],
    [rule('resource: { typ: model }'), '6:17: expected type, or attributes.typ if there is such an attribute, got "typ"'],
    [rule('resource: { ogr: acme }'), 'taken'],
    [rule('principal: { role: admin }'), '6:18: expected roles, or attributes.role if there is such an attribute, got "role"'],
    [rule('principal: { teem: a }'), '6:18: expected team, or attributes.teem if there is such an attribute, got "teem"'],
    [rule('principal: { tiers: a }'), '6:18: expected tier, or attributes.tiers if there is such an attribute, got "tiers"'],
    [rule('principal: { attributes: { teem: a }, ib: 3 }'), 'taken'],
    [rule('principal: { tier: 3 }'), '6:24: expected a string, which principal.tier always is (put it in quotes), got 3'],
    [rule(`resource: { org: ${reference('principal.org')} }`), '6:23: Unexpected flow-map-start at node end; put text with a reference in quotes'],
    [rule(`resource: { org: "${reference('principle.org')}" }`), '6:22: unknown reference "principle.org"; did you mean principal.org?'],
    [rule(`resource: { org: "${reference('user.org')}" }`), '6:22: unknown reference "user.org"; known are principal.org, resource.org'],
    [rule(`resource: { org: "${reference(`user.${'x'.repeat(80)}`)}" }`), `6:22: unknown reference "user.${'x'.repeat(55)}…"; known are principal., resource.`],
    [rule(`resource: { org: "${reference('principal.orgs')}" }`), '6:22: expected org, or attributes.orgs if there is such an attribute, got "orgs"'],
    [rule('resource: { org: "$principal.org" }'), `6:22: expected a reference written like ${reference('principal.org')}, got "$principal.org"`],
    [rule('resource: { org: "{{ principal.org }}" }'), `6:22: expected a reference written like ${reference('principal.org')}, got "{{ principal.org }}"`],
    [rule('resource: { org: { eq: "$principal.org" } }'), `6:28: expected a reference written like ${reference('principal.org')}, got "$principal.org"`],

    [rule('resource: { size: { ">": 3 } }'), '6:25: unknown operator ">"; did you mean gt?'],
    [rule('resource: { size: { equals: 3 } }'), '6:25: unknown operator "equals"; did you mean eq?'],
    [rule('resource: { size: { prefx: a } }'), '6:25: unknown operator "prefx"; did you mean prefix?'],
    [rule('resource: { size: { like: a } }'), '6:25: unknown operator "like"; did you mean lte?'],
    [rule('resource: { size: { zz: a } }'), `6:25: unknown operator "zz"; ${operators}`],
    [rule('resource: { size: >3 }'), '6:23: Plain value cannot start with block scalar indicator >; put text that begins so in quotes'],
    [rule('resource: { size: { gte: "3" } }'), '6:30: expected a number behind gte, got "3"'],
    [rule('resource: { size: { lt: } }'), '6:29: expected a value or a reference, got nothing'],
    [rule('resource: { size: { between: [5, 3] } }'), '6:34: expected a list of two numbers or two times, the lower first behind between, got a list'],
    [rule('resource: { id: { in: a } }'), '6:27: expected a list of strings, numbers, true or false behind in, got "a"'],
    [rule('condition: { ip: { cidr: 10.0.0.0/33 } }'), '6:30: expected an address, a network like 10.0.0.0/8, or a list of them behind cidr, got "10.0.0.0/33"'],
    [rule('condition: { time: { after: 8:00 } }'), '6:33: expected a time like 2026-01-31T08:00:00Z or 08:00 behind after, got "8:00"'],
    [rule('condition: { tls: { exists: yes } }'), '6:33: expected true or false behind exists, got "yes"'],
    [rule('action: write'), '6:5: expected each name once, got "action" again'],

    ['version: 1\nassignments:\n  - principal: ann\n    roles: [a]', '3:16: expected a mapping of attributes of the principal, got "ann"'],
    ['version: 1\nassignments:\n  - principal: { id: ann }\n    role: [a]', '4:5: unknown key "role"; did you mean roles?'],
    ['version: 1\ntests:\n  - { name: t, principal: ann, action: read, resource: { type: model }, expect: deny }', '3:27: expected a mapping like { id: ann, roles: [analyst] }, got "ann"'],
    ['version: 1\ntests:\n  - { name: t, principal: {}, action: read, resource: model, expect: deny }', '3:55: expected a mapping like { type: model, id: fraud, org: acme }, got "model"'],
    ['version: 1\ntests:\n  - { name: t, principal: {}, action: read, resource: { type: model }, expected: deny }', '3:72: unknown key "expected"; did you mean expect?'],
    ['version: 1\ntests:\n  - { name: t, principal: {}, action: read, resource: { type: model }, expect: allow }', '3:5: test "t" expected allow, got deny (no-match)']
  ] as const) t.equal(said(text), answer)
})
