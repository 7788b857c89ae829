import t from 'tap'
import { sketcher } from '../../../src/audit/watch/sketch.ts'
import { bitCount, distance, readSketch, writeSketch, type Sketch } from '../../../src/audit/watch/sketch-text.ts'
import { halfToNumber, tensorValues, type WatchedTensor } from '../../../src/audit/watch/tensor-values.ts'
import { randomNumbers } from '../../helpers/month/random-numbers.ts'

const secret = Buffer.alloc(32, 7)
const { uniform, normal } = randomNumbers(1)

function tensor (values: readonly number[], shape: readonly number[] = [1, values.length]): Readonly<Record<string, WatchedTensor>> {
  return { x: { datatype: 'FP32', shape, data: new Uint8Array(Float32Array.from(values).buffer) } }
}

const draw = (length = 64): number[] => Array.from({ length }, uniform)

function sketchOf (values: readonly number[], rows?: number, key = secret, model = 'm'): Sketch {
  const sketch = readSketch(sketcher({ secret: key })(model, tensor(values), rows) ?? '')
  if (sketch === undefined) throw new Error('no sketch')
  return sketch
}

t.test('equal inputs have equal sketches, of 50 hexadecimal digits; under another key or model another one', async (t) => {
  const input = draw()
  const sketch = sketchOf(input)
  t.match(sketch.text, /^[0-9a-f]{50}$/)
  t.equal(sketchOf([...input]).text, sketch.text)
  t.not(sketchOf(input, 1, Buffer.alloc(32, 8)).text, sketch.text)
  t.not(sketchOf(input, 1, secret, 'n').text, sketch.text)
})

t.test('the distance tells the angle: near inputs are near, unlike ones half of all bits apart', async (t) => {
  let [near, far] = [0, 0]
  for (let round = 0; round < 200; round++) {
    const input = Array.from({ length: 64 }, normal)
    near += distance(sketchOf(input), sketchOf(input.map((value) => value + 0.1 * normal())))
    far += distance(sketchOf(input), sketchOf(Array.from({ length: 64 }, normal)))
  }
  t.ok(near / 200 > 0.5 && near / 200 < 5, `an angle of 6 degrees is 2 bits of 64: ${near / 200}`)
  t.ok(far / 200 > 28 && far / 200 < 36, `${far / 200}`)
})

t.test('what all inputs have in common says nothing: a constant changes no direction', async (t) => {
  const input = draw()
  t.equal(distance(sketchOf(input), sketchOf(input.map((value) => value + 3))), 0)
})

t.test('a change of one element is a change of one sum', async (t) => {
  const input = draw()
  for (let place = 0; place < 64; place++) {
    const moved = sketchOf(input.map((value, index) => index === place ? value + 0.5 : value))
    t.equal(moved.sums.filter((sum, index) => sum !== sketchOf(input).sums[index]).length, 1, `element ${place}`)
  }
})

t.test('one row of a batch is sketched, chosen by what is in it and the key; how many there are is told', async (t) => {
  const rows = Array.from({ length: 20 }, () => draw())
  const sketch = sketchOf(rows.flat(), 20)
  t.equal(sketch.rows, 20)
  const alone = rows.map((row) => sketchOf(row).direction.join())
  t.ok(alone.includes(sketch.direction.join()))
  t.equal(sketchOf(rows.flat(), 20).text, sketch.text)
  const chosen = new Set(Array.from({ length: 40 }, (_, index) => alone.indexOf(sketchOf([...rows.flat().slice(0, -1), index / 40], 20).direction.join())))
  t.ok(chosen.size > 8, 'a change anywhere chooses another row')
  for (const [count, told] of [[127, 127], [128, 128], [129, 140], [1000, 1024], [10_000, 10_624]] as const) {
    t.equal(readSketch(writeSketch({ ...sketch, rows: count }))?.rows, told)
  }
  t.ok((readSketch(writeSketch({ ...sketch, rows: 1e12 }))?.rows ?? 0) > 7_000_000)
})

t.test('of a large input so many elements are looked at, at places that the key tells', async (t) => {
  const sketch = sketcher({ secret, maxElements: 64 })
  const input = draw(6400)
  const plain = sketch('m', tensor(input))
  const seen = input.filter((_, place) => sketch('m', tensor(input.map((value, index) => index === place ? value + 1000 : value))) !== plain).length
  t.ok(seen <= 64 && seen > 50, `${seen} of 6,400`)
  const other = sketcher({ secret: Buffer.alloc(32, 9), maxElements: 64 })
  const places = (of: typeof sketch): number[] => Array.from({ length: 6400 }, (_, place) => place).filter((place) => of('m', tensor(input.map((value, index) => index === place ? value + 1000 : value))) !== of('m', tensor(input)))
  t.notSame(places(sketch), places(other))
})

