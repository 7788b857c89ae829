import { createHmac } from 'node:crypto'
import { anyThat, integer, object, withDefault } from '../../options.ts'
import { floatAt, numberAt } from './number-at.ts'
import { directionBits, sumCount, writeSketch } from './sketch-text.ts'
import { tensorValues, type TensorValues, type WatchedTensor } from './tensor-values.ts'

export interface SketcherOptions {
  /** At least 32 bytes, the same for all nodes. Who has it and the log can tell much of small inputs: keep it with the identities. */
  readonly secret: Uint8Array
  /** Elements of an input that are looked at, at most; of a larger one as many, at places that only the secret tells. Default 4096. */
  readonly maxElements?: number
}

/**
 * Sketches inputs while they are in memory.
 * @param rows how many inputs the tensors hold side by side, by their first dimension; one of them is sketched.
 * @returns 50 hexadecimal digits; `undefined` where there are fewer than 16 numbers, of which a sketch would tell nearly all.
 */
export type Sketcher = (model: string, inputs: Readonly<Record<string, WatchedTensor>>, rows?: number) => string | undefined

/** Option `sketches`. */
export const readSketcherOptions = object({
  secret: anyThat((value): value is Uint8Array => value instanceof Uint8Array && value.byteLength >= 32, 'at least 32 bytes'),
  maxElements: withDefault(integer({ min: 64, max: 1_048_576 }), 4096)
})

const minElements = 16
/** What is larger counts as this: sums of any number of elements stay numbers. */
const maxValue = 1e30
/** Elements are summed up in so many parts first, each with a sign: projections of the parts are projections of the elements. */
const partCount = 128
const maxKnownModels = 1024
/** Elements of a batch that decide which of its rows is sketched, about. */
const rowSamples = 2048

/** What follows from the secret for one model. */
interface ModelKey {
  readonly seed: number
  /** For each direction the sign of each part. */
  readonly signs: Float64Array
  /** Into which part the elements of each stretch of 128 go, one each. */
  readonly order: Buffer
}

/** @throws FMG_ERR_OPTION_INVALID */
export function sketcher (options: SketcherOptions): Sketcher {
  const { secret, maxElements } = readSketcherOptions(options, 'sketches')
  const key = Buffer.from(secret)
  const keys = new Map<string, ModelKey>()

  function keyOf (model: string): ModelKey {
    const known = keys.get(model)
    if (known !== undefined) return known
    const made = modelKey(key, model)
    if (keys.size >= maxKnownModels) keys.clear()
    keys.set(model, made)
    return made
  }

  return (model, inputs, rows = 1) => {
    const tensors = Object.entries(inputs).sort(([a], [b]) => a < b ? -1 : 1).map(([, tensor]) => tensorValues(tensor)).filter((values) => values !== undefined)
    const rowLength = tensors.reduce((sum, { length }) => sum + Math.floor(length / rows), 0)
    if (rowLength < minElements) return undefined
    const { seed, signs, order } = keyOf(model)
    const row = rows === 1 ? 0 : chooseRow(tensors, rows, seed)
    const parts = sumParts(tensors, { rows, row, rowLength, maxElements, seed, order })
    return writeSketch({ rows, direction: directionOf(parts, signs), sums: coarseSums(parts.parts) })
  }
}

function modelKey (secret: Buffer, model: string): ModelKey {
  const bits = Buffer.concat(Array.from({ length: directionBits * partCount / 8 / 64 + 1 }, (_, index) =>
    createHmac('sha512', secret).update(`sketch\0${index}\0${model}`).digest()))
  const signs = Float64Array.from({ length: directionBits * partCount }, (_, index) => (bits.readUInt8(index >> 3) >> (index & 7) & 1) * 2 - 1)
  const seed = bits.readUInt32LE(bits.length - 4)
  const order = Buffer.from(Array.from({ length: partCount }, (_, part) => part).sort((a, b) => mix(seed, ~a) - mix(seed, ~b)))
  return { seed, signs, order }
}

