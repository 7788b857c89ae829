import t from 'tap'
import { halfToNumber } from '../../src/audit/watch/tensor-values.ts'
import type { Tensor } from '../../src/model/tensor.ts'
import { coarsenTensor } from '../../src/plugins/coarse-outputs.ts'

const bytes = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
const floats = (shape: readonly number[], ...values: readonly number[]): Tensor => ({ datatype: 'FP32', shape, data: bytes(Float32Array.from(values)) })
const valuesOf = ({ data }: Tensor): number[] => data instanceof Uint8Array ? Array.from(new Float32Array(new Uint8Array(data).buffer), (value) => Number(value.toPrecision(4))) : []

t.test('of each row the highest score is told, with two digits', async (t) => {
  t.same(valuesOf(coarsenTensor(floats([2, 3], 0.123, 0.777, 0.1, 0.9876, 0.01, 0))), [0, 0.78, 0, 0.99, 0, 0])
  t.same(valuesOf(coarsenTensor(floats([3], 0.2, 0.7, 0.1))), [0, 0.7, 0], 'a list is one row')
  t.same(valuesOf(coarsenTensor(floats([2, 1], 12.3456, -0.98765))), [12, -0.99])
  t.same(valuesOf(coarsenTensor(floats([], 3.14159))), [3.1])
  t.same(valuesOf(coarsenTensor(floats([0, 3]))), [])
})

t.test('the highest stays the highest where all are negative, as logarithms are', async (t) => {
  t.same(valuesOf(coarsenTensor(floats([1, 3], -3.14159, -0.5123, -2))), [-2.02, -0.51, -2.02])
  t.same(valuesOf(coarsenTensor(floats([1, 2], -1, 0))), [-1, 0])
})

t.test('other precisions, too; labels and texts stay', async (t) => {
  const double = coarsenTensor({ datatype: 'FP64', shape: [1, 2], data: bytes(Float64Array.of(0.98765, 0.1)) })
  t.same(Array.from(new Float64Array(new Uint8Array(double.data as Uint8Array).buffer)), [0.99, 0])
  const half = coarsenTensor({ datatype: 'FP16', shape: [2, 2], data: bytes(Uint16Array.of(0x3bff, 0x3000, 0xbc01, 0xc000)) })
  t.same(Array.from(new Uint16Array(new Uint8Array(half.data as Uint8Array).buffer), halfToNumber), [0.9375, 0, -1, -65_504])
  for (const tensor of [{ datatype: 'INT64', shape: [1], data: bytes(BigInt64Array.of(7n)) }, { datatype: 'BYTES', shape: [1], data: ['cat'] }, { datatype: 'FP32', shape: [1], data: ['x'] }] as const) t.equal(coarsenTensor(tensor), tensor)
})

t.test('bytes that stand within a larger buffer are read where they stand', async (t) => {
  const data = Buffer.concat([Buffer.alloc(3), Buffer.from(bytes(Float32Array.of(0.25, 0.5)))]).subarray(3)
  t.same(valuesOf(coarsenTensor({ datatype: 'FP32', shape: [1, 2], data })), [0, 0.5])
})
