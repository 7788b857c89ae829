import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { functionOf, integer, object, optional, optionInvalid, withDefault } from '../options.ts'
import { batching, readBatch, type BatchOptions } from './batching.ts'
import type { OpenedModel } from './open-model.ts'
import { afterOnClock, RunQueue, type RunQueueOptions } from './run-queue.ts'
import { modelName } from './bundle-kind.ts'
import { checkInputs, type Tensor, type TensorMetadata } from './tensor.ts'
import { wipe } from './wipe.ts'
import { bytesOf, workerLane, type ModelBytes, type RunOutput, type WorkerLane } from './worker-lane.ts'
import { WorkerPool, type WorkerEvent } from './worker-pool.ts'

/** A model as it was opened, to be handed over. */
export type HandedModel = Pick<OpenedModel, 'files' | 'externalData' | 'zero'>

export interface SessionOptions {
  /** How many threads run the model side by side, each with its own copy of it. By default 1. */
  readonly workers?: number
  /** Threads the runtime uses within one run. By default one fewer than there are cores: they are busy throughout a run, and the event loop needs one. */
  readonly threads?: number
  /** How many runs may wait, beside those that run. */
  readonly queueLimit: number
  /** Milliseconds from the call of a run to its answer. */
  readonly timeoutMs: number
  /** Runs requests together. Default: each by itself. */
  readonly batch?: BatchOptions
  /**
   * Opens the very same model again, to replace a worker: its plaintext is not kept. At most once a minute when that is needed again and again.
   * Without it no worker is replaced.
   */
  readonly reopen?: () => Promise<HandedModel>
  /**
   * Bytes of JavaScript memory above which a worker is replaced: its heap, with what waits there to be collected, and buffers. What the runtime's native code
   * holds cannot be told apart by thread: against a leak there, set `maxWorkerRuns`. Default: no bound.
   */
  readonly maxWorkerBytes?: number
  /** Runs after which a worker is replaced. Default: no bound. */
  readonly maxWorkerRuns?: number
  /** Is told when a worker is lost, worn or replaced. */
  readonly watch?: (event: WorkerEvent) => void
}

/** How a run is asked for. */
export interface RunOptions {
  /** Drops a run that waits; one that has begun rejects when it ends, and holds its place until then. */
  readonly signal?: AbortSignal
  /** Milliseconds from the call to its answer, where that is less than the session's. */
  readonly timeoutMs?: number
  /** Called once, whatever happens, when the run has really ended, or will never begin: later than the answer where that was a time-out. */
  readonly ended?: (run: MeasuredRun) => void
}

/** What a run took. */
export interface MeasuredRun {
  /** Milliseconds that the runtime ran, without the wait before: of rows that ran together, their part. Of a run that failed, those that it held its thread. 0 when it never began. */
  readonly computeMs: number
}

/** What a model takes in memory, as far as that can be told. */
export interface SessionMemory {
  /** Bytes of the graph and its external data: each worker's runtime holds about as many, or more. */
  readonly plaintextBytes: number
  /** Bytes of JavaScript memory of each worker there is, as it said after its last run. */
  readonly workerBytes: readonly number[]
}

