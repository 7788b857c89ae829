import { EventEmitter } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type * as Onnx from 'onnxruntime-node'
import t from 'tap'
import { readGraph } from '../../src/model/graph.ts'
import { answerRequests, type LoadRuntime } from '../../src/model/runtime.ts'
import type { Datatype, Tensor } from '../../src/model/tensor.ts'
import type { RuntimeReply, RuntimeRequest } from '../../src/model/worker-lane.ts'
import { addModel, bool, float16, floats, identityModel, int64, node, onnx as onnxModel, sequence, text, uint8, value } from '../helpers/onnx.ts'

const load: LoadRuntime = async () => await import('onnxruntime-node')

type Ask = (request: RuntimeRequest) => Promise<RuntimeReply>

/** What a worker does, on this thread. */
function runtime (loader: LoadRuntime = load): Ask {
  const emitter = new EventEmitter()
  const port = Object.assign(new EventEmitter(), { postMessage: (reply: RuntimeReply) => { emitter.emit('reply', reply) } })
  answerRequests(port as unknown as Parameters<typeof answerRequests>[0], loader)
  return async (request) => await new Promise((resolve) => {
    emitter.once('reply', resolve)
    port.emit('message', request)
  })
}

function creation (model: Uint8Array, afterwards: 'return' | 'wipe' = 'wipe'): Extract<RuntimeRequest, { kind: 'create' }> {
  return { kind: 'create', model: new Uint8Array(model), externalData: [{ path: 'other.bin', data: new Uint8Array(4).fill(1) }], threads: undefined, afterwards }
}

const kinds: readonly (readonly [Datatype, number, readonly number[], Tensor['data']])[] = [
  ['FP32', 1, [1], floats(1.5)],
  ['UINT8', uint8, [3], Uint8Array.of(1, 2, 255)],
  ['INT8', 3, [2], Uint8Array.of(1, 255)],
  ['UINT16', 4, [2], Uint8Array.of(1, 0, 255, 255)],
  ['INT16', 5, [2], Uint8Array.of(1, 0, 255, 255)],
  ['INT32', 6, [1], Uint8Array.of(1, 2, 3, 4)],
  ['INT64', int64, [], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)],
  ['BYTES', text, [2], ['ä', '']],
  ['BOOL', bool, [2], Uint8Array.of(0, 1)],
  ['FP16', float16, [1, 2], Uint8Array.of(0, 60, 0, 64)],
  ['FP64', 11, [1], Uint8Array.of(0, 0, 0, 0, 0, 0, 240, 63)],
  ['UINT32', 12, [1], Uint8Array.of(1, 2, 3, 4)],
  ['UINT64', 13, [1], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)]
]

for (const [datatype, type, shape, data] of kinds) {
  t.test(`${datatype} goes through a model bit by bit`, async (t) => {
    const ask = runtime()
    t.match(await ask(creation(identityModel(type, shape))), { kind: 'created', inputs: [{ name: 'x', datatype, shape }], outputs: [{ name: 'y', datatype, shape }] })
    const reply = await ask({ kind: 'run', inputs: { x: { datatype, shape, data } } })
    t.match(reply, { kind: 'ran', outputs: { y: { datatype, shape } }, computeMs: Number })
    if (reply.kind === 'ran') t.same([...reply.outputs.y?.data ?? []], [...data])
  })
}

t.test('a tensor may begin at any byte', async (t) => {
  const ask = runtime()
  await ask(creation(addModel()))
  for (const offset of [0, 1, 2, 4]) {
    const body = Buffer.alloc(32)
    floats(1, 2, 3).copy(body, offset)
    const reply = await ask({ kind: 'run', inputs: { x: { datatype: 'FP32', shape: [1, 3], data: body.subarray(offset, offset + 12) } } })
    t.match(reply, { outputs: { y: { data: new Uint8Array(floats(2, 4, 6)) } } })
  }
})

t.test('the bytes of a model are given back for the next thread, or overwritten', async (t) => {
  const kept = creation(addModel(), 'return')
  t.match(await runtime()(kept), { kind: 'created', returned: { model: kept.model, externalData: kept.externalData } })
  t.same(kept.model, new Uint8Array(addModel()))
  const wiped = creation(addModel())
  const ask = runtime()
  t.match(await ask(wiped), { kind: 'created', returned: undefined })
  t.ok(wiped.model.every((byte) => byte === 0) && wiped.externalData.every(({ data }) => data.every((byte) => byte === 0)))
  t.match(await ask({ kind: 'run', inputs: { x: { datatype: 'FP32', shape: [1, 3], data: floats(1, 2, 3) } } }), { outputs: { y: { data: new Uint8Array(floats(2, 4, 6)) } } }, 'and the model runs on')
})

t.test("attack: a model in the runtime's own format, that reads as an ONNX model without a graph", async (t) => {
  const file = path.join(t.testdir(), 'model.ort')
  const { InferenceSession } = await load()
  await (await InferenceSession.create(addModel(), { optimizedModelFilePath: file, logSeverityLevel: 4, extra: { session: { save_model_format: 'ORT' } } })).release()
  const disguised = disguise(await readFile(file))
  t.match(await readGraph(disguised), { nodes: 0, externalData: [] })
  await (await InferenceSession.create(disguised)).release()
  t.match(await runtime()(creation(disguised)), { kind: 'failed', reason: 'create-failed', message: /protobuf/ })
})

