import { performance } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { MessagePort } from 'node:worker_threads'
import type * as Onnx from 'onnxruntime-node'
import { requireGiven } from './external-data.ts'
import { datatypeOf, runtimeType, type RuntimeType, type Tensor, type TensorMetadata } from './tensor.ts'
import { wipeHere } from './wipe.ts'
import { buffersOf, bytesOf, type ModelBytes, type RuntimeReply, type RuntimeRequest } from './worker-lane.ts'

/** Imports the runtime. */
export type LoadRuntime = () => Promise<typeof Onnx>

/** A reply, and the bytes that move with it. */
interface Answer {
  readonly reply: RuntimeReply
  readonly moved: readonly Uint8Array[]
}

type Answerer<Kind extends RuntimeRequest['kind']> = (request: Extract<RuntimeRequest, { readonly kind: Kind }>) => Promise<Answer>

/**
 * Answers what a `workerLane` asks: one model, created once, run again and again. Blocks its thread while it does.
 * @param load is called when the model comes, not before.
 */
export function answerRequests (port: Pick<MessagePort, 'on' | 'postMessage'>, load: LoadRuntime): void {
  const send = ({ reply, moved }: Answer): void => { port.postMessage(reply, buffersOf(moved)) }
  let run: Answerer<'run'> = async () => await Promise.reject(new Error('there is no model yet'))
  port.on('message', (request: RuntimeRequest) => {
    const answering = request.kind === 'run' ? run(request) : create(load, request, (created) => { run = created })
    answering.then(send, (error: unknown) => { send(failed(`${request.kind}-failed`, error)) })
  })
}

function failed (reason: string, error: unknown): Answer {
  const isMissing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
  return { reply: { kind: 'failed', reason: isMissing ? 'runtime-missing' : reason, message: String(error) }, moved: [] }
}

async function create (load: LoadRuntime, request: Extract<RuntimeRequest, { readonly kind: 'create' }>, use: (run: Answerer<'run'>) => void): Promise<Answer> {
  const { model, externalData, threads, afterwards } = request
  const bytes = { model, externalData }
  try {
    const onnx = await load()
    const session = await createSession(onnx, bytes, threads)
    const inputs = session.inputMetadata.map(describe)
    const outputs = session.outputMetadata.map(describe)
    use(async ({ inputs: given }) => await run(onnx, session, given))
    if (afterwards === 'wipe') wipeModel(bytes)
    return { reply: { kind: 'created', inputs, outputs, returned: afterwards === 'return' ? bytes : undefined, memoryBytes: memoryBytes() }, moved: afterwards === 'return' ? bytesOf(bytes) : [] }
  } catch (error) {
    wipeModel(bytes)
    throw error
  }
}

async function createSession (onnx: typeof Onnx, { model, externalData }: ModelBytes, threads: number | undefined): Promise<Onnx.InferenceSession> {
  const graph = own(model)
  try {
    requireGiven(graph, externalData)
    return await onnx.InferenceSession.create(graph, {
      externalData: externalData.map(({ path, data }) => ({ path, data })),
      logSeverityLevel: 3,
      // Left to guess, it would take a file in its own format, which may at the same time read as an ONNX model that asks for nothing.
      extra: { session: { load_model_format: 'ONNX' } },
      ...(threads === undefined ? {} : { intraOpNumThreads: threads })
    })
  } finally {
    if (graph !== model) graph.fill(0)
  }
}

// The binding reads external data in shared memory where it lies, the graph only in memory of this thread's own.
function own (bytes: Uint8Array): Uint8Array {
  return bytes.buffer instanceof ArrayBuffer ? bytes : new Uint8Array(bytes)
}

// In one go: nothing else waits for this thread. The runtime's own copy can not be reached from here.
function wipeModel (bytes: ModelBytes): void {
  for (const part of bytesOf(bytes)) wipeHere(part)
}

function describe (metadata: Onnx.InferenceSession.ValueMetadata): TensorMetadata {
  const datatype = metadata.isTensor ? datatypeOf(metadata.type) : undefined
  if (!metadata.isTensor || datatype === undefined) throw new Error(`${metadata.name} is of a type that cannot be served`)
  const { name, shape } = metadata
  const symbols = shape.map((size) => typeof size === 'string' && size !== '' ? size : null)
  return { name, datatype, shape: shape.map((size) => typeof size === 'number' ? size : null), ...symbols.some((symbol) => symbol !== null) && { symbols } }
}

async function run (onnx: typeof Onnx, session: Onnx.InferenceSession, inputs: Readonly<Record<string, Tensor>>): Promise<Answer> {
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, toOnnx(onnx, tensor)]))
  const start = performance.now()
  const results = await session.run(feeds)
  const computeMs = performance.now() - start
  const outputs = Object.entries(results).map(([name, tensor]): readonly [string, Tensor] => [name, fromOnnx(tensor)])
  return {
    reply: { kind: 'ran', outputs: Object.fromEntries(outputs), computeMs, memoryBytes: memoryBytes() },
    moved: outputs.map(([, { data }]) => data).filter((data) => data instanceof Uint8Array)
  }
}

/** What this thread alone holds. The resident memory of the process is that of all threads. */
function memoryBytes (): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics()
  return heap + external
}

const arrays = {
  bool: Uint8Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array
} as const satisfies Readonly<Record<Exclude<RuntimeType, 'string'>, unknown>>

function toOnnx (onnx: typeof Onnx, { datatype, shape, data }: Tensor): Onnx.Tensor {
  const type = runtimeType(datatype)
  if (type === 'string' || !(data instanceof Uint8Array)) return new onnx.Tensor('string', data, shape)
  const Elements = arrays[type]
  const { buffer, byteOffset } = align(data, Elements.BYTES_PER_ELEMENT)
  const elements = new Elements(buffer, byteOffset, data.length / Elements.BYTES_PER_ELEMENT)
  const tensor = new onnx.Tensor(type, elements, shape)
  // Where there is a Float16Array (Node 24) the tensor makes one, and the runtime's binding reads it as empty.
  return type === 'float16' ? Object.defineProperty(tensor, 'data', { value: elements }) : tensor
}

// A tensor may begin anywhere in a request's body; elements may not.
function align (data: Uint8Array, elementBytes: number): { buffer: ArrayBuffer, byteOffset: number } {
  const { buffer, byteOffset } = data
  return buffer instanceof ArrayBuffer && byteOffset % elementBytes === 0 ? { buffer, byteOffset } : new Uint8Array(data)
}

function fromOnnx ({ type, dims, data }: Onnx.Tensor): Tensor {
  const datatype = datatypeOf(type)
  if (datatype === undefined) throw new Error(`an output of type ${type} cannot be served`)
  return { datatype, shape: dims, data: Array.isArray(data) ? data : new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}
