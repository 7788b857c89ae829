import { EventEmitter, once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { OpenedModel } from '../../src/model/open-model.ts'
import { openSession, startSession, workerOptions, type MeasuredRun, type ModelSession, type SessionOptions } from '../../src/model/session.ts'
import { buffersOf, movableData, type RuntimeReply, type RuntimeRequest } from '../../src/model/worker-lane.ts'
import type { WorkerEvent } from '../../src/model/worker-pool.ts'
import { checkInputs, type Tensor, type TensorMetadata } from '../../src/model/tensor.ts'
import { addModel, externalModel, float32, floats, identityModel, onnx, node, sequence, slowModel, value } from '../helpers/onnx.ts'

const options: SessionOptions = { queueLimit: 2, timeoutMs: 60_000, threads: 1 }

type Opened = Pick<OpenedModel, 'files' | 'externalData' | 'zero'> & { readonly zeroed: () => boolean }

/** A model as `openModel` gives it. */
function opened (model: Uint8Array, externalData: Readonly<Record<string, Uint8Array>> = {}): Opened {
  let zeroed = false
  const files = new Map(Object.entries({ 'model.onnx': model, ...externalData }).map(([name, bytes]) => [name, new Uint8Array(bytes)]))
  return { files, externalData: Object.keys(externalData), zero: async () => { zeroed = true }, zeroed: () => zeroed }
}

/** The same bytes in memory that several threads see. */
function shared (bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length))
  copy.set(bytes)
  return copy
}

function fp32 (shape: readonly number[], ...values: readonly number[]): Tensor {
  return { datatype: 'FP32', shape, data: floats(...values) }
}

function numbers (tensor: Tensor | undefined): readonly number[] {
  if (!(tensor?.data instanceof Uint8Array)) throw new TypeError('no bytes')
  return [...new Float32Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.length / 4)]
}

async function start (t: { teardown (end: () => Promise<void>): void }, model: Opened, more: Partial<SessionOptions> = {}): Promise<ModelSession> {
  const session = await startSession(model, { ...options, ...more })
  t.teardown(async () => { await session.close() })
  return session
}

/** A thread that is not one: it says that it took the model, and gives what it was given. */
function fakeWorker (reply?: RuntimeReply, mode?: 'by hand'): { worker: Worker, asked: readonly string[], ended: () => boolean, answer: () => void } {
  const asked: string[] = []
  let hasEnded = false
  const emitter = new EventEmitter()
  const declared = [{ name: 'x', datatype: 'FP32', shape: [null, 3] }]
  const answer = (): void => { emitter.emit('message', { kind: 'ran', outputs: {}, computeMs: 1, memoryBytes: 7 }) }
  const worker = Object.assign(emitter, {
    postMessage: (request: RuntimeRequest) => {
      asked.push(request.kind)
      if (request.kind === 'create') setImmediate(() => { emitter.emit('message', reply ?? { kind: 'created', inputs: declared, outputs: declared }) })
      else if (mode === undefined) setImmediate(answer)
    },
    terminate: async () => {
      hasEnded = true
      emitter.emit('exit', 1)
    }
  })
  return { worker: worker as unknown as Worker, asked, ended: () => hasEnded, answer }
}

/** Takes a model, and dies of its first run. */
const dying = `
const { parentPort } = require('node:worker_threads')
parentPort.on('message', ({ kind, model, externalData }) => {
  if (kind === 'run') throw new Error('out of order')
  const declared = [{ name: 'x', datatype: 'FP32', shape: [null, 3] }]
  parentPort.postMessage({ kind: 'created', inputs: declared, outputs: declared, returned: { model, externalData } })
})
`