t.test('inputs are taken together, whatever their order; strings are passed over', async (t) => {
  const sketch = sketcher({ secret })
  const [a, b] = [tensor(draw(10))['x'], tensor(draw(10))['x']]
  if (a === undefined || b === undefined) throw new Error('no tensors')
  t.equal(sketch('m', { a, b }), sketch('m', { b, a }))
  t.not(sketch('m', { a, b }), sketch('m', { a: b, b: a }))
  const text: WatchedTensor = { datatype: 'BYTES', shape: [1], data: ['x'] }
  t.equal(sketch('m', { a, b, text }), sketch('m', { a, b }))
  t.equal(sketch('m', { text }), undefined)
})

t.test('an input of fewer than 16 numbers has no sketch: it would tell nearly all', async (t) => {
  const sketch = sketcher({ secret })
  t.equal(sketch('m', tensor(draw(15))), undefined)
  t.ok(sketch('m', tensor(draw(16))))
  t.equal(sketch('m', tensor(draw(32), [4, 8]), 4), undefined, 'of a batch each')
})

t.test('what is no number counts as nothing, and very large ones have a sketch too', async (t) => {
  const input = draw()
  const even = (bad: number): number[] => input.map((value, index) => index % 2 === 0 ? bad : value)
  t.same(sketchOf(even(NaN)).text, sketchOf(even(0)).text)
  for (const large of [1e300, Infinity, -Infinity]) {
    const sketch = readSketch(sketcher({ secret })('m', { x: { datatype: 'FP64', shape: [64], data: new Uint8Array(Float64Array.from(even(large)).buffer) } }) ?? '')
    t.ok(sketch?.sums.some((sum) => Math.abs(sum) > 1e29), 'counts as a very large number')
    t.ok(sketch?.sums.every(Number.isFinite))
  }
})

t.test('more models than are remembered are sketched all the same', async (t) => {
  const sketch = sketcher({ secret })
  const input = tensor(draw(16))
  const first = sketch('m', input)
  for (let model = 0; model < 1030; model++) sketch(`m${model}`, input)
  t.equal(sketch('m', input), first)
})

t.test('what is no sketch is read as none', async (t) => {
  const good = sketchOf(draw()).text
  for (const bad of ['', good.slice(2), `${good}00`, good.replace(/^./, 'g'), good.toUpperCase().replace(/^../, 'AB')]) t.equal(readSketch(bad), undefined)
  t.ok(readSketch(`${good.slice(0, -32)}${'7f80'.repeat(8)}`)?.sums.every((sum) => sum === 0), 'nor an infinite sum as one')
  t.equal(bitCount(0xffffffff), 32)
})

t.test('options are read strictly', async (t) => {
  t.throws(() => sketcher({ secret: Buffer.alloc(31) }), { code: 'FMG_ERR_OPTION_INVALID', message: 'sketches.secret' })
  t.throws(() => sketcher({ secret, maxElements: 63 }), { message: 'sketches.maxElements' })
})

t.test('numbers of every datatype are read', async (t) => {
  const read = (datatype: string, data: Uint8Array): number[] => {
    const values = tensorValues({ datatype, shape: [], data })
    return Array.from({ length: values?.length ?? 0 }, (_, index) => values?.at(index) ?? NaN)
  }
  const bytes = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer)
  t.same(read('BOOL', Uint8Array.of(0, 1)), [0, 1])
  t.same(read('UINT8', Uint8Array.of(255)), [255])
  t.same(read('INT8', Uint8Array.of(255)), [-1])
  t.same(read('UINT16', bytes(Uint16Array.of(65_535))), [65_535])
  t.same(read('INT16', bytes(Int16Array.of(-2))), [-2])
  t.same(read('UINT32', bytes(Uint32Array.of(4e9))), [4e9])
  t.same(read('INT32', bytes(Int32Array.of(-5))), [-5])
  t.same(read('UINT64', bytes(BigUint64Array.of(7n))), [7])
  t.same(read('INT64', bytes(BigInt64Array.of(-7n))), [-7])
  t.same(read('FP32', bytes(Float32Array.of(1.5))), [1.5])
  t.same(read('FP64', bytes(Float64Array.of(-2.5))), [-2.5])
  t.same(read('FP16', bytes(Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7c00))), [1, -2, 2 ** -24, Infinity])
  t.same(read('toString', Uint8Array.of(1)), [])
  t.same(halfToNumber(0x7e00), NaN)
  t.equal(tensorValues({ datatype: 'FP32', shape: [1], data: ['1'] }), undefined)
})
