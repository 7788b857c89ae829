import t from 'tap'
import { guardError } from '../../src/errors.ts'
import { batching } from '../../src/model/batching.ts'
import type { Lane } from '../../src/model/grouping.ts'
import { joinRows, rowsOf, splitRows, type Tensors } from '../../src/model/rows.ts'
import type { Tensor, TensorMetadata } from '../../src/model/tensor.ts'
import type { RunOutput } from '../../src/model/worker-lane.ts'

const x: TensorMetadata = { name: 'x', datatype: 'UINT8', shape: [null, null], symbols: ['batch', null] }
const y: TensorMetadata = { name: 'y', datatype: 'UINT8', shape: [null], symbols: ['batch'] }
const rows = { inputs: [x], outputs: [y] }

function bytes (shape: readonly number[], ...data: readonly number[]): Tensor {
  return { datatype: 'UINT8', shape, data: Uint8Array.from(data) }
}

const failure = guardError('FMG_ERR_MODEL_FAILED', { reason: 'run-failed' })

/** Gives the inputs back, and fails of any in which there is a 13. */
function lane (answer: (inputs: Tensors) => Tensors = (inputs) => inputs, error: Error = failure): Lane<Tensors, RunOutput> & { readonly asked: Tensors[] } {
  const asked: Tensors[] = []
  return {
    asked,
    run: async (inputs) => {
      asked.push(inputs)
      if (Object.values(inputs).some(({ data }) => data instanceof Uint8Array && data.includes(13))) throw error
      return { outputs: answer(inputs), computeMs: 6 }
    }
  }
}

t.test('only a model that says that all its tensors begin with the same rows is run by rows', async (t) => {
  const options = { maxRows: 4, maxDelayMs: 0 }
  t.doesNotThrow(() => batching(options, rows))
  t.doesNotThrow(() => batching(options, { inputs: [x, { ...x, name: 'z' }], outputs: [y, y] }))
  const wrong: readonly (readonly [Parameters<typeof batching>[1], string])[] = [
    [{ inputs: [{ ...x, shape: [1, 2], symbols: undefined }], outputs: [y] }, 'x'],
    [{ inputs: [{ ...x, symbols: [null, 'batch'] }], outputs: [y] }, 'x'],
    [{ inputs: [x, { ...x, name: 'z', symbols: ['other', null] }], outputs: [y] }, 'z'],
    [{ inputs: [x, { ...x, name: 'sr', shape: [], symbols: undefined }], outputs: [y] }, 'sr'],
    [{ inputs: [x], outputs: [y, { ...y, name: 'mean', shape: [1], symbols: undefined }] }, 'mean'],
    [{ inputs: [x], outputs: [{ ...y, symbols: ['steps'] }] }, 'y'],
    [{ inputs: [], outputs: [y] }, 'y']
  ]
  for (const [declared, name] of wrong) t.throws(() => batching(options, declared), { code: 'FMG_ERR_OPTION_INVALID', message: new RegExp(`first dimension of ${name} is not`) })
})

t.test('requests of one form run together, up to so many rows', async (t) => {
  const grouping = batching({ maxRows: 4, maxDelayMs: 7 }, rows)
  const [one, two, wide] = [{ x: bytes([1, 2], 1, 2) }, { x: bytes([2, 2], 1, 2, 3, 4) }, { x: bytes([1, 3], 1, 2, 3) }]
  t.equal(grouping.maxDelayMs, 7)
  t.ok(grouping.takes([one, one], two))
  t.notOk(grouping.takes([one, two], two), 'too many rows')
  t.notOk(grouping.takes([one], wide), 'another shape')
  t.notOk(grouping.isFull([one, two]))
  t.ok(grouping.isFull([two, two]))
  t.ok(grouping.isFull([{ x: bytes([5, 1], 1, 2, 3, 4, 5) }]), 'more than that alone')
})

