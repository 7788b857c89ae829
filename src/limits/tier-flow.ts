import { fairLevel } from './fair-level.ts'

/** Principals of a tier that are told apart within a second. Of more than these, the others share what is left as they come. */
const maxPrincipals = 10_000

/** For so long a share may be had in advance. */
const aheadSeconds = 0.05
/** Part of the supply that is given in shares: something must be left lying for those who come in between. */
const given = 0.95

/** What the principals of one tier ask for, and get. */
export class TierFlow {
  /** Units of cost a second, smoothed. */
  asked = 0
  admitted = 0
  #askedNow = 0
  #admittedNow = 0
  #level = Infinity
  readonly #askedBy = new Map<string, number>()
  readonly #admittedTo = new Map<string, number>()

  /** Principals that are told apart now. */
  get principals (): number {
    return this.#askedBy.size
  }

  ask (cost: number): void {
    this.#askedNow += cost
  }

  admit (cost: number): void {
    this.#admittedNow += cost
  }

  /**
   * Whether the principal has not had its share yet; the last request of a share may exceed it.
   * @param seconds since shares were given: who asks for much has its share bit by bit, else it would leave nothing to those who come later.
   */
  isFair (principal: string, cost: number, seconds: number): boolean {
    note(this.#askedBy, principal, cost)
    return (this.#admittedTo.get(principal) ?? 0) < this.#level * (seconds + aheadSeconds)
  }

  /** Counts against the share of the principal. */
  share (principal: string, cost: number): void {
    note(this.#admittedTo, principal, cost)
  }

  /** What was taken was not used. */
  giveBack (principal: string, cost: number): void {
    this.#askedNow -= cost
    this.#admittedNow -= cost
    for (const amounts of [this.#askedBy, this.#admittedTo]) {
      const known = amounts.get(principal)
      // It may have been counted in the second before this one.
      if (known !== undefined) amounts.set(principal, Math.max(0, known - cost))
    }
  }

  /**
   * @param seconds since the last tick.
   * @param weight of what happened since then.
   */
  tick (seconds: number, weight: number): void {
    // Never less than none: what is given back may have been counted before, and a server to which less than nothing comes would shut its doors.
    this.asked = Math.max(0, this.asked + (this.#askedNow / seconds - this.asked) * weight)
    this.admitted = Math.max(0, this.admitted + (this.#admittedNow / seconds - this.admitted) * weight)
    this.#askedNow = this.#admittedNow = 0
  }

  /** @param supply what this tier might have a second. */
  shareAnew (supply: number): void {
    this.#level = fairLevel(this.#askedBy.values(), supply * given)
    this.#askedBy.clear()
    this.#admittedTo.clear()
  }
}

function note (amounts: Map<string, number>, principal: string, cost: number): void {
  const known = amounts.get(principal)
  if (known !== undefined || amounts.size < maxPrincipals) amounts.set(principal, (known ?? 0) + cost)
}