t.test('a model runs in its thread, and says what it takes and gives', async (t) => {
  const model = opened(addModel())
  const session = await start(t, model)
  t.same(session.inputs, [{ name: 'x', datatype: 'FP32', shape: [null, 3], symbols: ['rows', null] }])
  t.same(session.outputs, [{ name: 'y', datatype: 'FP32', shape: [null, 3], symbols: ['rows', null] }])
  t.ok(session.ready)
  let took = NaN
  const { outputs, computeMs } = await session.run({ x: fp32([2, 3], 1, 1, 1, 10, 10, 10) }, { ended: (run) => { took = run.computeMs } })
  t.equal(took, computeMs)
  t.same(outputs.y?.shape, [2, 3])
  t.same(numbers(outputs.y), [2, 3, 4, 11, 12, 13])
  t.ok(computeMs >= 0)
  t.ok(model.zeroed(), 'what this thread still held was wiped')
  t.equal(model.files.get('model.onnx')?.length, 0, 'the bytes have left this thread')
  const { plaintextBytes, workerBytes: [held = NaN, ...more] } = session.memory
  t.equal(plaintextBytes, addModel().length)
  t.ok(held > 0 && held < 2 ** 30, `${held} bytes of JavaScript memory`)
  t.same(more, [])
})

t.test('tensors that lie outside of the model come from the signed files, not from the disk', async (t) => {
  const session = await start(t, opened(externalModel(), { 'weights.bin': floats(100, 200, 300) }))
  t.same(numbers((await session.run({ x: fp32([1, 3], 1, 2, 3) })).outputs.y), [101, 202, 303])
})

t.test('the event loop runs on while a model does', async (t) => {
  const session = await start(t, opened(slowModel(256, 40)))
  const data = new Uint8Array(256 * 256 * 4)
  let turns = 0
  let isRunning = true
  const turn = (): void => {
    turns++
    if (isRunning) setImmediate(turn)
  }
  turn()
  await session.run({ x: { datatype: 'FP32', shape: [256, 256], data } })
  isRunning = false
  t.ok(turns > 20, `${turns} turns`)
  t.equal(data.length, 0, 'large inputs are moved, not copied')
})

t.test('an input that is not as declared never reaches the model', async (t) => {
  const { worker, asked } = fakeWorker()
  const session = await openSession(opened(addModel()), options, () => worker)
  const good = fp32([1, 3], 1, 2, 3)
  const bad: readonly (readonly [Readonly<Record<string, Tensor>>, RegExp])[] = [
    [{}, /"x" is missing/],
    [{ x: good, z: good }, /"z" is not an input/],
    [JSON.parse('{"__proto__": {}}') as Record<string, Tensor>, /"x" is missing/],
    [{ x: { ...good, datatype: 'INT32' } }, /"x" must be FP32/],
    [{ x: { ...good, shape: [3] } }, /"x" must have the shape \[-1,3\]/],
    [{ x: { ...good, shape: [1, 4] } }, /must have the shape/],
    [{ x: { ...good, shape: [-1, 3] } }, /must have the shape/],
    [{ x: { ...good, shape: [0.5, 3] } }, /must have the shape/],
    [{ x: { ...good, shape: [2 ** 60, 3] } }, /must have the shape/],
    [{ x: { ...good, shape: [2, 3] } }, /"x" must hold 24 bytes/],
    [{ x: { ...good, data: floats(1, 2) } }, /must hold 12 bytes/],
    [{ x: { ...good, data: Buffer.concat([floats(1, 2, 3), Buffer.alloc(1)]) } }, /must hold 12 bytes/],
    [{ x: { ...good, data: ['1', '2', '3'] } }, /must hold 12 bytes/],
    [{ x: { ...good, data: Array.from({ length: 12 }, () => '1') } }, /must hold 12 bytes/]
  ]
  for (const [inputs, message] of bad) await t.rejects(session.run(inputs), { code: 'FMG_ERR_INPUT_INVALID', message })
  t.same(asked, ['create'], 'nothing was asked of the thread')
  await session.run({ x: good })
  t.same(asked, ['create', 'run'], 'and something is when the input is good')
})