t.test('each is given its rows, and its part of the time', async (t) => {
  const hand = lane()
  const grouping = batching({ maxRows: 4, maxDelayMs: 0 }, rows)
  const group = [{ x: bytes([1, 2], 1, 2) }, { x: bytes([2, 2], 3, 4, 5, 6) }]
  t.same(await grouping.run(hand, group), group.map((outputs, index) => ({ status: 'fulfilled', value: { outputs, computeMs: index === 0 ? 2 : 4 } })))
  t.match(hand.asked, [{ x: { shape: [3, 2] } }])
  t.same(await grouping.run(hand, group.slice(0, 1)), [{ status: 'fulfilled', value: { outputs: group[0], computeMs: 6 } }])
  t.equal(hand.asked[1]?.x, group[0]?.x, 'one alone is not copied')
})

t.test('one bad request fails no other', async (t) => {
  const grouping = batching({ maxRows: 4, maxDelayMs: 0 }, rows)
  const group = [{ x: bytes([1, 1], 1) }, { x: bytes([1, 1], 13) }, { x: bytes([1, 1], 2) }]
  const hand = lane()
  t.match(await grouping.run(hand, group), [{ value: { outputs: group[0], computeMs: 6 } }, { status: 'rejected', reason: failure }, { value: { outputs: group[2] } }])
  t.equal(hand.asked.length, 4)
  const ended = guardError('FMG_ERR_MODEL_FAILED', { reason: 'thread-ended' })
  const dead = lane(undefined, ended)
  t.match(await grouping.run(dead, group), group.map(() => ({ status: 'rejected', reason: ended })))
  t.equal(dead.asked.length, 1, 'a thread that has ended is asked nothing more')
})

t.test('a model that gives another number of rows is asked singly', async (t) => {
  const grouping = batching({ maxRows: 4, maxDelayMs: 0 }, rows)
  const group = [{ x: bytes([1, 1], 1) }, { x: bytes([1, 1], 2) }]
  const sum = lane(() => ({ y: bytes([1], 3) }))
  t.match(await grouping.run(sum, group), group.map(() => ({ status: 'fulfilled', value: { outputs: { y: { shape: [1] } }, computeMs: 6 } })))
  t.equal(sum.asked.length, 3)
  const none = lane()
  const empty = [{ x: bytes([0, 1]) }, { x: bytes([0, 1]) }]
  t.match(await grouping.run(none, empty), empty.map((outputs) => ({ status: 'fulfilled', value: { outputs } })))
  t.equal(none.asked.length, 3)
})

t.test('rows of several inputs, of strings and of more dimensions come back as they went', async (t) => {
  const group: readonly Tensors[] = [
    { a: { datatype: 'BYTES', shape: [2], data: ['a', 'b'] }, b: bytes([2, 1, 2], 1, 2, 3, 4) },
    { a: { datatype: 'BYTES', shape: [0], data: [] }, b: bytes([0, 1, 2]) },
    { a: { datatype: 'BYTES', shape: [1], data: ['c'] }, b: bytes([1, 1, 2], 5, 6) }
  ]
  t.same(group.map(rowsOf), [2, 0, 1])
  t.equal(rowsOf({}), 0)
  const joined = joinRows(group)
  t.match(joined, { a: { shape: [3], data: ['a', 'b', 'c'] }, b: { shape: [3, 1, 2] } })
  const split = splitRows(joined, [2, 0, 1])
  t.same(split.map((inputs) => Object.entries(inputs).map(([name, { shape, data }]) => [name, shape, [...data]])), group.map((inputs) => Object.entries(inputs).map(([name, { shape, data }]) => [name, shape, [...data]])))
  t.same(joinRows([]), {})
  t.match(joinRows([{ a: bytes([1], 1) }, {}]), { a: { shape: [1], data: Buffer.of(1) } })
})

t.test('nobody is given memory in which the rows of another lie', async (t) => {
  const [first] = splitRows({ y: { datatype: 'UINT8', shape: [3], data: new Uint8Array([1, 2, 3]) } }, [1, 2])
  t.same(first?.y?.data instanceof Uint8Array && [...new Uint8Array(first.y.data.buffer)], [1])
})
