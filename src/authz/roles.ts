import type { Question } from './attribute.ts'
import type { Decision } from './policy.ts'
import { type Member, type Place, type PolicyNode, policyInvalid, quote, unexpected, unknownWord } from './node.ts'
import { compilePermissions, type Permission, type PermissionTest, readPermission } from './permission.ts'
import { optional, readList, readMapping, readName, readShape, readText } from './readers.ts'

/** What holding a role permits. */
export interface RolePermissions {
  /** Whether it reaches every org, else its holder's own only. */
  readonly reachesEveryOrg: boolean
  readonly permits: PermissionTest
  /** Permissions that are said of the role itself. */
  readonly own: readonly Permission[]
  /** Those and all that it inherits. */
  readonly permissions: ReadonlySet<Permission>
}

/** What holding a role gives. */
export interface Role extends RolePermissions {
  readonly decision: Decision
}

interface Declared {
  readonly place: Place
  /** By name, with the place where each is named. */
  readonly parents: ReadonlyMap<string, Place>
  readonly permissions: readonly Permission[]
  readonly reachesEveryOrg: boolean
}

/** A role's permissions with all that it inherits, and the steps to the farthest role that it inherits from. */
interface Gathered {
  readonly permissions: ReadonlySet<Permission>
  readonly height: number
}

/** Most permissions that all roles together may come to, inherited ones counted for each heir: it bounds the memory. */
const maxPermissions = 250_000

/** Most steps from a role to the farthest one that it inherits from. */
const maxHeight = 32

/**
 * Reads `roles:`, and gathers what each inherits.
 * How far permissions reach is said by the role that is held, not by the one that they come from: `org: '*'` holds for what its role
 * inherits too, and no role gains it from one that it inherits.
 */
export function readRoles (node: PolicyNode): ReadonlyMap<string, Role> {
  const declared = new Map([...readMapping(node, 'a mapping of roles').members].map(([name, member]) => [name, readRole(name, member)]))
  const gather = gatherer(declared)
  return new Map([...declared].map(([name, { place, reachesEveryOrg, permissions: own }]) => {
    const decision: Decision = Object.freeze({ allowed: true, rule: `role:${name}`, reason: 'allowed' })
    const { permissions } = gather(name, place, [])
    return [name, { reachesEveryOrg, permits: compilePermissions([...permissions]), own, permissions, decision }]
  }))
}

function readRole (name: string, { place, value }: Member): Declared {
  readName({ kind: 'scalar', place, value: name })
  const mapping = readShape(value, ['inherits', 'permissions', 'org'])
  if (!mapping.members.has('inherits') && !mapping.members.has('permissions')) throw policyInvalid(mapping.place, 'expected "inherits" or "permissions" in this mapping')
  return {
    place,
    parents: new Map(optional(mapping, 'inherits', (list) => readList(list, (item) => [readText(item, 'a role'), item.place] as const), [])),
    permissions: optional(mapping, 'permissions', (list) => readList(list, readPermission), []),
    reachesEveryOrg: optional(mapping, 'org', readEveryOrg, false)
  }
}

function readEveryOrg (node: PolicyNode): true {
  if (node.kind !== 'scalar' || node.value !== '*') throw unexpected(node, "'*' (a role without org reaches its holder's own org)")
  return true
}

/** Gathers for one role; `heirs` are the roles on the way to it. */
type Gather = (name: string, place: Place, heirs: readonly string[]) => Gathered

function gatherer (declared: ReadonlyMap<string, Declared>): Gather {
  const gathered = new Map<string, Gathered>()
  let total = 0
  return function gather (name: string, place: Place, heirs: readonly string[]): Gathered {
    const known = gathered.get(name)
    if (known !== undefined) return known
    const role = declared.get(name)
    if (role === undefined) throw unknownWord(place, 'role', name, [...declared.keys()])
    if (heirs.includes(name)) throw policyInvalid(place, `expected no circle of roles, got ${[...heirs, name].map(quote).join(' inherits ')}`)
    // On the way down already, or a file could exhaust the stack.
    refuseHigh(heirs.length, place)
    const parents = [...role.parents].map(([parent, at]) => gather(parent, at, [...heirs, name]))
    const height = parents.reduce((highest, parent) => Math.max(highest, parent.height + 1), 0)
    refuseHigh(height, role.place)
    const permissions = new Set(role.permissions)
    for (const parent of parents) for (const permission of parent.permissions) permissions.add(permission)
    total += permissions.size
    if (total > maxPermissions) throw policyInvalid(role.place, `expected at most ${maxPermissions} permissions, inherited ones counted for each role`)
    const result = { permissions, height }
    gathered.set(name, result)
    return result
  }
}

function refuseHigh (height: number, place: Place): void {
  if (height > maxHeight) throw policyInvalid(place, `expected at most ${maxHeight} roles one above the other`)
}

/**
 * The decision of the first of the principal's roles that permits the action, or `undefined`.
 * A role reaches a resource only when both orgs are known and the same, letter by letter, unless it says `org: '*'`.
 */
export function decideByRole (roles: ReadonlyMap<string, Role>, question: Question): Decision | undefined {
  const { roles: held, resource, action } = question
  const isOwn = isOwnOrg(question)
  for (const name of held) {
    const role = roles.get(name)
    if (role !== undefined && (isOwn || role.reachesEveryOrg) && role.permits(resource.type, action)) return role.decision
  }
  return undefined
}

/** Whether principal and resource are of one org, which both name. */
export function isOwnOrg ({ principal, resource }: Question): boolean {
  return typeof principal.org === 'string' && principal.org !== '' && principal.org === resource.org
}
