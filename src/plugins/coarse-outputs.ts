import type { FastifyRequest } from 'fastify'
import { tensorValues } from '../audit/watch/tensor-values.ts'
import type { Tensor } from '../model/tensor.ts'

/** What becomes of an answer that is to be coarse. */
export interface Coarse {
  /** The model's outputs were made coarse, or what leaves is an error. */
  isMade: boolean
}

const coarse = new WeakMap<FastifyRequest, Coarse>()

type Outputs = Readonly<Record<string, Tensor>>

/** Has this request answered with no more than the label that scores highest, and rounded scores. */
export function coarsenAnswer (request: FastifyRequest): void {
  coarse.set(request, { isMade: false })
}

/** Outputs of a model, as this request may have them. */
export function outputsFor (request: FastifyRequest, outputs: Outputs): Outputs {
  const state = coarse.get(request)
  if (state === undefined) return outputs
  state.isMade = true
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, coarsenTensor(tensor)]))
}

/** What becomes of the answer to this request; `undefined` where it may be as it is. */
export function coarseOf (request: FastifyRequest): Coarse | undefined {
  return coarse.get(request)
}

/** How the elements of a datatype are written: the highest of a row, from where it stood, and in the place of the others something lower. */
interface Score {
  readonly size: number
  highest (to: DataView, from: DataView, at: number): void
  lower (to: DataView, at: number, than: number): void
}

const scores = new Map<Tensor['datatype'], Score>([
  ['FP16', {
    size: 2,
    // Sign, exponent and three more binary digits.
    highest: (to, from, at) => { to.setUint16(at, from.getUint16(at, true) & 0xff80, true) },
    lower: (to, at, than) => { to.setUint16(at, than > 0 ? 0 : 0xfbff, true) }
  }],
  ['FP32', {
    size: 4,
    highest: (to, from, at) => { to.setFloat32(at, rounded(from.getFloat32(at, true)), true) },
    lower: (to, at, than) => { to.setFloat32(at, below(than), true) }
  }],
  ['FP64', {
    size: 8,
    highest: (to, from, at) => { to.setFloat64(at, rounded(from.getFloat64(at, true)), true) },
    lower: (to, at, than) => { to.setFloat64(at, below(than), true) }
  }]
])

function rounded (value: number): number {
  return Number(value.toPrecision(2))
}

/** Scores may be logarithms: zero would be higher than all of them. */
function below (highest: number): number {
  return highest > 0 ? 0 : rounded(highest) * 2 - 1
}

/**
 * Of each row of scores (the last dimension) only the highest is told, rounded to two digits, or of half precision to four binary ones. Whole numbers,
 * truth values and texts are labels, and stay.
 */
export function coarsenTensor (tensor: Tensor): Tensor {
  const { datatype, shape, data } = tensor
  const score = scores.get(datatype)
  const values = tensorValues(tensor)
  if (score === undefined || values === undefined || !(data instanceof Uint8Array)) return tensor
  const from = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const coarsened = new Uint8Array(data.byteLength)
  const to = new DataView(coarsened.buffer)
  const width = Math.max(1, shape.at(-1) ?? 1)
  for (let row = 0; row < values.length; row += width) {
    const end = Math.min(values.length, row + width)
    let highest = row
    for (let index = row; index < end; index++) if (values.at(index) > values.at(highest)) highest = index
    for (let index = row; index < end; index++) score.lower(to, index * score.size, values.at(highest))
    score.highest(to, from, highest * score.size)
  }
  return { datatype, shape, data: coarsened }
}
