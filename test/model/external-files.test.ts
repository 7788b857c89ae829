import { mkdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import t, { type Test } from 'tap'
import { openModel } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { startSession, type ModelSession } from '../../src/model/session.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { manifestOf, signer, trust, writeFiles, type Files } from '../helpers/models.ts'
import { bool, bytes, externalModel, externalWeights, floats, graph, int64, node, number, onnx, value } from '../helpers/onnx.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

const key = countingKey('k')
const options = { queueLimit: 0, timeoutMs: 60_000 }
const genuine = floats(1, 2, 3)
const planted = floats(100, 200, 300)
const x = [value('x', [1, 3])]
const y = [value('y', [1, 3])]
const outside = externalWeights('w', [3], 'weights.bin')

/** A working directory in which somebody has put weights of his own, until the test ends. */
async function plantedFolder (t: Test): Promise<string> {
  const before = process.cwd()
  const folder = path.join(t.testdir(), 'cwd')
  mkdirSync(folder)
  await writeFile(path.join(folder, 'weights.bin'), planted)
  process.chdir(folder)
  t.teardown(() => { process.chdir(before) })
  return path.dirname(folder)
}

function attribute (name: string, type: number, content: Buffer): Buffer {
  return Buffer.concat([bytes(1, name), content, number(20, type)])
}

function numbered (name: string, type: number, shape: readonly number[], data: Uint8Array): Buffer {
  return Buffer.concat([...shape.map((size) => number(1, size)), number(2, type), bytes(8, name), bytes(9, data)])
}

const indices = numbered('wi', int64, [3], new Uint8Array(BigInt64Array.of(0n, 1n, 2n).buffer))
const sparse = Buffer.concat([bytes(1, outside), bytes(2, indices), number(3, 3)])
const branch = graph({ nodes: [node('Add', ['x', 'w'], ['o'])], inputs: [], outputs: [value('o', [1, 3])], initializers: [outside] })

// y = x + w each, with w outside in another place than among the graph's initializers.
const elsewhere: Readonly<Record<string, Buffer>> = {
  'a subgraph': onnx({
    nodes: [node('If', ['c'], ['y'], attribute('then_branch', 5, bytes(6, branch)), attribute('else_branch', 5, bytes(6, branch)))],
    inputs: x,
    outputs: y,
    initializers: [numbered('c', bool, [], Uint8Array.of(1))]
  }),
  'an attribute': onnx({
    nodes: [node('ConstantOfShape', ['s'], ['w'], attribute('value', 4, bytes(5, externalWeights('v', [1], 'weights.bin', { length: 4 })))), node('Add', ['x', 'w'], ['y'])],
    inputs: x,
    outputs: y,
    initializers: [numbered('s', int64, [1], new Uint8Array(BigInt64Array.of(3n).buffer))]
  }),
  'a sparse initializer': Buffer.concat([onnx({ nodes: [node('Add', ['x', 'w'], ['y'])], inputs: x, outputs: y }), bytes(7, bytes(15, sparse))]),
  'a sparse attribute': onnx({ nodes: [node('Constant', [], ['w'], attribute('sparse_value', 11, bytes(22, sparse))), node('Add', ['x', 'w'], ['y'])], inputs: x, outputs: y })
}

async function answer (session: ModelSession): Promise<readonly number[]> {
  const { outputs } = await session.run({ x: { datatype: 'FP32', shape: [1, 3], data: new Uint8Array(12) } })
  await session.close()
  const data = outputs.y?.data
  if (!(data instanceof Uint8Array)) throw new TypeError('no bytes')
  return [...new Float32Array(data.slice().buffer)]
}

async function openAndRun (directory: string): Promise<readonly number[]> {
  return await answer(await startSession(await openModel({ directory, keys: [key], trust }), options))
}

t.test('a file that was signed for is what the model reads, whatever the working directory holds', async (t) => {
  const folder = await plantedFolder(t)
  t.same(await openAndRun(await sealedModel(path.join(folder, 'bundle'), [key], { 'model.onnx': externalModel(), 'weights.bin': genuine })), [1, 2, 3])
})

t.test('a model that keeps tensors in a file it was not given is refused, with that very file in the working directory and in its folder', async (t) => {
  const folder = await plantedFolder(t)
  const files: Files = { 'model.onnx': externalModel(), 'model.json': manifestOf(), 'weights.bin': planted }
  const source = await writeFiles(path.join(folder, 'source'), files)
  await signModel({ directory: source, signer, ignorePaths: ['weights.bin'] })
  const directory = path.join(folder, 'bundle')
  await sealModel({ source, destination: directory, recipients: [key] })
  await t.rejects(openAndRun(directory), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'external-data' })
  await writeFile(path.join(directory, 'weights.bin'), planted)
  await t.rejects(openAndRun(directory), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'extra-file' })
})

