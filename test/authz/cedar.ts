import { checkParsePolicySet, preparsePolicySet, statefulIsAuthorized, type CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs'

/** A policy file as a value: what these tests make, and no more than Cedar can say. */
export interface GivenPolicy {
  readonly roles: Readonly<Record<string, GivenRole>>
  readonly assignments: readonly { readonly principal: GivenPart, readonly resource?: GivenPart, readonly roles: readonly string[] }[]
  readonly policies: readonly GivenRule[]
}

export interface GivenRole {
  readonly inherits?: readonly string[]
  readonly permissions?: readonly string[]
  readonly org?: '*'
}

export interface GivenRule {
  readonly effect: 'allow' | 'deny'
  readonly action: unknown
  readonly principal?: GivenPart
  readonly resource?: GivenPart
  readonly condition?: GivenPart
}

/** What is said of an owner's attributes. */
export type GivenPart = Readonly<Record<string, unknown>>

/** A question as Cedar takes it: attributes that are missing are left out. */
export interface CedarQuestion {
  readonly principal: Readonly<Record<string, CedarValueJson>>
  readonly resource: Readonly<Record<string, CedarValueJson>>
  readonly context: Readonly<Record<string, CedarValueJson>>
}

/** When something that is said of an attribute is true, and when it cannot be evaluated; both never fail. */
interface Said {
  readonly isTrue: string
  readonly isUnknown: string
}

/**
 * The same policy in Cedar's language. Two choices of ours are written out, as Cedar makes them otherwise: what cannot be evaluated denies
 * in a deny rule (Cedar leaves out a policy whose evaluation fails), and what is missed decides before what cannot be evaluated, wherever it stands.
 */
export function inCedar ({ roles, assignments, policies }: GivenPolicy): string {
  const held = new Map(Object.keys(roles).map((role) => [role, heldRole(role, assignments)]))
  const holds = (role: string): string => held.get(role) ?? `principal.roles.contains(${text(role)})`
  const ofRoles = Object.keys(roles).flatMap((role) => permissionsOf(role, roles).map((permission) => {
    const [type = '', action = ''] = permission === '*' ? ['*', '*'] : permission.split(':')
    const reach = roles[role]?.org === '*' ? 'true' : '(principal has org && resource has org && principal.org == resource.org)'
    return `permit(principal, action, resource) when { ${holds(role)} && ${like('resource.type', type)} && ${like('context.action', action)} && ${reach} };`
  }))
  const ofRules = policies.map(({ effect, action, principal = {}, resource = {}, condition = {} }) => {
    const said = [
      saidOf('context', 'action', action, holds),
      ...Object.entries(principal).map(([name, value]) => saidOf('principal', name, value, holds)),
      ...Object.entries(resource).map(([name, value]) => saidOf('resource', name, value, holds)),
      ...Object.entries(condition).map(([name, value]) => saidOf('context', name, value, holds))
    ]
    return effect === 'allow'
      ? `permit(principal, action, resource) when { ${all(said.map(({ isTrue }) => isTrue))} };`
      : `forbid(principal, action, resource) when { ${all(said.map(({ isTrue, isUnknown }) => any([isTrue, isUnknown])))} };`
  })
  return [...ofRoles, ...ofRules].join('\n')
}

/** Asks Cedar. @throws an Error when it cannot read the policy, or evaluates something to an error. */
export function askCedar (policy: string): (question: CedarQuestion) => boolean {
  const checked = checkParsePolicySet({ staticPolicies: policy })
  if (checked.type === 'failure') throw new Error(`${checked.errors.map(({ message }) => message).join('; ')} in\n${policy}`)
  preparsePolicySet('policy', { staticPolicies: policy })
  const uids = { principal: { type: 'Principal', id: 'p' }, action: { type: 'Action', id: 'a' }, resource: { type: 'Resource', id: 'r' } }
  return ({ principal, resource, context }) => {
    const entities = [{ uid: uids.principal, attrs: { ...principal }, parents: [] }, { uid: uids.resource, attrs: { ...resource }, parents: [] }]
    const answer = statefulIsAuthorized({ ...uids, context: { ...context }, preparsedPolicySetId: 'policy', entities })
    if (answer.type === 'failure') throw new Error(answer.errors.map(({ message }) => message).join('; '))
    const { decision, diagnostics: { errors } } = answer.response
    if (errors.length > 0) throw new Error(errors.map(({ error: { message } }) => message).join('; '))
    return decision === 'allow'
  }
}

function permissionsOf (role: string, roles: GivenPolicy['roles']): readonly string[] {
  const { inherits = [], permissions = [] } = roles[role] ?? {}
  return [...permissions, ...inherits.flatMap((parent) => permissionsOf(parent, roles))]
}

/** Roles are assigned to those alone whose credential brings none, for the resources that are said. */
function heldRole (role: string, assignments: GivenPolicy['assignments']): string {
  const assigned = assignments
    .filter((assignment) => assignment.roles.includes(role))
    .map(({ principal, resource = {} }) => all([
      ...Object.entries(principal).map(([name, value]) => saidOf('principal', name, value, (other) => `principal.roles.contains(${text(other)})`).isTrue),
      ...Object.entries(resource).map(([name, value]) => saidOf('resource', name, value, String).isTrue)
    ]))
  return any([`principal.roles.contains(${text(role)})`, all(['principal.roles.isEmpty()', any(assigned)])])
}

function saidOf (owner: string, name: string, value: unknown, holds: (role: string) => string): Said {
  if (owner === 'principal' && name === 'roles') return saidOfRoles(value, holds)
  const place = `${owner}.${name}`
  const has = name === 'action' || name === 'type' ? 'true' : `${owner} has ${name}`
  if (Array.isArray(value)) return known(any(value.map((item) => saidOf(owner, name, item, holds).isTrue)))
  if (typeof value === 'object' && value !== null) return saidByOperators(place, has, Object.entries(value))
  return known(all([has, isReference(value) ? equalTo(place, value) : like(place, value)]))
}

function known (isTrue: string): Said {
  return { isTrue, isUnknown: 'false' }
}

/** Only lists of roles that are named: Cedar has no patterns for members of a set. */
function saidOfRoles (value: unknown, holds: (role: string) => string): Said {
  if (Array.isArray(value)) return known(any(value.map((role) => holds(String(role)))))
  if (typeof value === 'object' && value !== null && 'ne' in value) return known(`!(${holds(String(value.ne))})`)
  return known(holds(String(value)))
}

function saidByOperators (place: string, has: string, operators: ReadonlyArray<readonly [string, unknown]>): Said {
  const each = operators.map(([name, operand]) => saidByOperator(place, has, name, operand))
  const isTrue = all(each.map((said) => said.isTrue))
  // Unknown when none is false and one is unknown.
  return { isTrue, isUnknown: all([any(each.map((said) => said.isUnknown)), all(each.map((said) => any([said.isTrue, said.isUnknown])))]) }
}

function saidByOperator (place: string, has: string, name: string, operand: unknown): Said {
  const missing = `!(${has})`
  const withValue = (test: string): Said => ({ isTrue: all([has, test]), isUnknown: missing })
  switch (name) {
    case 'exists': return known(operand === true ? has : missing)
    case 'eq': return known(all([has, equalTo(place, operand)]))
    case 'ne': return { isTrue: all([has, referenced(operand), `!(${equalTo(place, operand)})`]), isUnknown: any([missing, `!(${referenced(operand)})`]) }
    case 'in': return known(all([has, any(listOf(operand).map((item) => equalTo(place, item)))]))
    case 'nin': return withValue(`!(${any(listOf(operand).map((item) => equalTo(place, item)))})`)
    case 'lt': return withValue(`${place} < ${String(operand)}`)
    case 'lte': return withValue(`${place} <= ${String(operand)}`)
    case 'gt': return withValue(`${place} > ${String(operand)}`)
    case 'gte': return withValue(`${place} >= ${String(operand)}`)
    case 'prefix': return withValue(like(place, `${String(operand)}*`))
    case 'suffix': return withValue(like(place, `*${String(operand)}`))
    case 'cidr': return withValue(any(listOf(operand).map((network) => `ip(${place}).isInRange(ip(${text(network)}))`)))
    case 'before': return withValue(`datetime(${place}) < datetime(${text(operand)})`)
    case 'after': return withValue(`datetime(${place}) > datetime(${text(operand)})`)
    case 'between': {
      const [from, to] = listOf(operand)
      return withValue(typeof from === 'number' ? `${place} >= ${from} && ${place} <= ${String(to)}` : `datetime(${place}) >= datetime(${text(from)}) && datetime(${place}) <= datetime(${text(to)})`)
    }
    default: throw new Error(`no translation of ${name}`)
  }
}

function listOf (value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value]
}

function isReference (value: unknown): value is string {
  return typeof value === 'string' && value.startsWith('${')
}

/** Whether what a reference leads to is there. */
function referenced (value: unknown): string {
  if (!isReference(value)) return 'true'
  const [owner = '', name = ''] = value.slice(2, -1).split('.')
  return name === 'type' ? 'true' : `${owner} has ${name}`
}

function equalTo (place: string, value: unknown): string {
  if (isReference(value)) return all([referenced(value), `${place} == ${value.slice(2, -1)}`])
  return `${place} == ${typeof value === 'string' ? text(value) : String(value)}`
}

function like (place: string, pattern: unknown): string {
  if (typeof pattern !== 'string') return equalTo(place, pattern)
  return pattern.includes('*') ? `${place} like ${text(pattern)}` : equalTo(place, pattern)
}

function text (value: unknown): string {
  return JSON.stringify(String(value))
}

function all (tests: readonly string[]): string {
  return tests.length === 0 ? 'true' : `(${tests.join(' && ')})`
}

function any (tests: readonly string[]): string {
  return tests.length === 0 ? 'false' : `(${tests.join(' || ')})`
}