/** The same model further on in a file (its offsets are relative), before it what is a place in a FlatBuffer and fields of no meaning in Protocol Buffers. */
function disguise (model: Buffer): Buffer {
  const head = Buffer.from([0x78, 0x00, 0x7d, 0x00])
  const root = model.readUInt32LE(0)
  while ((head.readUInt32LE(0) - root) % 16 !== 0) head.writeUInt8(head.readUInt8(1) + 1, 1)
  const start = head.readUInt32LE(0) - root
  const disguised = Buffer.concat([head, Buffer.from('ORTM'), Buffer.alloc(start - 8), model])
  const passedOver = disguised.length - 17
  Buffer.from([0x7a, passedOver & 0x7f | 0x80, passedOver >> 7 & 0x7f | 0x80, passedOver >> 14 & 0x7f | 0x80, passedOver >> 21]).copy(disguised, 12)
  return disguised
}

t.test('the bytes of what is no model are overwritten too', async (t) => {
  const request = creation(Buffer.from('no model'), 'return')
  t.match(await runtime()(request), { kind: 'failed', reason: 'create-failed', message: String })
  t.ok(request.model.every((byte) => byte === 0))
})

t.test('a graph in shared memory is given to the runtime in memory of its own, which is overwritten whatever comes of it', async (t) => {
  const onnx = await load()
  const unknown = onnxModel({ nodes: [node('Nope', ['x'], ['y'])], inputs: [value('x', [1])], outputs: [value('y', [1])] })
  for (const [kind, bytes] of [['created', addModel()], ['failed', unknown]] as const) {
    const given: Uint8Array[] = []
    const InferenceSession = {
      create: async (model: Uint8Array, options: Onnx.InferenceSession.SessionOptions) => {
        given.push(model)
        return await onnx.InferenceSession.create(model, options)
      }
    } as unknown as typeof onnx.InferenceSession
    const model = new Uint8Array(new SharedArrayBuffer(bytes.length))
    model.set(bytes)
    t.match(await runtime(async () => ({ ...onnx, InferenceSession }))({ ...creation(addModel(), 'wipe'), model }), { kind })
    t.ok([model, ...given].every((memory) => memory.every((byte) => byte === 0)))
    t.equal(given[0]?.length, bytes.length)
  }
})

t.test('a missing runtime is told from one that fails to load', async (t) => {
  const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
  t.match(await runtime(async () => await Promise.reject(missing))(creation(addModel())), { kind: 'failed', reason: 'runtime-missing' })
  t.match(await runtime(async () => await Promise.reject(new Error('libonnxruntime.so')))(creation(addModel())), { kind: 'failed', reason: 'create-failed', message: /libonnxruntime/ })
})

t.test('a run that fails says so, and the next one may not', async (t) => {
  const ask = runtime()
  t.match(await ask({ kind: 'run', inputs: {} }), { kind: 'failed', reason: 'run-failed', message: /no model yet/ })
  await ask(creation(addModel()))
  t.match(await ask({ kind: 'run', inputs: {} }), { kind: 'failed', reason: 'run-failed' })
  t.match(await ask({ kind: 'run', inputs: { x: { datatype: 'FP32', shape: [1, 3], data: floats(1, 2, 3) } } }), { kind: 'ran' })
})

t.test('threads are what was asked for, and nothing is said for those that were not', async (t) => {
  const seen: unknown[] = []
  const onnx = await load()
  const spy: LoadRuntime = async () => ({
    ...onnx,
    InferenceSession: {
      create: async (model: Uint8Array, options: Onnx.InferenceSession.SessionOptions) => {
        seen.push(options.intraOpNumThreads)
        return await onnx.InferenceSession.create(model, options)
      }
    } as unknown as typeof onnx.InferenceSession
  })
  await runtime(spy)({ ...creation(addModel()), threads: 3 })
  await runtime(spy)(creation(addModel()))
  t.same(seen, [3, undefined])
})

t.test('an input of a type that has no name is refused when the model comes', async (t) => {
  const onnx = await load()
  const session = { inputMetadata: [{ name: 'x', isTensor: true, type: 'int4', shape: [1] }], outputMetadata: [] }
  const ask = runtime(async () => ({ ...onnx, InferenceSession: { create: async () => session } as unknown as typeof onnx.InferenceSession }))
  t.match(await ask(creation(addModel())), { kind: 'failed', reason: 'create-failed', message: /x is of a type that cannot be served/ })
  const list = onnxModel({ nodes: [node('SequenceConstruct', ['x'], ['y'])], inputs: [value('x', [1])], outputs: [sequence('y')] })
  t.match(await runtime()(creation(list)), { kind: 'failed', reason: 'create-failed', message: /y is of a type that cannot be served/ })
})

t.test('an output of a type that has no name is not given out', async (t) => {
  const onnx = await load()
  const float = { name: 'x', isTensor: true, type: 'float32', shape: [1] }
  const session = { inputMetadata: [float], outputMetadata: [float], run: async () => ({ y: { type: 'uint4', dims: [1], data: Uint8Array.of(1) } }) }
  const ask = runtime(async () => ({ ...onnx, InferenceSession: { create: async () => session } as unknown as typeof onnx.InferenceSession }))
  await ask(creation(addModel()))
  t.match(await ask({ kind: 'run', inputs: { x: { datatype: 'FP32', shape: [1], data: floats(1) } } }), { kind: 'failed', reason: 'run-failed', message: /uint4 cannot be served/ })
})