t.test('a session that is not given what its graph names does not look for it on the disk', async (t) => {
  await plantedFolder(t)
  const given = (files: Files): Parameters<typeof startSession>[0] => ({
    files: new Map(Object.entries({ 'model.onnx': externalModel(), ...files }).map(([name, content]) => [name, new Uint8Array(Buffer.from(content))])),
    externalData: Object.keys(files),
    zero: async () => { await Promise.resolve() }
  })
  await t.rejects(startSession(given({}), options), { code: 'FMG_ERR_MODEL_FAILED', reason: 'create-failed', cause: { message: /keeps tensors in "weights\.bin", which is not given/ } })
  await t.rejects(startSession(given({ 'other.bin': genuine }), options), { code: 'FMG_ERR_MODEL_FAILED', reason: 'create-failed' })
  t.same(await answer(await startSession(given({ 'weights.bin': genuine }), options)), [1, 2, 3])
})

for (const [place, model] of Object.entries(elsewhere)) {
  t.test(`a tensor of ${place} may not lie outside: the runtime reads it from the disk even where the signed file is given`, async (t) => {
    const folder = await plantedFolder(t)
    const session = await InferenceSession.create(new Uint8Array(model), { externalData: [{ path: 'weights.bin', data: new Uint8Array(genuine) }], logSeverityLevel: 4 })
    const { y: read } = await session.run({ x: new Tensor('float32', new Float32Array(3), [1, 3]) })
    t.equal(read?.data[0], 100, 'what this stands against')
    const directory = await sealedModel(path.join(folder, 'bundle'), [key], { 'model.onnx': model, 'weights.bin': genuine })
    await t.rejects(openAndRun(directory), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'external-data', message: /no initializer of its own graph/ })
  })
}

/** A model whose weights are in several files, of which each may hold several tensors. */
function sumOf (tensors: readonly (readonly [file: string, entries: Readonly<Record<string, number>>])[]): Buffer {
  const names = tensors.map((_, index) => `w${index}`)
  return onnx({ nodes: [node('Sum', ['x', ...names], ['y'])], inputs: x, outputs: y, initializers: tensors.map(([file, entries], index) => externalWeights(`w${index}`, [3], file, entries)) })
}

t.test('tensors may stand anywhere in several files', async (t) => {
  const folder = await plantedFolder(t)
  const model = sumOf([['a.bin', {}], ['a.bin', { offset: 16 }], ['d/b.bin', { offset: 4, length: 12 }], ['a.bin', { offset: 4, length: 12 }]])
  const files = { 'model.onnx': model, 'a.bin': floats(1, 2, 3, 4, 5, 6, 7), 'd/b.bin': floats(0, 100, 200, 300) }
  t.same(await openAndRun(await sealedModel(path.join(folder, 'bundle'), [key], files)), [1 + 5 + 100 + 2, 2 + 6 + 200 + 3, 3 + 7 + 300 + 4])
})

t.test('a tensor that would reach beyond its file does not load', async (t) => {
  const folder = await plantedFolder(t)
  const cases: readonly Readonly<Record<string, number>>[] = [{ offset: 16 }, { offset: 25 }, { offset: 2 ** 40 }, { offset: -4 }, { offset: 2 ** 63 }, { offset: 2 ** 64 - 4096 }, { length: 8 }, { length: 2 ** 40 }, { length: -1 }]
  for (const [index, entries] of cases.entries()) {
    const directory = await sealedModel(path.join(folder, `bundle${index}`), [key], { 'model.onnx': sumOf([['weights.bin', entries]]), 'weights.bin': floats(1, 2, 3, 4, 5, 6) })
    await t.rejects(openAndRun(directory), { code: 'FMG_ERR_MODEL_FAILED', reason: 'create-failed' }, JSON.stringify(entries))
  }
})
