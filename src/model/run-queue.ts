import { guardError, type GuardError } from '../errors.ts'

/** Does one thing at a time. */
export interface Lane<In, Out> {
  run (input: In): Promise<Out>
}

export interface RunQueueOptions {
  /** How many may wait, beside those that run. */
  readonly queueLimit: number
  /** Milliseconds from the call to its answer. */
  readonly timeoutMs: number
  /** Calls back after so many milliseconds, unless cancelled by what it gave; by default by this machine's clock. */
  readonly after?: (milliseconds: number, callback: () => void) => () => void
  /** Milliseconds, of any beginning; by default `performance.now`. */
  readonly now?: () => number
}

/** A run that is over: it has ended, or will never begin. */
export interface EndedRun<Out> {
  /** What it gave; `undefined` when it failed or never began. */
  readonly output?: Out | undefined
  /** How long it held its lane; 0 when it never began. */
  readonly laneMs: number
}

interface Job<In, Out> {
  readonly input: In
  readonly signal: AbortSignal | undefined
  /** When it was asked for. */
  readonly since: number
  readonly resolve: (output: Out) => void
  readonly reject: (error: unknown) => void
  /** Lets go of the clock and the signal. */
  readonly release: () => void
  readonly ended: (run: EndedRun<Out>) => void
}

/** How much the last run counts in what a run takes. */
const lastRunWeight = 0.1

/** Spreads runs over lanes: first come, first served, and no more waiting than the limit. */
export class RunQueue<In, Out> {
  readonly #options: Required<RunQueueOptions>
  readonly #idle: Lane<In, Out>[]
  readonly #waiting: Job<In, Out>[] = []
  #running = 0
  #runMs: number | undefined
  #closed: Error | undefined
  #drained: () => void = () => undefined

  constructor (lanes: readonly Lane<In, Out>[], options: RunQueueOptions) {
    this.#idle = [...lanes]
    this.#options = { after: afterOnClock, now: () => performance.now(), ...options }
  }

  /** How many runs would be taken now. */
  get room (): number {
    return this.#closed === undefined ? this.#idle.length + this.#options.queueLimit - this.#waiting.length : 0
  }

  /** Milliseconds for which the run that waits longest has waited; 0 when none waits. */
  get waitMs (): number {
    const oldest = this.#waiting[0]
    return oldest === undefined ? 0 : this.#options.now() - oldest.since
  }

  /** Milliseconds that a run took lately, the last runs counting most; 0 before the first has ended. */
  get runMs (): number {
    return this.#runMs ?? 0
  }

  /**
   * @param signal drops a run that waits. One that has begun rejects only when it ends: its lane is held until then.
   * @param ended is called once, whatever happens, when the run is over: later than the answer where that was a time-out.
   * @throws FMG_ERR_MODEL_BUSY, with `retry-after`, when the queue is full or closing, or when time ran out before the run began.
   * @throws FMG_ERR_MODEL_FAILED when time ran out after it began (its lane is held until it ends), or as the lane throws.
   */
  async run (input: In, signal?: AbortSignal, ended: Job<In, Out>['ended'] = () => undefined): Promise<Out> {
    try {
      this.#admit(signal)
    } catch (refusal) {
      ended(neverBegun)
      throw refusal
    }
    return await new Promise((resolve, reject) => {
      const job: Job<In, Out> = { input, signal, since: this.#options.now(), resolve, reject, release, ended }
      const cancel = this.#options.after(this.#options.timeoutMs, () => { this.#expire(job) })
      const abandon = (): void => { this.#abandon(job) }
      signal?.addEventListener('abort', abandon)
      function release (): void {
        cancel()
        signal?.removeEventListener('abort', abandon)
      }
      this.#waiting.push(job)
      this.#startNext()
    })
  }

  #admit (signal: AbortSignal | undefined): void {
    if (this.#closed !== undefined) throw this.#closed
    signal?.throwIfAborted()
    if (this.room === 0) throw busy('queue-full')
  }

  /** Takes no more runs; resolves when the last of those taken has ended. */
  async drain (): Promise<void> {
    this.#closed ??= busy('closing')
    if (this.#running > 0) await new Promise<void>((resolve) => { this.#drained = resolve })
  }

  /** Takes no more runs, and rejects those that wait. */
  fail (error: Error): void {
    this.#closed = error
    for (const job of this.#waiting.splice(0)) {
      job.release()
      job.ended(neverBegun)
      job.reject(error)
    }
  }

  #startNext (): void {
    const lane = this.#idle.pop()
    if (lane === undefined) return
    const job = this.#waiting.shift()
    if (job === undefined) {
      this.#idle.push(lane)
      return
    }
    this.#running++
    const began = this.#options.now()
    lane.run(job.input).then((output) => {
      this.#end(lane, job, began, output)
      if (job.signal?.aborted === true) job.reject(job.signal.reason)
      else job.resolve(output)
    }, (error: unknown) => {
      this.#end(lane, job, began)
      job.reject(error)
    })
  }

  #end (lane: Lane<In, Out>, job: Job<In, Out>, began: number, output?: Out): void {
    job.release()
    const took = this.#options.now() - began
    this.#runMs = this.#runMs === undefined ? took : this.#runMs + (took - this.#runMs) * lastRunWeight
    this.#running--
    this.#idle.push(lane)
    this.#startNext()
    if (this.#running === 0) this.#drained()
    job.ended({ output, laneMs: took })
  }

  #expire (job: Job<In, Out>): void {
    job.reject(this.#drop(job) ? busy('queue-timeout') : guardError('FMG_ERR_MODEL_FAILED', { reason: 'timed-out' }))
  }

  #abandon (job: Job<In, Out>): void {
    if (this.#drop(job)) job.reject(job.signal?.reason)
  }

  /** Takes a run out of those that wait; `false` when it is not, or no longer, among them. */
  #drop (job: Job<In, Out>): boolean {
    const index = this.#waiting.indexOf(job)
    if (index === -1) return false
    this.#waiting.splice(index, 1)
    job.release()
    job.ended(neverBegun)
    return true
  }
}

const neverBegun = { laneMs: 0 }

function busy (reason: string): GuardError {
  return guardError('FMG_ERR_MODEL_BUSY', { reason, headers: { 'retry-after': '1' } })
}

function afterOnClock (milliseconds: number, callback: () => void): () => void {
  const timer = setTimeout(callback, milliseconds)
  return () => { clearTimeout(timer) }
}
