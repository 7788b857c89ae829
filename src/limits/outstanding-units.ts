import type { LimitRequest } from './limiter.ts'

/** How many units of each budget this node holds in leases. */
export class OutstandingUnits {
  readonly #maxUnits: number
  readonly #held = new Map<string, number>()

  constructor (maxUnits: number) {
    this.#maxUnits = maxUnits
  }

  /** Units that may be held beside those that are, of every budget of this request. */
  room ({ group, budgets }: LimitRequest): number {
    return Math.min(...budgets.map(({ key }) => this.#maxUnits - (this.#held.get(idOf(group, key)) ?? 0)))
  }

  hold ({ group, budgets, cost }: LimitRequest): void {
    for (const { key } of budgets) {
      const id = idOf(group, key)
      this.#held.set(id, (this.#held.get(id) ?? 0) + cost)
    }
  }

  release ({ group, budgets, cost }: LimitRequest): void {
    for (const { key } of budgets) {
      const id = idOf(group, key)
      const held = this.#held.get(id)
      if (held !== undefined && held > cost) this.#held.set(id, held - cost)
      else this.#held.delete(id)
    }
  }
}

function idOf (group: string, key: string): string {
  return `${group.length}:${group}${key}`
}
