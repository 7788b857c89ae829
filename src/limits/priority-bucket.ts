/** For how long a full bucket lasts when nothing is let in. */
const seconds = 0.25
/** At least so many units a rank, so that a slow server's bucket is not too small for its requests. */
const leastPerRank = 2

/**
 * Tokens that come at one rate for all, and of which the lower ranks must leave some to the higher ones: so what the highest do not
 * need flows to the lower, at once and exactly, and what they do need they find.
 */
export class PriorityBucket {
  readonly #ranks: number
  #level = 0
  #at = 0
  #rate = 0

  /** @param ranks how many there are: 0 is the lowest. */
  constructor (ranks: number) {
    this.#ranks = ranks
  }

  /** Begins half full. */
  open (now: number, rate: number): void {
    this.#at = now
    this.#level = this.#size(rate) / 2
  }

  /**
   * Takes tokens; `false` when this rank finds none that it may take.
   * One more than nothing is enough, and what is missing is owed: else a dear request of a low rank would never get in.
   * @param now milliseconds.
   * @param rate tokens a second.
   */
  take (rank: number, cost: number, now: number, rate: number): boolean {
    const size = this.#size(rate)
    this.#level = Math.min(size, this.#level + Math.max(0, now - this.#at) / 1000 * rate)
    this.#at = now
    this.#rate = rate
    if (this.#level <= size * (this.#ranks - 1 - rank) / this.#ranks) return false
    // A bucket at most: a single dear request must not shut out all others for long.
    this.#level -= Math.min(cost, size)
    return true
  }

  /** Gives back what was taken for nothing, and no more: else who is refused a dear request would fill the bucket for everybody. */
  giveBack (cost: number): void {
    this.#level += Math.min(cost, this.#size(this.#rate))
  }

  #size (rate: number): number {
    return Math.max(rate * seconds, leastPerRank * this.#ranks)
  }
}