/** A model ready to run, in threads of its own. */
export interface ModelSession {
  readonly inputs: readonly TensorMetadata[]
  readonly outputs: readonly TensorMetadata[]
  /** Whether there is a worker. */
  readonly ready: boolean
  /** How many runs would be taken now. */
  readonly room: number
  /** Milliseconds for which the run that waits longest has waited; 0 when none waits. */
  readonly waitMs: number
  /** Milliseconds that a run took lately, the last runs counting most; 0 before the first has ended. */
  readonly runMs: number
  readonly memory: SessionMemory
  /**
   * Runs the model. Inputs are checked before they leave this thread. The memory under `data` may move to the model's thread: use neither
   * it nor any other view of it afterwards.
   * @throws FMG_ERR_INPUT_INVALID naming the input that is not as declared.
   * @throws FMG_ERR_MODEL_BUSY, with `retry-after`, when the queue is full, the session is closing, or the wait took too long.
   * @throws FMG_ERR_MODEL_UNAVAILABLE, with `retry-after`, when no worker is left until one is replaced.
   * @throws FMG_ERR_MODEL_FAILED when the runtime failed, its thread ended, or the run took too long.
   */
  run (inputs: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<RunOutput>
  /** Resolves when no run will be taken any more: `null` after `close`, else with what ended the last thread of a session that replaces none. */
  readonly closed: Promise<Error | null>
  /** Takes no more runs, lets those taken end, then ends the threads. */
  close (): Promise<void>
}

/**
 * Starts a runtime in worker threads with an empty environment, and hands it an opened model. The files are taken: neither this thread
 * nor a worker keeps them, only the runtime does, in memory that JavaScript can not overwrite.
 * @throws FMG_ERR_MODEL_FAILED when the runtime does not take the model; the cause says why.
 * @throws FMG_ERR_OPTION_INVALID when onnxruntime-node is not installed, the model was handed to a session before, or its rows cannot run together.
 */
export async function startSession (opened: HandedModel, options: SessionOptions): Promise<ModelSession> {
  return await openSession(opened, options, spawnWorker)
}

/** No environment and no flags of this process: a worker holds no secret that a model could be made to look for. */
export const workerOptions = { env: {}, execArgv: [], name: 'model' }

function spawnWorker (): Worker {
  // ONNX Runtime 1.29 and later report names, hashes and shapes of models to their maker, and keep a file of them, unless told not to.
  // Native code reads the environment of the process, not that of a worker.
  process.env['ORT_DISABLE_TELEMETRY'] = '1'
  return new Worker(new URL('./worker.js', import.meta.url), workerOptions)
}

const readTimeout = integer({ min: 1, max: 2 ** 31 - 1 })

/** Members of an options object that say how a model is run. */
export const sessionShape = {
  workers: withDefault(integer({ min: 1, max: 64 }), 1),
  threads: withDefault(integer({ min: 1, max: 1024 }), Math.max(1, availableParallelism() - 1)),
  batch: optional(readBatch),
  maxWorkerBytes: withDefault(integer({ min: 1 }), Infinity),
  maxWorkerRuns: withDefault(integer({ min: 1 }), Infinity)
}

const readOptions = object({
  ...sessionShape,
  queueLimit: integer({ min: 0 }),
  // What setTimeout can hold.
  timeoutMs: readTimeout,
  reopen: optional(functionOf<() => Promise<HandedModel>>()),
  watch: withDefault(functionOf<(event: WorkerEvent) => void>(), () => undefined)
})

type Clock = Required<Pick<RunQueueOptions, 'after' | 'now'>>
type Queue = RunQueue<Readonly<Record<string, Tensor>>, RunOutput>

/** `startSession` with threads and a clock of the caller's. */
export async function openSession (opened: HandedModel, options: SessionOptions, spawn: () => Worker, clock: Partial<Clock> = {}): Promise<ModelSession> {
  const { workers, threads, batch, reopen, watch: tell, queueLimit, timeoutMs, ...bounds } = readOptions(options, 'session')
  const time = { after: afterOnClock, now: () => performance.now(), ...clock }
  const start = async (from: HandedModel, count: number): Promise<Started> => await startLanes(from, () => Array.from({ length: count }, () => workerLane(spawn())), threads)
  const { lanes, plaintextBytes, ...declared } = await start(opened, workers)
  try {
    const queue: Queue = new RunQueue([], { queueLimit, timeoutMs, ...time }, batch && batching(batch, declared))
    const replace = reopen && (async (count: number) => (await start(await reopen(), count)).lanes)
    return serve(new WorkerPool(queue, lanes, { workers, ...bounds, replace, tell, ...time }), queue, declared, plaintextBytes)
  } catch (error) {
    await stopAll(lanes)
    throw error
  }
}

interface Started extends Declared {
  readonly lanes: readonly WorkerLane[]
  readonly plaintextBytes: number
}

async function startLanes (opened: HandedModel, spawn: () => readonly WorkerLane[], threads: number): Promise<Started> {
  const bytes = takeBytes(opened)
  const plaintextBytes = bytesOf(bytes).reduce((sum, { length }) => sum + length, 0)
  const lanes = spawn()
  try {
    return { lanes, plaintextBytes, ...await createAll(lanes, bytes, threads) }
  } finally {
    await opened.zero()
  }
}

// Shared memory does not leave this thread when it is handed over: what was taken looks no different.
const taken = new WeakSet<OpenedModel['files']>()

function takeBytes ({ files, externalData }: Pick<OpenedModel, 'files' | 'externalData'>): ModelBytes {
  const take = (name: string): Uint8Array => {
    const data = files.get(name)
    if (data === undefined || taken.has(files)) throw optionInvalid('opened', `a model with its ${name}, that no session took before`, data)
    return data
  }
  const bytes = { model: take(modelName), externalData: externalData.map((path) => ({ path, data: take(path) })) }
  taken.add(files)
  return bytes
}

type Declared = Pick<ModelSession, 'inputs' | 'outputs'>

// One after the other: the bytes go from thread to thread, so that there is never a second copy of them.
async function createAll (lanes: readonly WorkerLane[], bytes: ModelBytes, threads: number | undefined): Promise<Declared> {
  let held = bytes
  let declared: Declared = { inputs: [], outputs: [] }
  try {
    for (const lane of lanes) {
      const { returned, inputs, outputs } = await lane.create(held, threads, lane === lanes.at(-1) ? 'wipe' : 'return')
      held = returned ?? held
      declared = { inputs, outputs }
    }
    return declared
  } catch (error) {
    await wipe(...bytesOf(held))
    await stopAll(lanes)
    throw error
  }
}

function serve (pool: WorkerPool, queue: Queue, { inputs, outputs }: Declared, plaintextBytes: number): ModelSession {
  return {
    inputs,
    outputs,
    closed: pool.closed,
    get ready () { return pool.memoryBytes.length > 0 },
    get room () { return queue.room },
    get waitMs () { return queue.waitMs },
    get runMs () { return queue.runMs },
    get memory () { return { plaintextBytes, workerBytes: pool.memoryBytes } },
    run: async (given, { signal, timeoutMs, ended = () => undefined } = {}) => {
      try {
        checkInputs(given, inputs)
        if (timeoutMs !== undefined) readTimeout(timeoutMs, 'timeoutMs')
      } catch (error) {
        ended({ computeMs: 0 })
        throw error
      }
      return await queue.run(given, { signal, timeoutMs, ended: ({ output, laneMs }) => { ended({ computeMs: output?.computeMs ?? laneMs }) } })
    },
    close: async () => {
      await Promise.all([pool.rest(), queue.drain()])
      await pool.stop()
    }
  }
}

async function stopAll (lanes: readonly WorkerLane[]): Promise<void> {
  await Promise.all(lanes.map(async (lane) => { await lane.stop() }))
}