/** By what is in them, so that the same batch is sketched alike, and by the secret, so that no row can be kept out of sight. */
function chooseRow (tensors: readonly TensorValues[], rows: number, seed: number): number {
  let state = seed
  for (const values of tensors) {
    const step = Math.max(1, Math.floor(values.length / rowSamples))
    for (let index = seed % step; index < values.length; index += step) state = mix(state ^ (values.at(index) * 65_536 | 0), index)
  }
  return mix(state, rows) % rows
}

interface Place {
  readonly rows: number
  readonly row: number
  readonly rowLength: number
  readonly maxElements: number
  readonly seed: number
  readonly order: Buffer
}

interface Parts {
  readonly parts: Float64Array
  /** Sum of the signs in each part: what a constant adds to it. */
  readonly weights: Float64Array
  readonly mean: number
}

function sumParts (tensors: readonly TensorValues[], { rows, row, rowLength, maxElements, seed, order }: Place): Parts {
  const parts = new Float64Array(partCount)
  const weights = new Float64Array(partCount)
  const stride = Math.max(1, rowLength / maxElements)
  let sum = 0
  let taken = 0
  let passed = 0
  for (const values of tensors) {
    const ofRow = Math.floor(values.length / rows)
    for (; Math.floor(taken * stride) < passed + ofRow; taken++) {
      // One of each stretch, chosen by the secret: what is varied only between them cannot be known to be.
      const within = stride === 1 ? taken : Math.min(passed + ofRow - 1, Math.floor((taken + mix(seed, taken) / 2 ** 32) * stride))
      const value = values.at(row * ofRow + Math.max(0, within - passed))
      // Each stretch in another order, and no two of its elements in one part: whatever is moved in a small input is seen.
      const part = order.readUInt8((taken ^ mix(seed, ~(taken >>> 7))) & partCount - 1)
      const sign = (mix(seed ^ 0x5bd1e995, within) & 1) === 0 ? 1 : -1
      const finite = Number.isNaN(value) ? 0 : Math.max(-maxValue, Math.min(maxValue, value))
      parts[part] = floatAt(parts, part) + sign * finite
      weights[part] = floatAt(weights, part) + sign
      sum += finite
    }
    passed += ofRow
  }
  return { parts, weights, mean: sum / taken }
}

/** Without the mean: what all inputs of a model have in common would fix the signs. */
function directionOf ({ parts, weights, mean }: Parts, signs: Float64Array): [number, number] {
  const centred = parts.map((part, index) => part - mean * floatAt(weights, index))
  return [halfOf(centred, signs.subarray(0, signs.length / 2)), halfOf(centred, signs.subarray(signs.length / 2))]
}

/** 32 signs of projections. */
function halfOf (centred: Float64Array, signs: Float64Array): number {
  let half = 0
  for (let from = 0; from < signs.length; from += partCount) {
    const projection = centred.reduce((sum, value, part) => sum + value * floatAt(signs, from + part), 0)
    half = half << 1 | (projection > 0 ? 1 : 0)
  }
  return half >>> 0
}

/** An element stands in one sum only: a change of one element is a change of one sum. */
function coarseSums (parts: Float64Array): number[] {
  const sums = new Array<number>(sumCount).fill(0)
  for (const [part, value] of parts.entries()) sums[part % sumCount] = numberAt(sums, part % sumCount) + value
  return sums
}

/** A 32-bit mixture of two numbers: the finaliser of MurmurHash3. What is secret is the seed. */
function mix (seed: number, index: number): number {
  let bits = Math.imul(seed ^ Math.imul(index + 1, 0x9e3779b1), 0x85ebca6b)
  bits = Math.imul(bits ^ bits >>> 16, 0xc2b2ae35)
  bits ^= bits >>> 13
  bits = Math.imul(bits, 0x27d4eb2f)
  return (bits ^ bits >>> 15) >>> 0
}
