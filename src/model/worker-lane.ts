import type { Worker } from 'node:worker_threads'
import { guardError, type GuardError } from '../errors.ts'
import type { Lane } from './grouping.ts'
import type { Tensor, TensorMetadata } from './tensor.ts'

/** What a runtime's thread is asked. One question at a time. */
export type RuntimeRequest =
  {
    readonly kind: 'create'
    /** In shared memory, which the thread reads where it lies, or in memory that moves there. */
    readonly model: Uint8Array
    readonly externalData: readonly { readonly path: string, readonly data: Uint8Array }[]
    readonly threads: number | undefined
    /** What becomes of the bytes once the runtime has its own copy: the next thread needs them, or nobody does. */
    readonly afterwards: 'return' | 'wipe'
  } |
  { readonly kind: 'run', readonly inputs: Readonly<Record<string, Tensor>> }

/** What it answers. */
export type RuntimeReply =
  { readonly kind: 'created', readonly inputs: readonly TensorMetadata[], readonly outputs: readonly TensorMetadata[], readonly returned: ModelBytes | undefined, readonly memoryBytes: number } |
  { readonly kind: 'ran', readonly outputs: Readonly<Record<string, Tensor>>, readonly computeMs: number, readonly memoryBytes: number } |
  { readonly kind: 'failed', readonly reason: string, readonly message: string }

/** A graph and the files its tensors lie in. */
export type ModelBytes = Pick<Extract<RuntimeRequest, { kind: 'create' }>, 'model' | 'externalData'>

/** What a run gives. */
export type RunOutput = Pick<Extract<RuntimeReply, { kind: 'ran' }>, 'outputs' | 'computeMs'>

/** One thread with one runtime in it. */
export interface WorkerLane extends Lane<Readonly<Record<string, Tensor>>, RunOutput> {
  /**
   * Hands a model over: its bytes are gone from this thread, or lie in shared memory and are wiped there.
   * @throws FMG_ERR_MODEL_FAILED when the runtime does not take the model, FMG_ERR_OPTION_INVALID when there is no runtime.
   */
  create (bytes: ModelBytes, threads: number | undefined, afterwards: 'return' | 'wipe'): Promise<ReplyOf<'created'>>
  /** What the thread last said that its JavaScript holds: heap, and memory outside of it. What the runtime's native code holds, no thread can tell apart. */
  readonly memoryBytes: number
  /** How many runs it was given. */
  readonly runs: number
  /** Resolves when the thread has ended: `null` after `stop`, else why. */
  readonly ended: Promise<GuardError | null>
  /** Ends the thread; a run that goes on ends first, for nothing can interrupt it. */
  stop (): Promise<void>
}

type ReplyOf<Kind extends RuntimeReply['kind']> = Extract<RuntimeReply, { readonly kind: Kind }>

/** Speaks with a runtime's thread. */
export function workerLane (worker: Worker): WorkerLane {
  let settle: (outcome: RuntimeReply | GuardError) => void = () => undefined
  let isStopping = false
  let cause: unknown
  let gone: GuardError | undefined
  let memoryBytes = 0
  let runs = 0
  worker.on('error', (error) => { cause = error })
  worker.on('message', (reply: RuntimeReply) => {
    if (reply.kind !== 'failed') memoryBytes = reply.memoryBytes
    settle(reply)
  })
  const ended = new Promise<GuardError | null>((resolve) => {
    worker.on('exit', () => {
      gone = guardError('FMG_ERR_MODEL_FAILED', { reason: 'thread-ended', cause })
      settle(gone)
      resolve(isStopping ? null : gone)
    })
  })

  async function ask<Kind extends RuntimeReply['kind']> (request: RuntimeRequest, moved: readonly Uint8Array[], kind: Kind): Promise<ReplyOf<Kind>> {
    // A thread that has ended takes messages and answers none.
    if (gone !== undefined) throw gone
    return await new Promise((resolve, reject) => {
      settle = (outcome) => {
        if (isReply(outcome, kind)) resolve(outcome)
        else reject(outcome instanceof Error ? outcome : failure(outcome))
      }
      worker.postMessage(request, buffersOf(moved))
    })
  }

  return {
    create: async (bytes, threads, afterwards) =>
      await ask({ kind: 'create', ...bytes, threads, afterwards }, bytesOf(bytes), 'created'),
    run: async (inputs) => {
      runs++
      const movable = Object.entries(inputs).map(([name, tensor]): readonly [string, Tensor] => [name, { ...tensor, data: movableData(tensor.data) }])
      const { outputs, computeMs } = await ask({ kind: 'run', inputs: Object.fromEntries(movable) }, movable.map(([, { data }]) => data).filter((data) => data instanceof Uint8Array), 'ran')
      return { outputs, computeMs }
    },
    get memoryBytes () { return memoryBytes },
    get runs () { return runs },
    ended,
    stop: async () => {
      isStopping = true
      await worker.terminate()
    }
  }
}

function isReply<Kind extends RuntimeReply['kind']> (outcome: RuntimeReply | GuardError, kind: Kind): outcome is ReplyOf<Kind> {
  return 'kind' in outcome && outcome.kind === kind
}

function failure (reply: RuntimeReply): GuardError {
  if (reply.kind !== 'failed') return guardError('FMG_ERR_MODEL_FAILED', { reason: 'thread-confused' })
  const { reason, message } = reply
  if (reason === 'runtime-missing') return guardError('FMG_ERR_OPTION_INVALID', { detail: 'onnxruntime-node is not installed: npm install onnxruntime-node', reason })
  return guardError('FMG_ERR_MODEL_FAILED', { reason, cause: new Error(message) })
}

// Below this a copy costs less than moving, and Node keeps small buffers together in one that must stay where it is.
const leastMoved = 64 * 1024

/** The data itself where its memory can move to another thread, else a copy that can. */
export function movableData (data: Tensor['data']): Tensor['data'] {
  if (!(data instanceof Uint8Array)) return data
  return data.buffer instanceof ArrayBuffer && data.buffer.byteLength >= leastMoved ? data : new Uint8Array(data)
}

/** The graph's bytes, then those of the files beside it. */
export function bytesOf ({ model, externalData }: ModelBytes): readonly Uint8Array[] {
  return [model, ...externalData.map(({ data }) => data)]
}

/** The memory under these, each once: two views of one buffer move together. */
export function buffersOf (views: readonly Uint8Array[]): ArrayBuffer[] {
  return [...new Set(views.map(({ buffer }) => buffer).filter((buffer) => buffer instanceof ArrayBuffer))]
}
