import type { LoggedRecord } from '../audit/read-records.ts'
import type { FilePolicy } from '../authz/file-policy.ts'
import { covers, type Permission } from '../authz/permission.ts'
import type { PrincipalUse, UsedQuestion } from './principal-use.ts'
import type { RecordedQuestions } from './recorded-questions.ts'

/** Use that was made of a role. */
export interface RoleUsage {
  readonly role: string
  /** Principals that were seen with it. */
  readonly holders: number
  /** Requests that it permitted, alone or beside another. */
  readonly used: number
  /** Those that are said of the role itself. */
  readonly permissions: readonly PermissionUsage[]
}

/** Use that was made of a permission, by holders of its role and of those that inherit from it. */
export interface PermissionUsage {
  /** As the file writes it. */
  readonly permission: string
  readonly holders: number
  readonly users: number
  readonly used: number
  /** What exactly was used: `model:predict`, and how often. */
  readonly actions: Readonly<Record<string, number>>
}

interface Use {
  readonly users: Set<string>
  readonly actions: Map<string, number>
  count: number
}

/** Counts use. */
export interface GrantUse {
  /** Takes up all that a principal asked for, and the roles that it was seen with. */
  add (user: string, use: PrincipalUse, held: readonly string[]): void
  usage (): readonly RoleUsage[]
}

/** Counts the use of a policy's roles and permissions. */
export function grantUse (policy: FilePolicy, { asked }: RecordedQuestions): GrantUse {
  const roles = new Map<string, Use>()
  const permissions = new Map<Permission, Use>()
  const holders = new Map<string, Set<string>>()

  /** Each of these roles permitted this, and so did each of their permissions that cover it, once however many roles have it. */
  function count (used: ReadonlySet<string>, user: string, type: string, action: string, times: number): void {
    const name = `${type}:${action}`
    const covering = new Set<Permission>()
    for (const [role, { permissions: all }] of policy.permissions) {
      if (!used.has(role)) continue
      raise(roles, role, user, name, times)
      for (const permission of all) if (covers(permission, type, action)) covering.add(permission)
    }
    for (const permission of covering) raise(permissions, permission, user, name, times)
  }

  function addUsed (user: string, { question: { principal, action, resource, context }, count: times }: UsedQuestion): void {
    asked.clear()
    const explained = policy.explainRoles(principal, action, resource, context)
    // Where it hangs on what is not known which roles somebody has, any may have been used.
    const isUnsure = asked.size > 0
    const used = explained.roles.filter(({ isHeld, reaches }) => reaches && (isHeld || isUnsure)).map(({ role }) => role)
    count(new Set(used), user, resource.type, action, times)
  }

  /** What may have permitted it counts as used: rather too little is said to be unused than too much. */
  function addLost (user: string, { action, resource_type: type = 'model' }: LoggedRecord): void {
    const used = [...policy.permissions].filter(([, { permits }]) => permits(type, action)).map(([role]) => role)
    count(new Set(used), user, type, action, 1)
  }

  function permissionUsage (permission: Permission): PermissionUsage {
    const { users, actions, count: used } = permissions.get(permission) ?? noUse
    const having = [...holders].flatMap(([role, held]) => policy.permissions.get(role)?.permissions.has(permission) === true ? [...held] : [])
    return { permission: permission.text, holders: new Set(having).size, users: users.size, used, actions: Object.fromEntries([...actions].sort(([, a], [, b]) => b - a)) }
  }

  return {
    add (user, use, held) {
      for (const role of held) holders.set(role, (holders.get(role) ?? new Set<string>()).add(user))
      for (const used of use.asked.values()) if (used.isAllowed) addUsed(user, used)
      for (const record of use.lost) addLost(user, record)
    },
    usage: () => [...policy.permissions].map(([role, { own }]) => ({
      role,
      holders: holders.get(role)?.size ?? 0,
      used: roles.get(role)?.count ?? 0,
      permissions: own.map(permissionUsage)
    }))
  }
}

const noUse: Use = { users: new Set(), actions: new Map(), count: 0 }

function raise<K> (uses: Map<K, Use>, key: K, user: string, action: string, times: number): void {
  const use = uses.get(key) ?? { users: new Set<string>(), actions: new Map<string, number>(), count: 0 }
  uses.set(key, use)
  use.users.add(user)
  use.actions.set(action, (use.actions.get(action) ?? 0) + times)
  use.count += times
}
