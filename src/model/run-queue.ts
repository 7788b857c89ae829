import { guardError, type GuardError } from '../errors.ts'
import { oneByOne, type Grouping, type Lane } from './grouping.ts'

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

/** How a run is asked for. */
export interface QueuedRunOptions<Out> {
  /** Drops a run that waits. One that has begun rejects only when it ends: its lane is held until then. */
  readonly signal?: AbortSignal | undefined
  /** Milliseconds from the call to its answer, where that is less than the queue's. */
  readonly timeoutMs?: number | undefined
  /** Called once, whatever happens, when the run is over: later than the answer where that was a time-out. */
  readonly ended?: (run: EndedRun<Out>) => void
}

/** A run that is over: it has ended, or will never begin. */
export interface EndedRun<Out> {
  /** What it gave; `undefined` when it failed or never began. */
  readonly output?: Out | undefined
  /** How long it held its lane, in equal parts with those that it ran together with; 0 when it never began. */
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
const maxRetrySeconds = 30

/** Spreads runs over lanes, which come and go: first come, first served, and no more waiting than the limit. */
export class RunQueue<In, Out> {
  readonly #options: Required<RunQueueOptions>
  readonly #grouping: Grouping<In, Out>
  readonly #lanes = new Set<Lane<In, Out>>()
  readonly #idle = new Set<Lane<In, Out>>()
  readonly #waiting: Job<In, Out>[] = []
  /** Those that wait for a lane's run to end, by lane. */
  readonly #leaving = new Map<Lane<In, Out>, () => void>()
  #running = 0
  #runMs: number | undefined
  #isClosed = false
  #drained: () => void = () => undefined
  #cancelWake: (() => void) | undefined

  /** @param grouping which runs a lane takes together; by default one at a time. */
  constructor (lanes: readonly Lane<In, Out>[], options: RunQueueOptions, grouping: Grouping<In, Out> = oneByOne()) {
    this.#options = { after: afterOnClock, now: () => performance.now(), ...options }
    this.#grouping = grouping
    for (const lane of lanes) this.add(lane)
  }

