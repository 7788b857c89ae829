import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { integer, object, optionInvalid, withDefault } from '../options.ts'
import type { OpenedModel } from './open-model.ts'
import { RunQueue, type RunQueueOptions } from './run-queue.ts'
import { modelName } from './sealed-bundle.ts'
import { checkInputs, type Tensor, type TensorMetadata } from './tensor.ts'
import { wipe } from './wipe.ts'
import { workerLane, type ModelBytes, type RunOutput, type WorkerLane } from './worker-lane.ts'

export interface SessionOptions {
  /** How many threads run the model side by side, each with its own copy of it. By default 1. */
  readonly workers?: number
  /** Threads the runtime uses within one run. By default one fewer than there are cores: they are busy throughout a run, and the event loop needs one. */
  readonly threads?: number
  /** How many runs may wait, beside those that run. */
  readonly queueLimit: number
  /** Milliseconds from the call of a run to its answer. */
  readonly timeoutMs: number
}

/** How a run is asked for. */
export interface RunOptions {
  /** Drops a run that waits; one that has begun rejects when it ends, and holds its place until then. */
  readonly signal?: AbortSignal
  /** Called once, whatever happens, when the run has really ended, or will never begin: later than the answer where that was a time-out. */
  readonly ended?: (run: MeasuredRun) => void
}

/** What a run took. */
export interface MeasuredRun {
  /** Milliseconds that the runtime ran, without the wait before; of a run that failed, those that it held its thread. 0 when it never began. */
  readonly computeMs: number
}

/** A model ready to run, in threads of its own. */
export interface ModelSession {
  readonly inputs: readonly TensorMetadata[]
  readonly outputs: readonly TensorMetadata[]
  /** How many runs would be taken now. */
  readonly room: number
  /** Milliseconds for which the run that waits longest has waited; 0 when none waits. */
  readonly waitMs: number
  /** Milliseconds that a run took lately, the last runs counting most; 0 before the first has ended. */
  readonly runMs: number
  /**
   * Runs the model. Inputs are checked before they leave this thread. The memory under `data` may move to the model's thread: use neither
   * it nor any other view of it afterwards.
   * @throws FMG_ERR_INPUT_INVALID naming the input that is not as declared.
   * @throws FMG_ERR_MODEL_BUSY, with `retry-after`, when the queue is full, the session is closing, or the wait took too long.
   * @throws FMG_ERR_MODEL_FAILED when the runtime failed, its thread ended, or the run took too long.
   */
  run (inputs: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<RunOutput>
  /** Resolves when no run will be taken any more: `null` after `close`, else with what ended a thread. A new session must be started then. */
  readonly closed: Promise<Error | null>
  /** Takes no more runs, lets those taken end, then ends the threads. */
  close (): Promise<void>
}

/**
 * Starts a runtime in worker threads with an empty environment, and hands it an opened model. The files are taken: neither this thread
 * nor a worker keeps them, only the runtime does, in memory that JavaScript can not overwrite.
 * @throws FMG_ERR_MODEL_FAILED when the runtime does not take the model; the cause says why.
 * @throws FMG_ERR_OPTION_INVALID when onnxruntime-node is not installed, or the model was handed to a session before.
 */
export async function startSession (opened: Pick<OpenedModel, 'files' | 'externalData' | 'zero'>, options: SessionOptions): Promise<ModelSession> {
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

const readOptions = object({
  workers: withDefault(integer({ min: 1, max: 64 }), 1),
  threads: withDefault(integer({ min: 1, max: 1024 }), Math.max(1, availableParallelism() - 1)),
  queueLimit: integer({ min: 0 }),
  // What setTimeout can hold.
  timeoutMs: integer({ min: 1, max: 2 ** 31 - 1 })
})

/** `startSession` with threads and a clock of the caller's. */
export async function openSession (opened: Pick<OpenedModel, 'files' | 'externalData' | 'zero'>, options: SessionOptions, spawn: () => Worker, clock: Pick<RunQueueOptions, 'after' | 'now'> = {}): Promise<ModelSession> {
  const { workers, threads, queueLimit, timeoutMs } = readOptions(options, 'session')
  const bytes = takeBytes(opened)
  const lanes = Array.from({ length: workers }, () => workerLane(spawn()))
  try {
    const declared = await createAll(lanes, bytes, threads)
    return serve(lanes, new RunQueue(lanes, { queueLimit, timeoutMs, ...clock }), declared)
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
    await wipe(held.model, ...held.externalData.map(({ data }) => data))
    await stopAll(lanes)
    throw error
  }
}

function serve (lanes: readonly WorkerLane[], queue: RunQueue<Readonly<Record<string, Tensor>>, RunOutput>, { inputs, outputs }: Declared): ModelSession {
  const closed = Promise.race(lanes.map(async ({ ended }) => await ended)).then(async (error) => {
    if (error !== null) {
      queue.fail(error)
      await stopAll(lanes)
    }
    return error
  })
  return {
    inputs,
    outputs,
    closed,
    get room () { return queue.room },
    get waitMs () { return queue.waitMs },
    get runMs () { return queue.runMs },
    run: async (given, { signal, ended = () => undefined } = {}) => {
      try {
        checkInputs(given, inputs)
      } catch (error) {
        ended({ computeMs: 0 })
        throw error
      }
      return await queue.run(given, signal, ({ output, laneMs }) => { ended({ computeMs: output?.computeMs ?? laneMs }) })
    },
    close: async () => {
      await queue.drain()
      await stopAll(lanes)
    }
  }
}

async function stopAll (lanes: readonly WorkerLane[]): Promise<void> {
  await Promise.all(lanes.map(async (lane) => { await lane.stop() }))
}
