import { isGuardError } from '../errors.ts'
import type { Lane } from './grouping.ts'
import type { RunQueue } from './run-queue.ts'
import type { Tensor } from './tensor.ts'
import type { RunOutput, WorkerLane } from './worker-lane.ts'

/** What became of a worker, for the operator. */
export type WorkerEvent =
  /** Its thread ended by itself, for instance for want of memory. */
  { readonly kind: 'lost', readonly error: Error } |
  /** It holds more than `maxWorkerBytes`, or has made `maxWorkerRuns` runs: it serves on until there is another. */
  { readonly kind: 'worn', readonly memoryBytes: number, readonly runs: number } |
  { readonly kind: 'replaced', readonly workers: number } |
  /** The model could not be opened or started again; that is tried anew. */
  { readonly kind: 'not-replaced', readonly error: unknown, readonly retryMs: number }

type Inputs = Readonly<Record<string, Tensor>>

export interface WorkerPoolOptions {
  /** How many workers there are to be. */
  readonly workers: number
  readonly maxWorkerBytes: number
  readonly maxWorkerRuns: number
  /** Starts so many workers more with the model; `undefined`: those that are lost are not replaced. */
  readonly replace: ((count: number) => Promise<readonly WorkerLane[]>) | undefined
  readonly tell: (event: WorkerEvent) => void
  readonly after: (milliseconds: number, callback: () => void) => () => void
  readonly now: () => number
}

interface Member {
  readonly lane: WorkerLane
  /** The lane as the queue knows it. */
  readonly place: Lane<Inputs, RunOutput>
  isWorn: boolean
}

/** The first replacement comes at once, the next after a second, then two, four, … */
const firstDelayMs = 1000
const maxDelayMs = 60_000
/** After so long without a loss it begins anew. */
const calmMs = 300_000

/** The workers of a model: those that end, or are worn, are replaced, while the others serve. */
export class WorkerPool {
  readonly #queue: Pick<RunQueue<Inputs, RunOutput>, 'add' | 'remove'>
  readonly #options: WorkerPoolOptions
  readonly #members = new Set<Member>()
  #attempts = 0
  /** `Infinity` before the first time, and since the last loss. */
  #mendedAt = Infinity
  #isMending = false
  #mending: Promise<void> = Promise.resolve()
  readonly #retiring = new Set<Promise<void>>()
  #endPause: () => void = () => undefined
  #isClosing = false
  readonly #closers: ((error: Error | null) => void)[] = []
  /** Resolves when there will be no worker any more: `null` after `stop`, else with what ended the last. */
  readonly closed = new Promise<Error | null>((resolve) => { this.#closers.push(resolve) })

  constructor (queue: Pick<RunQueue<Inputs, RunOutput>, 'add' | 'remove'>, lanes: readonly WorkerLane[], options: WorkerPoolOptions) {
    this.#queue = queue
    this.#options = options
    for (const lane of lanes) this.#add(lane)
  }

  /** What each worker that there is says that it holds. */
  get memoryBytes (): readonly number[] {
    return [...this.#members].map(({ lane }) => lane.memoryBytes)
  }

  /** Replaces nobody any more. */
  async rest (): Promise<void> {
    this.#isClosing = true
    this.#endPause()
    await this.#mending
  }

  /** Ends the threads, those that are on their way out too. */
  async stop (): Promise<void> {
    await Promise.all(this.#retiring)
    await Promise.all([...this.#members].map(async ({ lane }) => { await lane.stop() }))
    this.#close(null)
  }

  #close (error: Error | null): void {
    for (const resolve of this.#closers) resolve(error)
  }

  #add (lane: WorkerLane): void {
    const gone = lane.ended.then((error) => { this.#lose(member, error) })
    const member: Member = { lane, isWorn: false, place: { run: async (inputs) => await this.#run(member, inputs, gone) } }
    this.#members.add(member)
    this.#queue.add(member.place)
  }

  async #run (member: Member, inputs: Inputs, gone: Promise<void>): Promise<RunOutput> {
    const [outcome] = await Promise.allSettled([member.lane.run(inputs)])
    // Out of the queue before it takes the next: a thread that has ended would fail them all, one after the other.
    if (outcome.status === 'rejected' && isGuardError(outcome.reason) && outcome.reason.reason === 'thread-ended') await gone
    this.#wear(member)
    if (outcome.status === 'rejected') throw outcome.reason
    return outcome.value
  }

  #lose (member: Member, error: Error | null): void {
    this.#members.delete(member)
    void this.#queue.remove(member.place)
    if (error === null || this.#isClosing) return
    this.#options.tell({ kind: 'lost', error })
    if (this.#options.replace !== undefined) this.#mend(this.#options.replace)
    else if (this.#members.size === 0) this.#close(error)
  }

  #wear (member: Member): void {
    const { maxWorkerBytes, maxWorkerRuns, replace, tell } = this.#options
    const { lane: { memoryBytes, runs }, isWorn } = member
    if (isWorn || !this.#members.has(member) || replace === undefined || (memoryBytes <= maxWorkerBytes && runs < maxWorkerRuns)) return
    member.isWorn = true
    tell({ kind: 'worn', memoryBytes, runs })
    this.#mend(replace)
  }

  #mend (replace: NonNullable<WorkerPoolOptions['replace']>): void {
    if (this.#isMending) return
    this.#isMending = true
    this.#mending = this.#replaceAll(replace)
  }

  async #replaceAll (replace: NonNullable<WorkerPoolOptions['replace']>): Promise<void> {
    while (this.#missing() > 0) {
      await this.#pause(this.#nextDelay())
      if (this.#isClosing) return
      try {
        const lanes = await replace(this.#missing())
        for (const lane of lanes) this.#add(lane)
        this.#mendedAt = this.#options.now()
        this.#options.tell({ kind: 'replaced', workers: lanes.length })
        for (const member of this.#members) if (member.isWorn) this.#retire(member)
      } catch (error) {
        this.#options.tell({ kind: 'not-replaced', error, retryMs: delayOf(this.#attempts) })
      }
    }
    // In the same turn as the last look: a loss that comes now begins anew.
    this.#isMending = false
  }

  #missing (): number {
    return this.#isClosing ? 0 : this.#options.workers - [...this.#members].filter(({ isWorn }) => !isWorn).length
  }

  #nextDelay (): number {
    if (this.#options.now() - this.#mendedAt > calmMs) this.#attempts = 0
    this.#mendedAt = Infinity
    return delayOf(this.#attempts++)
  }

  async #pause (milliseconds: number): Promise<void> {
    if (milliseconds === 0) return
    await new Promise<void>((resolve) => {
      const cancel = this.#options.after(milliseconds, resolve)
      this.#endPause = () => {
        cancel()
        resolve()
      }
    })
  }

  #retire (member: Member): void {
    this.#members.delete(member)
    const retiring = this.#queue.remove(member.place).then(async () => { await member.lane.stop() })
    this.#retiring.add(retiring)
    void retiring.then(() => { this.#retiring.delete(retiring) })
  }
}

function delayOf (attempts: number): number {
  return attempts === 0 ? 0 : Math.min(maxDelayMs, firstDelayMs * 2 ** (attempts - 1))
}
