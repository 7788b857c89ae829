/** What a limit of all that is admitted is steered by. */
export interface AdmissionRateOptions {
  /** Share of what was admitted when load first rose, below which the limit never falls. */
  readonly floor: number
  /** How long the limit takes to grow from nothing to what was admitted when load first rose. */
  readonly recoverySeconds: number
}

/** What happened since the last tick, in units of cost a second, smoothed. */
export interface Flow {
  readonly asked: number
  readonly admitted: number
}

/** What a cut leaves: of a load that is a little too high, and of one above `severe`. */
const mildCut = 0.9
const severeCut = 0.7
const severe = 2
/** Seconds after a cut until another is due: what was let in before must be done first. */
const patienceSeconds = 0.5
/** Units a second: of a server that had next to nothing to do when load rose, nothing can be said. */
const leastStart = 1
/** With so many times what is asked for, a limit limits nothing. */
const ample = 2

/**
 * How much may be admitted in all: additive increase, multiplicative decrease (RFC 5681 section 3.1 does the same for a network).
 * Without overload there is no limit at all; the first overload sets one, from what was admitted until then.
 */
export class AdmissionRate {
  readonly #options: AdmissionRateOptions
  /** Units of cost a second. */
  #limit = Infinity
  /** What was admitted when load first rose, or more where the limit has grown beyond. */
  #start = leastStart
  #load = 0
  #sinceCut = Infinity

  constructor (options: AdmissionRateOptions) {
    this.#options = options
  }

  /** Units of cost a second; `Infinity` when nothing is limited. */
  get limit (): number {
    return this.#limit
  }

  /** By how much the limit grows in a second. */
  get increase (): number {
    return this.#start / this.#options.recoverySeconds
  }

  /** @param load above 1 is too much. */
  tick (seconds: number, load: number, flow: Flow): void {
    this.#sinceCut += seconds
    // A queue that grows shorter needs time, not another cut: the last one was enough.
    if (load > 1) {
      if (load >= this.#load && this.#sinceCut >= patienceSeconds) this.#cut(load, flow)
    } else {
      this.#grow(seconds, flow)
    }
    this.#load = load
  }

  #cut (load: number, { admitted }: Flow): void {
    this.#sinceCut = 0
    if (this.#limit === Infinity) this.#start = Math.max(leastStart, admitted)
    const used = Math.min(this.#limit, admitted)
    this.#limit = Math.max(used * (load > severe ? severeCut : mildCut), this.#start * this.#options.floor)
  }

  #grow (seconds: number, { asked }: Flow): void {
    this.#limit += this.increase * seconds
    if (this.#limit >= asked * ample) this.#limit = Infinity
    else this.#start = Math.max(this.#start, this.#limit)
  }
}