  /** How many runs would be taken now. */
  get room (): number {
    return this.#isClosed || this.#lanes.size === 0 ? 0 : this.#idle.size + this.#options.queueLimit - this.#waiting.length
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

  /** Gives runs to this lane too. */
  add (lane: Lane<In, Out>): void {
    this.#lanes.add(lane)
    this.#idle.add(lane)
    this.#startNext()
  }

  /** Gives this lane no more runs, and resolves when that which it has is over. Without any lane left, those that wait are rejected. */
  async remove (lane: Lane<In, Out>): Promise<void> {
    const isRunning = this.#lanes.delete(lane) && !this.#idle.delete(lane)
    if (this.#lanes.size === 0) for (const job of this.#waiting.splice(0)) this.#refuse(job, unavailable())
    if (isRunning) await new Promise<void>((resolve) => { this.#leaving.set(lane, resolve) })
  }

  /**
   * @throws FMG_ERR_MODEL_BUSY, with `retry-after`, when the queue is full or closing, or when time ran out before the run began.
   * @throws FMG_ERR_MODEL_UNAVAILABLE, with `retry-after`, when there is no lane.
   * @throws FMG_ERR_MODEL_FAILED when time ran out after it began (its lane is held until it ends), or as the lane throws.
   */
  async run (input: In, { signal, timeoutMs = Infinity, ended = () => undefined }: QueuedRunOptions<Out> = {}): Promise<Out> {
    try {
      this.#admit(signal)
    } catch (refusal) {
      ended(neverBegun)
      throw refusal
    }
    return await new Promise((resolve, reject) => {
      const job: Job<In, Out> = { input, signal, since: this.#options.now(), resolve, reject, release, ended }
      const cancel = this.#options.after(Math.min(timeoutMs, this.#options.timeoutMs), () => { this.#expire(job) })
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
    if (this.#isClosed) throw this.#busy('closing')
    signal?.throwIfAborted()
    if (this.#lanes.size === 0) throw unavailable()
    if (this.room === 0) throw this.#busy('queue-full')
  }

  /** Takes no more runs; resolves when the last of those taken has ended. */
  async drain (): Promise<void> {
    this.#isClosed = true
    this.#startNext()
    if (this.#running > 0) await new Promise<void>((resolve) => { this.#drained = resolve })
  }

  #startNext (): void {
    this.#cancelWake?.()
    this.#cancelWake = undefined
    for (const lane of this.#idle) {
      const jobs = this.#nextGroup()
      const [oldest] = jobs
      if (oldest === undefined) return
      const delay = this.#isComplete(jobs) ? 0 : oldest.since + this.#grouping.maxDelayMs - this.#options.now()
      if (delay > 0) {
        this.#cancelWake = this.#options.after(delay, () => { this.#startNext() })
        return
      }
      this.#waiting.splice(0, jobs.length)
      this.#start(lane, jobs)
    }
  }

  /** Those at the head of the queue that may run together. */
  #nextGroup (): readonly Job<In, Out>[] {
    const inputs: In[] = []
    const after = this.#waiting.findIndex(({ input }) => {
      if (inputs.length > 0 && !this.#grouping.takes(inputs, input)) return true
      inputs.push(input)
      return false
    })
    return after === -1 ? [...this.#waiting] : this.#waiting.slice(0, after)
  }

  /** Whether nobody who comes later could be among them. */
  #isComplete (jobs: readonly Job<In, Out>[]): boolean {
    return this.#isClosed || jobs.length < this.#waiting.length || this.#grouping.isFull(jobs.map(({ input }) => input))
  }

  #start (lane: Lane<In, Out>, jobs: readonly Job<In, Out>[]): void {
    this.#idle.delete(lane)
    this.#running++
    const began = this.#options.now()
    void this.#grouping.run(lane, jobs.map(({ input }) => input)).then((outcomes) => {
      const laneMs = this.#end(lane, jobs, began)
      for (const [index, job] of jobs.entries()) settle(job, outcomes[index] ?? forgotten, laneMs)
    })
  }

  #end (lane: Lane<In, Out>, jobs: readonly Job<In, Out>[], began: number): number {
    for (const job of jobs) job.release()
    const took = this.#options.now() - began
    this.#runMs = this.#runMs === undefined ? took : this.#runMs + (took - this.#runMs) * lastRunWeight
    this.#running--
    if (this.#lanes.has(lane)) this.#idle.add(lane)
    this.#leaving.get(lane)?.()
    this.#leaving.delete(lane)
    this.#startNext()
    if (this.#running === 0) this.#drained()
    return took / jobs.length
  }

  #expire (job: Job<In, Out>): void {
    if (!this.#drop(job, this.#busy('queue-timeout'))) job.reject(guardError('FMG_ERR_MODEL_FAILED', { reason: 'timed-out' }))
  }

  #abandon (job: Job<In, Out>): void {
    this.#drop(job, job.signal?.reason)
  }

  /** Takes a run out of those that wait; `false` when it is not, or no longer, among them. */
  #drop (job: Job<In, Out>, error: unknown): boolean {
    const index = this.#waiting.indexOf(job)
    if (index === -1) return false
    this.#waiting.splice(index, 1)
    this.#refuse(job, error)
    this.#startNext()
    return true
  }

  #refuse (job: Job<In, Out>, error: unknown): void {
    job.release()
    job.ended(neverBegun)
    job.reject(error)
  }

  /** RFC 9110 section 10.2.3: asked again when those that are here now will be gone, as far as that can be told. */
  #busy (reason: string): GuardError {
    const seconds = Math.ceil(this.#waiting.length * this.runMs / Math.max(1, this.#lanes.size) / 1000)
    return guardError('FMG_ERR_MODEL_BUSY', { reason, headers: { 'retry-after': String(Math.min(maxRetrySeconds, Math.max(1, seconds))) } })
  }
}

function settle<In, Out> (job: Job<In, Out>, outcome: PromiseSettledResult<Out>, laneMs: number): void {
  job.ended({ output: outcome.status === 'fulfilled' ? outcome.value : undefined, laneMs })
  if (outcome.status === 'rejected') job.reject(outcome.reason)
  else if (job.signal?.aborted === true) job.reject(job.signal.reason)
  else job.resolve(outcome.value)
}

const neverBegun = { laneMs: 0 }

const forgotten: PromiseRejectedResult = { status: 'rejected', reason: guardError('FMG_ERR_MODEL_FAILED', { reason: 'group-confused' }) }

function unavailable (): GuardError {
  return guardError('FMG_ERR_MODEL_UNAVAILABLE', { reason: 'no-worker', headers: { 'retry-after': '1' } })
}

/** Calls back after so many milliseconds by this machine's clock, unless cancelled by what it gave. */
export function afterOnClock (milliseconds: number, callback: () => void): () => void {
  const timer = setTimeout(callback, milliseconds)
  return () => { clearTimeout(timer) }
}