t.test('strings and truth values are held against what they can be', async (t) => {
  const declared: readonly TensorMetadata[] = [{ name: 's', datatype: 'BYTES', shape: [2] }, { name: 'b', datatype: 'BOOL', shape: [2] }]
  const s: Tensor = { datatype: 'BYTES', shape: [2], data: ['a', ''] }
  const b: Tensor = { datatype: 'BOOL', shape: [2], data: Uint8Array.of(0, 1) }
  t.doesNotThrow(() => { checkInputs({ s, b }, declared) })
  for (const data of [['a'], ['a', 'b', 'c'], new Uint8Array(2), ['a', 1] as unknown as string[]]) {
    t.throws(() => { checkInputs({ s: { ...s, data }, b }, declared) }, { code: 'FMG_ERR_INPUT_INVALID', message: /"s" must hold 2 strings/ })
  }
  t.throws(() => { checkInputs({ s, b: { ...b, data: Uint8Array.of(0, 2) } }, declared) }, { code: 'FMG_ERR_INPUT_INVALID', message: /"b" must hold zeros and ones/ })
})

t.test('dimensions of one name are of one size', async (t) => {
  const declared: readonly TensorMetadata[] = [
    { name: 'a', datatype: 'FP32', shape: [null, null], symbols: ['batch', null] },
    { name: 'b', datatype: 'FP32', shape: [2, null, null], symbols: [null, 'batch', 'steps'] },
    { name: 'c', datatype: 'FP32', shape: [null], symbols: ['steps'] }
  ]
  const of = (...shape: readonly number[]): Tensor => ({ datatype: 'FP32', shape, data: new Uint8Array(shape.reduce((product, size) => product * size, 4)) })
  t.doesNotThrow(() => { checkInputs({ a: of(3, 7), b: of(2, 3, 5), c: of(5) }, declared) })
  t.throws(() => { checkInputs({ a: of(3, 7), b: of(2, 1, 5), c: of(5) }, declared) }, { code: 'FMG_ERR_INPUT_INVALID', message: /"b" has another size of "batch" than "a"/ })
  t.throws(() => { checkInputs({ a: of(3, 7), b: of(2, 3, 5), c: of(1) }, declared) }, { message: /"c" has another size of "steps" than "b"/ })
})

t.test('an empty tensor can not claim to be large', async (t) => {
  const declared: readonly TensorMetadata[] = [{ name: 'x', datatype: 'FP32', shape: [null, null, 10_000] }]
  const empty = (...shape: readonly number[]): Record<string, Tensor> => ({ x: { datatype: 'FP32', shape, data: new Uint8Array() } })
  for (const shape of [[0, 0, 10_000], [0, 4096, 10_000], [4096, 0, 10_000]]) t.doesNotThrow(() => { checkInputs(empty(...shape), declared) })
  for (const shape of [[0, 4097, 10_000], [2 ** 31 - 1, 0, 10_000]]) t.throws(() => { checkInputs(empty(...shape), declared) }, { code: 'FMG_ERR_INPUT_INVALID', message: /too large a shape/ })
  t.throws(() => { checkInputs(empty(2 ** 31, 0, 10_000), declared) }, { code: 'FMG_ERR_INPUT_INVALID', message: /must have the shape/ })
})

t.test('no more runs are taken than may wait', async (t) => {
  const session = await start(t, opened(slowModel(128, 20)), { queueLimit: 1 })
  const input = (): Record<string, Tensor> => ({ x: { datatype: 'FP32', shape: [128, 128], data: new Uint8Array(128 * 128 * 4) } })
  t.equal(session.room, 2)
  // No answer comes before this thread rests.
  const taken = [session.run(input()), session.run(input())]
  t.equal(session.room, 0)
  while (session.waitMs === 0);
  t.ok(session.waitMs < 60_000, `one waits, ${session.waitMs} ms`)
  await t.rejects(session.run(input()), { code: 'FMG_ERR_MODEL_BUSY', statusCode: 503, headers: { 'retry-after': '1' } })
  await Promise.all(taken)
  t.equal(session.room, 2)
  t.equal(session.waitMs, 0)
  t.ok(session.runMs > 0 && session.runMs < 60_000, `a run takes ${session.runMs} ms`)
})

