import { type Credential, freezePrincipal, type Principal } from '../principal.ts'
import { attributeOf } from './attribute.ts'
import { type PolicySource, readDocument } from './document.ts'
import { type MappingNode, type Place, type PolicyNode, policyInvalid, quote, unexpected } from './node.ts'
import { areSameObligations, readObligations } from './obligations.ts'
import type { AskedPrincipal, Context, Decision, Obligations, Policy, Resource } from './policy.ts'
import { optional, plainRecord, readMapping, readName, readShape, readText, readWord, required } from './readers.ts'
import type { Effect } from './rule.ts'

/** A question as a file writes it. */
export interface AskedQuestion {
  readonly principal: Principal
  readonly action: string
  readonly resource: Resource
  readonly context: Context
}

/** One of the file's own `tests:`. */
export interface PolicyTest extends AskedQuestion {
  readonly name: string
  readonly place: Place
  readonly expected: Effect
  /** What must be due, and nothing else; left out, it is no matter. */
  readonly obligations: Obligations | undefined
}

/** How a test came out. */
export interface TestResult {
  readonly name: string
  readonly place: Place
  readonly passed: boolean
  readonly expected: Effect
  readonly decision: Decision
}

/** Reads `tests:`. What a test leaves out of its principal or resource is there in its plainest form: a user named `test`, without roles. */
export function readTests (node: PolicyNode): readonly PolicyTest[] {
  if (node.kind !== 'list') throw unexpected(node, 'a list of tests')
  return node.items.map((item) => {
    const mapping = readShape(item, ['name', 'principal', 'action', 'resource', 'context', 'expect', 'obligations'])
    return Object.freeze({
      name: readName(required(mapping, 'name')),
      place: item.place,
      ...questionOf(mapping),
      expected: readWord(required(mapping, 'expect'), ['allow', 'deny']),
      obligations: optional(mapping, 'obligations', (value) => readObligations(value, undefined), undefined)
    })
  })
}

/**
 * Reads a question written as a test without `name` and `expect` (YAML or JSON).
 * @throws FMG_ERR_POLICY_INVALID with source, line and column.
 */
export function readQuestion (text: string, source: PolicySource): AskedQuestion {
  return questionOf(readShape(readDocument(text, source), ['principal', 'action', 'resource', 'context']))
}

function questionOf (mapping: MappingNode): AskedQuestion {
  return {
    principal: readPrincipal(required(mapping, 'principal')),
    action: readText(required(mapping, 'action')),
    resource: readResource(required(mapping, 'resource')),
    context: optional(mapping, 'context', (context) => plainRecord(readMapping(context).members), {})
  }
}

function readPrincipal (node: PolicyNode): Principal {
  const mapping = readMapping(node, 'a mapping like { id: ann, roles: [analyst] }')
  return freezePrincipal({
    id: optional(mapping, 'id', readText, 'test'),
    type: optional(mapping, 'type', (type) => readWord(type, ['user', 'service']), 'user'),
    ...optionalText(mapping, 'org'),
    ...optionalText(mapping, 'team'),
    tier: optional(mapping, 'tier', readText, 'test'),
    roles: optional(mapping, 'roles', readTexts, []),
    scopes: optional(mapping, 'scopes', readTexts, []),
    attributes: readAttributes(mapping, 'principal', ['id', 'type', 'org', 'team', 'tier', 'roles', 'scopes', 'credential']),
    credential: optional(mapping, 'credential', readCredential, { method: 'api-key', id: 'test' })
  })
}

function readCredential (node: PolicyNode): Credential {
  const mapping = readShape(node, ['method', 'id', 'issuer', 'boundTo'])
  return {
    method: optional(mapping, 'method', (method) => readWord(method, ['api-key', 'jwt', 'mtls', 'session']), 'api-key'),
    id: optional(mapping, 'id', readText, 'test'),
    ...optionalText(mapping, 'issuer'),
    ...optionalText(mapping, 'boundTo')
  }
}

function readResource (node: PolicyNode): Resource {
  const mapping = readMapping(node, 'a mapping like { type: model, id: fraud, org: acme }')
  return Object.freeze({
    type: readText(required(mapping, 'type')),
    id: optional(mapping, 'id', readText, 'test'),
    ...optionalText(mapping, 'org'),
    attributes: readAttributes(mapping, 'resource', ['type', 'id', 'org'])
  })
}

function optionalText<const N extends string> (mapping: MappingNode, name: N): { readonly [K in N]?: string } {
  const member = mapping.members.get(name)
  const read: { [K in N]?: string } = {}
  if (member !== undefined) read[name] = readText(member.value)
  return read
}

function readTexts (node: PolicyNode): readonly string[] {
  if (node.kind !== 'list') throw unexpected(node, 'a list of strings')
  return node.items.map((item) => readText(item))
}

/** Attributes as rules name them: under `attributes`, or short, beside the own names. */
function readAttributes (mapping: MappingNode, owner: 'principal' | 'resource', ownNames: readonly string[]): Readonly<Record<string, unknown>> {
  const grouped = optional(mapping, 'attributes', (node) => [...readMapping(node).members], [])
  const short = [...mapping.members].filter(([name]) => name !== 'attributes' && !ownNames.includes(name))
  for (const [name, { place }] of [...grouped, ...short]) {
    if (name.includes('.')) throw policyInvalid(place, `expected a name without a dot (nest mappings instead), got ${quote(name)}`)
  }
  for (const [name, { place }] of short) attributeOf(owner, name, place)
  return plainRecord(new Map([...grouped, ...short]))
}

/**
 * Asks a policy everything that its file tests, and says how each came out. Fits a file policy; nothing is thrown for a test that fails.
 */
export function testPolicy (policy: TestedPolicy): readonly TestResult[] {
  return policy.testCases.map(({ name, place, expected, obligations, principal, action, resource, context }) => {
    const decision = policy.decide(principal, action, resource, context)
    const isDue = obligations === undefined || areSameObligations(obligations, decision.obligations)
    return { name, place, passed: decision.allowed === (expected === 'allow') && isDue, expected, decision }
  })
}

/** A policy that decides at once, and the tests of its file. */
export interface TestedPolicy extends Policy {
  readonly testCases: readonly PolicyTest[]
  decide (principal: AskedPrincipal, action: string, resource: Resource, context: Context): Decision
}
