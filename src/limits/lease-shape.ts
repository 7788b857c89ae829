import type { Lease } from './lease.ts'
import type { LimitOutcome, LimitRequest } from './limiter.ts'

/** Part of a quota, and of what is left of it, that one lease may hold: so small quotas are not leased at all, and the last units are asked for one by one. */
const part = 0.1

/** Requests of one shape: the same budgets under the same windows. What one of them takes can serve another. */
export class LeaseShape {
  readonly id: string
  lease: Lease | undefined
  /** Milliseconds; when it was last asked for. */
  usedAt = 0
  /** Units that no lease may exceed, whatever the rate. */
  readonly #most: number
  readonly #periodMs: number
  #periodBegan = -Infinity
  #asked = 0
  #askedBefore = 0
  #remaining = Infinity

  constructor (id: string, { budgets }: LimitRequest, periodMs: number) {
    this.id = id
    this.#most = part * Math.min(...budgets.flatMap(({ windows }) => windows.map(({ quota }) => quota)))
    this.#periodMs = periodMs
  }

  /** Counts what is asked for. */
  ask (cost: number, now: number): void {
    this.usedAt = now
    const periods = (now - this.#periodBegan) / this.#periodMs
    if (periods >= 1) {
      this.#askedBefore = periods < 2 ? this.#asked : 0
      this.#asked = 0
      this.#periodBegan = now
    }
    this.#asked += cost
  }

  /** Learns how much is left. */
  learn ({ remaining }: LimitOutcome): void {
    this.#remaining = remaining
  }

  /** How many units to ask for at once: as many requests of this cost as came within the last period. */
  batch (cost: number): number {
    const units = Math.min(Math.max(this.#asked, this.#askedBefore), this.#most, this.#remaining * part)
    // Whole requests: of a remainder nobody would have any use.
    return Math.floor(units / cost) * cost
  }
}

const ids = new WeakMap<object, number>()
let lastId = 0

/** What requests of one shape have in common. */
export function shapeOf ({ group, budgets }: LimitRequest): string {
  // The lengths keep `a` + `bc` apart from `ab` + `c`.
  let shape = `${group.length}:${group}`
  for (const { key, windows, sharer } of budgets) {
    let id = ids.get(windows)
    if (id === undefined) {
      id = ++lastId
      ids.set(windows, id)
    }
    shape += `,${id}:${key.length}:${key}${sharer === undefined ? '-' : `${sharer.length}:${sharer}`}`
  }
  return shape
}
