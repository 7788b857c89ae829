import fc from 'fast-check'
import t from 'tap'
import type { Datatype, Tensor } from '../../src/model/tensor.ts'
import { decodeStrings, encodeStrings } from '../../src/server/bytes-elements.ts'
import { readInferRequest } from '../../src/server/infer-request.ts'
import { writeInferResponse } from '../../src/server/infer-response.ts'

const integers: [Datatype, number, number][] = [
  ['INT8', -128, 127], ['UINT8', 0, 255], ['INT16', -32_768, 32_767], ['UINT16', 0, 65_535], ['INT32', -2_147_483_648, 2_147_483_647],
  ['UINT32', 0, 4_294_967_295], ['INT64', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER], ['UINT64', 0, Number.MAX_SAFE_INTEGER]
]
const none = new Uint8Array()

function read (datatype: Datatype, data: readonly unknown[], shape: readonly number[] = [data.length]): Tensor | undefined {
  return readInferRequest({ json: { inputs: [{ name: 'x', datatype, shape, data }] }, binary: none }).inputs['x']
}

function write (tensor: Tensor): unknown {
  const request = readInferRequest({ json: { inputs: [] }, binary: none })
  const { body } = writeInferResponse({ x: tensor }, { modelName: 'm', modelVersion: '1', request })
  return (JSON.parse(String(body)) as { outputs: { data: unknown }[] }).outputs[0]?.data
}

t.test('every datatype comes back as it went in', async (t) => {
  for (const [datatype, min, max] of integers) {
    fc.assert(fc.property(fc.array(fc.integer({ min, max })), (values) => {
      t.same(write(read(datatype, values) ?? { datatype, shape: [], data: none }), values)
    }), { numRuns: 20, examples: [[[min, max, 0]]] })
  }
  t.same(write(read('BOOL', [true, false]) ?? fail()), [true, false])
  t.same(write(read('FP64', [0.1, -1e300, 5e-324]) ?? fail()), [0.1, -1e300, 5e-324])
  t.same(write(read('FP32', [0.5, -3]) ?? fail()), [0.5, -3])
  t.same(write(read('BYTES', ['a', 'é', '']) ?? fail()), ['a', 'é', ''])
  t.same(write(read('INT32', [[1, 2], [3, 4]], [2, 2]) ?? fail()), [1, 2, 3, 4], 'rows may be lists of their own')
})

function fail (): never {
  throw new Error('no tensor')
}

t.test('a value that its datatype cannot hold is refused, not rounded', async (t) => {
  for (const [datatype, min, max] of integers) {
    for (const value of [min - 1, max + 1, 0.5, '1', null, true, NaN]) {
      t.throws(() => read(datatype, [value]), { code: 'FMG_ERR_INPUT_INVALID', message: new RegExp(`inputs\\[0\\]\\.data has an element that is not ${datatype}`) })
    }
  }
  t.throws(() => read('BOOL', [1]), { code: 'FMG_ERR_INPUT_INVALID' })
  t.throws(() => read('BYTES', [1]), { message: /inputs\[0\]\.data must be strings/ })
  t.throws(() => read('FP32', [1], Array(17).fill(1)), { message: /at most 16 whole numbers/ })
})

t.test('64-bit integers leave exactly, though JSON numbers could not come in so', async (t) => {
  const data = new Uint8Array(new BigInt64Array([2n ** 62n, -1n]).buffer)
  const { body } = writeInferResponse({ x: { datatype: 'INT64', shape: [2], data } }, { modelName: 'm', modelVersion: '1', request: readInferRequest({ json: { inputs: [] }, binary: none }) })
  t.match(body, '"data":[4611686018427387904,-1]')
})

t.test('binary strings are read to the byte', async (t) => {
  fc.assert(fc.property(fc.array(fc.string({ unit: 'grapheme' })), (strings) => { t.same(decodeStrings(encodeStrings(strings)), strings) }), { numRuns: 50 })
  t.equal(decodeStrings(Uint8Array.of(1, 0, 0)), null)
  t.equal(decodeStrings(Uint8Array.of(2, 0, 0, 0, 65)), null)
  const binary = encodeStrings(['a', 'bc'])
  const input = (shape: readonly number[]): object => ({ inputs: [{ name: 'x', datatype: 'BYTES', shape, parameters: { binary_data_size: binary.byteLength } }] })
  t.same(readInferRequest({ json: input([2]), binary }).inputs['x'], { datatype: 'BYTES', shape: [2], data: ['a', 'bc'] })
  t.throws(() => readInferRequest({ json: input([3]), binary }), { message: /the binary data is not 3 strings/ })
})

t.test('half-precision floats travel as binary data only', async (t) => {
  const binary = Uint8Array.of(0, 60)
  const request = readInferRequest({ json: { id: 'i', inputs: [{ name: 'x', datatype: 'FP16', shape: [1], parameters: { binary_data_size: 2 } }], outputs: [{ name: 'x', parameters: { binary_data: true } }] }, binary })
  const outputs = { x: { datatype: 'FP16', shape: [1], data: binary }, y: { datatype: 'BYTES', shape: [1], data: ['s'] } } as const
  const { body, jsonLength } = writeInferResponse(outputs, { modelName: 'm', modelVersion: '1', request })
  t.same(Buffer.from(body).subarray(jsonLength), Buffer.from(binary))
  const asked = (names: readonly string[], binary: boolean): ReturnType<typeof readInferRequest> => ({ ...request, outputs: names.map((name) => ({ name, binary })) })
  t.throws(() => writeInferResponse(outputs, { modelName: 'm', modelVersion: '1', request: asked(['x'], false) }), { message: /"x" is FP16, which travels as binary data only/ })
  const strings = writeInferResponse(outputs, { modelName: 'm', modelVersion: '1', request: asked(['y'], true) })
  t.same(Buffer.from(strings.body).subarray(-5), Buffer.from([1, 0, 0, 0, 0x73]))
  t.throws(() => writeInferResponse(outputs, { modelName: 'm', modelVersion: '1', request: asked(['toString'], true) }), { message: /no output "toString"/ })
})

t.test('a request says how many microseconds it gives the model', async (t) => {
  const read = (timeout?: unknown): number | undefined => readInferRequest({ json: { inputs: [], parameters: { timeout } }, binary: new Uint8Array() }).timeoutMs
  t.same([undefined, 0, 1, 1000, 1001, 30_000_000, 2 ** 53 - 1].map(read), [undefined, undefined, 1, 1, 2, 30_000, 2 ** 31 - 1])
  for (const timeout of [-1, 0.5, '1000', null, 2 ** 53]) t.throws(() => read(timeout), { code: 'FMG_ERR_INPUT_INVALID', message: /parameters\.timeout must be a whole number of microseconds/ })
})
