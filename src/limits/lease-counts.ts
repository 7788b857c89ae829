import type { Lease } from './concurrency.ts'

/** The leases that this process holds, and how many of them each key has. */
export interface LeaseCounts {
  /** How many leases hold a slot of this key. */
  of (group: string, key: string): number
  has (lease: Lease): boolean
  add (lease: Lease): void
  /** `false` when it was not held, or no longer. */
  remove (lease: Lease): boolean
  /** The leases of each group. */
  readonly groups: ReadonlyMap<string, ReadonlySet<Lease>>
}

/** Nothing held yet. Remembers what is held, and nothing else. */
export function leaseCounts (): LeaseCounts {
  const counts = new Map<string, number>()
  const groups = new Map<string, Set<Lease>>()

  function change ({ group, keys }: Lease, by: number): void {
    for (const key of keys) {
      const id = idOf(group, key)
      const count = (counts.get(id) ?? 0) + by
      if (count === 0) counts.delete(id)
      else counts.set(id, count)
    }
  }

  return {
    groups,
    of: (group, key) => counts.get(idOf(group, key)) ?? 0,
    has: (lease) => groups.get(lease.group)?.has(lease) === true,
    add (lease) {
      const held = groups.get(lease.group)
      if (held === undefined) groups.set(lease.group, new Set([lease]))
      else held.add(lease)
      change(lease, 1)
    },
    remove (lease) {
      const held = groups.get(lease.group)
      if (held?.delete(lease) !== true) return false
      if (held.size === 0) groups.delete(lease.group)
      change(lease, -1)
      return true
    }
  }
}

/** The length keeps `a` + `bc` apart from `ab` + `c`. */
function idOf (group: string, key: string): string {
  return `${group.length}:${group}${key}`
}