t.test('a run that asks for a time that is none is refused, and told that it is over', async (t) => {
  const session = await start(t, opened(addModel()))
  for (const timeoutMs of [0, -1, NaN, 2 ** 31]) {
    let over = NaN
    await t.rejects(session.run({ x: fp32([1, 3], 1, 2, 3) }, { timeoutMs, ended: ({ computeMs }) => { over = computeMs } }), { code: 'FMG_ERR_OPTION_INVALID', message: /timeoutMs/ })
    t.equal(over, 0)
  }
  t.same(numbers((await session.run({ x: fp32([1, 3], 1, 2, 3) }, { timeoutMs: 50_000 })).outputs.y), [2, 4, 6])
})

t.test('a run is dropped by its signal, and its place is free again', async (t) => {
  const session = await start(t, opened(addModel()))
  await t.rejects(session.run({ x: fp32([1, 3], 1, 2, 3) }, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.equal(session.room, 3)
})

t.test('several threads share the work; the model is handed from one to the next', async (t) => {
  const model = opened(externalModel(), { 'weights.bin': floats(1, 1, 1) })
  const session = await start(t, model, { workers: 2, queueLimit: 0 })
  t.equal(session.room, 2)
  const answers = await Promise.all([1, 2].map(async (x) => numbers((await session.run({ x: fp32([1, 3], x, x, x) })).outputs.y)))
  t.same(answers, [[2, 2, 2], [3, 3, 3]])
})

t.test('a model in shared memory is read by every thread where it lies, and wiped after the last', async (t) => {
  const model = opened(externalModel(), { 'weights.bin': floats(1, 1, 1) })
  const files = new Map([...model.files].map(([name, bytes]) => [name, shared(bytes)]))
  const session = await start(t, { ...model, files }, { workers: 2, queueLimit: 0 })
  const answers = await Promise.all([1, 2].map(async (x) => numbers((await session.run({ x: fp32([1, 3], x, x, x) })).outputs.y)))
  t.same(answers, [[2, 2, 2], [3, 3, 3]])
  for (const bytes of files.values()) t.ok(bytes.length > 0 && bytes.every((byte) => byte === 0))
  await t.rejects(startSession({ ...model, files }, options), { code: 'FMG_ERR_OPTION_INVALID', message: /that no session took before/ })
})

t.test('closing lets the runs that were taken end, and takes no more', async (t) => {
  const session = await startSession(opened(addModel()), options)
  const run = session.run({ x: fp32([1, 3], 1, 2, 3) })
  await new Promise(setImmediate)
  const closing = session.close()
  await t.rejects(session.run({ x: fp32([1, 3], 1, 2, 3) }), { code: 'FMG_ERR_MODEL_BUSY', reason: 'closing' })
  t.same(numbers((await run).outputs.y), [2, 4, 6])
  await closing
  t.equal(await session.closed, null)
  t.equal(session.room, 0)
})

t.test('what is no model is refused, and what it was is wiped', async (t) => {
  for (const bytes of [Buffer.from('no model'), addModel().subarray(0, 40)]) {
    const model = opened(bytes)
    const error = await t.rejects(startSession(model, { ...options, workers: 2 }), { code: 'FMG_ERR_MODEL_FAILED', reason: 'create-failed' })
    t.match(error, { cause: Error })
    t.ok(model.zeroed())
  }
})

t.test('an output that is no tensor is refused when the model comes', async (t) => {
  const model = onnx({ nodes: [node('SequenceConstruct', ['x'], ['y'])], inputs: [value('x', [1])], outputs: [sequence('y')] })
  await t.rejects(startSession(opened(model), options), { code: 'FMG_ERR_MODEL_FAILED', cause: { message: /y is of a type that cannot be served/ } })
})

t.test('a model is handed over once', async (t) => {
  const model = opened(addModel())
  await start(t, model)
  await t.rejects(startSession(model, options), { code: 'FMG_ERR_OPTION_INVALID', message: /that no session took before/ })
  await t.rejects(startSession({ ...opened(externalModel()), externalData: ['weights.bin'] }, options), { code: 'FMG_ERR_OPTION_INVALID', message: /with its weights\.bin/ })
})

t.test('options are read strictly', async (t) => {
  for (const bad of [{ workers: 0 }, { threads: 0 }, { queueLimit: -1 }, { timeoutMs: 0 }, { timeoutMs: 2 ** 31 }, { retries: 1 }, { maxWorkerBytes: 0 }, { maxWorkerRuns: 0 }, { batch: { maxRows: 1, maxDelayMs: 0 } }, { batch: { maxRows: 2, maxDelayMs: -1 } }]) {
    await t.rejects(startSession(opened(addModel()), { ...options, ...bad }), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

t.test('without the runtime the error names the package', async (t) => {
  const { worker, ended } = fakeWorker({ kind: 'failed', reason: 'runtime-missing', message: 'x' })
  await t.rejects(openSession(opened(addModel()), options, () => worker), { code: 'FMG_ERR_OPTION_INVALID', message: /npm install onnxruntime-node/ })
  t.ok(ended(), 'the thread is ended')
})

t.test('a thread that answers something else is a failure', async (t) => {
  const { worker } = fakeWorker({ kind: 'ran', outputs: {}, computeMs: 1, memoryBytes: 7 })
  await t.rejects(openSession(opened(addModel()), options, () => worker), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-confused' })
})

t.test('a thread that dies fails the run it had, the last one those that wait, and a session that replaces none says so', async (t) => {
  const session = await openSession(opened(addModel()), { ...options, workers: 2 }, () => new Worker(dying, { eval: true }))
  const runs = [1, 2].map(async () => await session.run({ x: fp32([1, 3], 1, 2, 3) }))
  const waiting = session.run({ x: fp32([1, 3], 1, 2, 3) })
  for (const outcome of await Promise.allSettled(runs)) t.match(outcome, { status: 'rejected', reason: { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-ended' } })
  await t.rejects(waiting, { code: /FMG_ERR_MODEL_(FAILED|UNAVAILABLE)/ })
  t.match(await session.closed, { code: 'FMG_ERR_MODEL_FAILED', cause: { message: 'out of order' } })
  await t.rejects(session.run({ x: fp32([1, 3], 1, 2, 3) }), { code: 'FMG_ERR_MODEL_UNAVAILABLE', statusCode: 503, headers: { 'retry-after': '1' } })
  t.equal(session.room, 0)
  t.notOk(session.ready)
  await session.close()
})

t.test('a worker that dies is replaced by the model opened again, and what it had is wiped', async (t) => {
  const again: Opened[] = []
  const spawned = [() => new Worker(dying, { eval: true })]
  const events: WorkerEvent[] = []
  let isMended = (): void => undefined
  const mended = new Promise<void>((resolve) => { isMended = resolve })
  const session = await openSession(opened(addModel()), {
    ...options,
    reopen: async () => {
      again.push(opened(addModel()))
      return again.at(-1) ?? opened(addModel())
    },
    watch: (event) => {
      events.push(event)
      if (event.kind === 'replaced') isMended()
    }
  }, () => spawned.shift()?.() ?? new Worker(new URL('../../src/model/worker.js', import.meta.url), workerOptions))
  t.teardown(async () => { await session.close() })
  await t.rejects(session.run({ x: fp32([1, 3], 1, 2, 3) }), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-ended' })
  t.notOk(session.ready)
  await t.rejects(session.run({ x: fp32([1, 3], 1, 2, 3) }), { code: 'FMG_ERR_MODEL_UNAVAILABLE' })
  await mended
  t.ok(session.ready)
  t.same(numbers((await session.run({ x: fp32([1, 3], 1, 2, 3) })).outputs.y), [2, 4, 6])
  t.match(events, [{ kind: 'lost', error: { cause: { message: 'out of order' } } }, { kind: 'replaced', workers: 1 }])
  t.same(again.map(({ zeroed, files }) => [zeroed(), files.get('model.onnx')?.length]), [[true, 0]])
})

t.test('a worker that made its runs is replaced, and no run fails of it', async (t) => {
  const events: string[] = []
  const session = await start(t, opened(addModel()), {
    maxWorkerRuns: 3,
    reopen: async () => opened(addModel()),
    watch: ({ kind }) => { events.push(kind) }
  })
  while (!events.includes('replaced')) t.same(numbers((await session.run({ x: fp32([1, 3], 1, 2, 3) })).outputs.y), [2, 4, 6])
  t.same(numbers((await session.run({ x: fp32([1, 3], 1, 2, 3) })).outputs.y), [2, 4, 6])
  t.equal(session.memory.workerBytes.length, 1)
})

t.test('rows that wait together run together, and each has its own', async (t) => {
  const session = await start(t, opened(addModel()), { queueLimit: 20, batch: { maxRows: 8, maxDelayMs: 1000 } })
  const took: number[] = []
  const runs = [1, 2, 3, 2].map(async (rows, index) => {
    const values = Array.from({ length: rows * 3 }, () => index)
    const { outputs } = await session.run({ x: fp32([rows, 3], ...values) }, { ended: ({ computeMs }) => { took.push(computeMs) } })
    return [outputs.y?.shape, numbers(outputs.y), outputs.y?.data instanceof Uint8Array && outputs.y.data.buffer.byteLength]
  })
  t.same(await Promise.all(runs), [1, 2, 3, 2].map((rows, index) => [[rows, 3], Array.from({ length: rows }, () => [index + 1, index + 2, index + 3]).flat(), rows * 12]))
  const [one = 0, two = 0, three = 0, four = 0] = took
  t.ok(one > 0 && Math.abs(two / one - 2) < 0.001 && Math.abs(three / one - 3) < 0.001 && four === two, `each its part of the time: ${took.join(', ')}`)
})

t.test('a model whose rows cannot be told apart is refused with batch, and its threads end', async (t) => {
  const spawned: Worker[] = []
  const spawn = (): Worker => {
    const worker = new Worker(new URL('../../src/model/worker.js', import.meta.url), workerOptions)
    spawned.push(worker)
    return worker
  }
  const model = opened(slowModel(4, 2))
  await t.rejects(openSession(model, { ...options, batch: { maxRows: 8, maxDelayMs: 0 } }, spawn), { code: 'FMG_ERR_OPTION_INVALID', message: /batch must be left out: the first dimension of x/ })
  t.same(spawned.map(({ threadId }) => threadId), [-1])
})

t.test('what the next thread does not take is wiped', async (t) => {
  const held = { model: new Uint8Array(8).fill(1), externalData: [{ path: 'w', data: new Uint8Array(8).fill(1) }] }
  const first = fakeWorker({ kind: 'created', inputs: [], outputs: [], returned: held, memoryBytes: 0 })
  const second = fakeWorker()
  const spawned = [first, second]
  setImmediate(() => { second.worker.emit('exit', 1) })
  await t.rejects(openSession(opened(addModel()), { ...options, workers: 2 }, () => (spawned.shift() ?? first).worker), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-ended' })
  t.same(second.asked, [])
  t.ok(first.ended())
  t.ok([held.model, ...held.externalData.map(({ data }) => data)].every((bytes) => bytes.every((byte) => byte === 0)))
})

t.test('one buffer can not go to two runs', async (t) => {
  const session = await start(t, opened(identityModel(float32, ['n'])))
  const x: Tensor = { datatype: 'FP32', shape: [25_000], data: new Uint8Array(100_000) }
  await session.run({ x })
  await t.rejects(session.run({ x }), { code: 'FMG_ERR_INPUT_INVALID' })
  const y: Tensor = { ...x, data: new Uint8Array(100_000) }
  const outcomes = await Promise.allSettled([{ ...x, data: new Uint8Array(100_000) }, y, y].map(async (input) => await session.run({ x: input })))
  t.match(outcomes, [{ status: 'fulfilled' }, { status: 'fulfilled' }, { status: 'rejected', reason: TypeError }], 'not even while both wait')
  t.equal(session.room, 3)
})

t.test('a run that takes too long is answered, and keeps its thread until it ends', async (t) => {
  const timers: (() => void)[] = []
  const { worker, answer } = fakeWorker(undefined, 'by hand')
  const after = (milliseconds: number, callback: () => void): () => void => {
    t.equal(milliseconds, 60_000)
    timers.push(callback)
    return () => undefined
  }
  const session = await openSession(opened(addModel()), { ...options, queueLimit: 0 }, () => worker, { after })
  const run = session.run({ x: fp32([1, 3], 1, 2, 3) })
  await new Promise(setImmediate)
  for (const expire of timers) expire()
  await t.rejects(run, { code: 'FMG_ERR_MODEL_FAILED', reason: 'timed-out' })
  t.equal(session.room, 0)
  answer()
  await new Promise(setImmediate)
  t.equal(session.room, 1)
})

t.test('what a run took is told when it has ended, also when its answer was given before, and of one that failed', async (t) => {
  const timers: (() => void)[] = []
  const { worker, answer } = fakeWorker(undefined, 'by hand')
  let now = 0
  const session = await openSession(opened(addModel()), { ...options, queueLimit: 1 }, () => worker, {
    now: () => now,
    after: (_milliseconds, callback) => {
      timers.push(callback)
      return () => undefined
    }
  })
  const took: number[] = []
  const ended = ({ computeMs }: MeasuredRun): void => { took.push(computeMs) }
  const x = fp32([1, 3], 1, 2, 3)
  await t.rejects(session.run({}, { ended }), { code: 'FMG_ERR_INPUT_INVALID' })
  t.same(took, [0])
  const runs = [session.run({ x }, { ended }), session.run({ x }, { ended })]
  for (const expire of timers) expire()
  for (const outcome of await Promise.allSettled(runs)) t.equal(outcome.status, 'rejected')
  t.same(took, [0, 0], 'what waited never began, what runs is not over')
  answer()
  await new Promise(setImmediate)
  t.same(took, [0, 0, 1], 'as the runtime measured it')
  const failed = session.run({ x }, { ended })
  now += 42
  worker.emit('message', { kind: 'failed', reason: 'run-failed', message: '' })
  await t.rejects(failed, { code: 'FMG_ERR_MODEL_FAILED' })
  const crashed = session.run({ x }, { ended })
  now += 43
  worker.emit('exit', 1)
  await t.rejects(crashed, { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-ended' })
  t.same(took.slice(3), [42, 43], 'as this thread saw it')
})

t.test('a worker sees nothing of the environment', async (t) => {
  const worker = new Worker("require('node:worker_threads').parentPort.postMessage([process.env, process.execArgv])", { ...workerOptions, eval: true })
  t.same(await once(worker, 'message'), [[{}, []]])
})

t.test('memory moves where it may, and is copied where it may not', async (t) => {
  const large = new Uint8Array(100_000)
  t.equal(movableData(large), large)
  t.not(movableData(Buffer.from('abc')), 'pooled')
  const shared = new Uint8Array(new SharedArrayBuffer(100_000))
  t.ok(movableData(shared).length === shared.length && movableData(shared) !== shared, 'shared memory is copied')
  t.same(movableData(['a']), ['a'])
  t.equal(buffersOf([large, large.subarray(8), shared]).length, 1, 'two views of one buffer move once')
})
