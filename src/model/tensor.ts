import { guardError, type GuardError } from '../errors.ts'

// Open Inference Protocol data types, what ONNX Runtime calls them, and how many bytes an element has.
const table = {
  BOOL: ['bool', 1],
  UINT8: ['uint8', 1],
  UINT16: ['uint16', 2],
  UINT32: ['uint32', 4],
  UINT64: ['uint64', 8],
  INT8: ['int8', 1],
  INT16: ['int16', 2],
  INT32: ['int32', 4],
  INT64: ['int64', 8],
  FP16: ['float16', 2],
  FP32: ['float32', 4],
  FP64: ['float64', 8],
  BYTES: ['string', 0]
} as const

/** Type of a tensor's elements, by its name in the Open Inference Protocol. */
export type Datatype = keyof typeof table

/** Type of a tensor's elements, by its name in ONNX Runtime. */
export type RuntimeType = typeof table[Datatype][0]

/** A tensor on its way into or out of a model. */
export interface Tensor {
  readonly datatype: Datatype
  readonly shape: readonly number[]
  /** Elements in row-major order: raw little-endian bytes, or strings for `BYTES`. */
  readonly data: Uint8Array | readonly string[]
}

/** What a model declares of an input or output. */
export interface TensorMetadata {
  readonly name: string
  readonly datatype: Datatype
  /** `null` where any size will do; empty for a single value. */
  readonly shape: readonly (number | null)[]
  /** What the model calls its dimensions of any size, `null` for one without a name: those of one name are of one size. Left out where none has a name. */
  readonly symbols?: readonly (string | null)[]
}

/** What ONNX Runtime calls this type. */
export function runtimeType (datatype: Datatype): RuntimeType {
  return table[datatype][0]
}

/** The type that ONNX Runtime calls so; `undefined` for one that the protocol has no name for. */
export function datatypeOf (type: string): Datatype | undefined {
  return datatypes.find((datatype) => table[datatype][0] === type)
}

const datatypes = Object.keys(table).filter((name): name is Datatype => Object.hasOwn(table, name))

/**
 * Holds inputs against what a model declares: every input, no other, each of its type and shape with exactly its elements, and dimensions of one name
 * of one size, wherever they stand (onnx.proto, TensorShapeProto).
 * The runtime would read past a tensor that is shorter than its shape says.
 * @throws FMG_ERR_INPUT_INVALID naming the input.
 */
export function checkInputs (inputs: Readonly<Record<string, Tensor>>, declared: readonly TensorMetadata[]): void {
  for (const metadata of declared) {
    const tensor = Object.hasOwn(inputs, metadata.name) ? inputs[metadata.name] : undefined
    if (tensor === undefined) throw invalid(metadata.name, 'is missing')
    checkTensor(tensor, metadata)
  }
  checkSymbols(inputs, declared)
  const unknown = Object.keys(inputs).find((name) => !declared.some((metadata) => metadata.name === name))
  if (unknown !== undefined) throw invalid(unknown, 'is not an input of this model')
}

// The runtime would stretch the smaller one where it can: a row of one input would meet those of another.
function checkSymbols (inputs: Readonly<Record<string, Tensor>>, declared: readonly TensorMetadata[]): void {
  const sizes = new Map<string, { readonly size: number | undefined, readonly of: string }>()
  for (const { name, symbols = [] } of declared) {
    for (const [index, symbol] of symbols.entries()) {
      if (symbol === null) continue
      const size = inputs[name]?.shape[index]
      const first = sizes.get(symbol) ?? { size, of: name }
      sizes.set(symbol, first)
      if (first.size !== size) throw invalid(name, `has another size of ${JSON.stringify(symbol)} than ${JSON.stringify(first.of)}`)
    }
  }
}

// What ONNX Runtime's binding takes.
const maxDimension = 2 ** 31 - 1
const maxEmptySize = 4096

function checkTensor ({ datatype, shape, data }: Tensor, { name, datatype: wanted, shape: dimensions }: TensorMetadata): void {
  if (datatype !== wanted) throw invalid(name, `must be ${wanted}`)
  const fits = shape.length === dimensions.length && dimensions.every((size, index) => size === null || size === shape[index])
  if (!fits || !shape.every((size) => Number.isInteger(size) && size >= 0 && size <= maxDimension)) {
    throw invalid(name, `must have the shape [${dimensions.map((size) => size ?? -1).join(',')}]`)
  }
  const elements = shape.reduce((product, size) => product * size, 1)
  // An empty tensor costs its sender nothing, whatever its other dimensions say: the runtime may make a large one of it.
  const free = shape.filter((size, index) => dimensions[index] === null && size > 0).reduce((product, size) => product * size, 1)
  if (elements === 0 && free > maxEmptySize) throw invalid(name, 'is empty, of too large a shape')
  if (datatype === 'BYTES') {
    if (!Array.isArray(data) || data.length !== elements || !data.every((text) => typeof text === 'string')) throw invalid(name, `must hold ${elements} strings`)
    return
  }
  const bytes = elements * table[datatype][1]
  if (!(data instanceof Uint8Array) || data.length !== bytes) throw invalid(name, `must hold ${bytes} bytes`)
  // Any other byte is neither true nor false to the runtime.
  if (datatype === 'BOOL' && data.some((byte) => byte > 1)) throw invalid(name, 'must hold zeros and ones')
}

function invalid (name: string, detail: string): GuardError {
  return guardError('FMG_ERR_INPUT_INVALID', { detail: `${JSON.stringify(name)} ${detail}`, reason: 'input' })
}
