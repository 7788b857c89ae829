// ONNX models of a few bytes, written field by field (onnx.proto, Protocol Buffers wire format).

/** A varint field. */
export function number (field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8), varint(value)])
}

/** A length-delimited field. */
export function bytes (field: number, ...content: readonly (Uint8Array | string)[]): Buffer {
  const body = Buffer.concat(content.map((part) => Buffer.from(part)))
  return Buffer.concat([varint(field * 8 + 2), varint(body.length), body])
}

function varint (value: number): Buffer {
  const parts: number[] = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) parts.push(rest % 128 + 128)
  return Buffer.from([...parts, rest])
}

/** Element types by their number in TensorProto. */
export const float32 = 1
export const uint8 = 2
export const int64 = 7
export const text = 8
export const bool = 9
export const float16 = 10

/** An input or output; a dimension that is a string may have any size. */
export function value (name: string, shape: readonly (number | string)[], type = float32): Buffer {
  const dimensions = shape.map((size) => bytes(1, typeof size === 'string' ? bytes(2, size) : number(1, size)))
  return Buffer.concat([bytes(1, name), bytes(2, bytes(1, number(1, type), bytes(2, ...dimensions)))])
}

/** An output that is no tensor but a list of them. */
export function sequence (name: string): Buffer {
  return Buffer.concat([bytes(1, name), bytes(2, bytes(4, bytes(1, bytes(1, number(1, float32), bytes(2)))))])
}

export function node (type: string, inputs: readonly string[], outputs: readonly string[], ...attributes: readonly Buffer[]): Buffer {
  return Buffer.concat([...inputs.map((name) => bytes(1, name)), ...outputs.map((name) => bytes(2, name)), bytes(4, type), ...attributes.map((attribute) => bytes(5, attribute))])
}

/** A tensor of 32-bit floats inside the model. */
export function weights (name: string, shape: readonly number[], data: Uint8Array): Buffer {
  return Buffer.concat([...shape.map((size) => number(1, size)), number(2, float32), bytes(8, name), bytes(9, data)])
}

/** A tensor of 32-bit floats in a file beside the model; `entries` are further words on where, such as its offset. */
export function externalWeights (name: string, shape: readonly number[], location: string, entries: Readonly<Record<string, number>> = {}): Buffer {
  const words = Object.entries<string | number>({ location, ...entries }).map(([key, word]) => bytes(13, bytes(1, key), bytes(2, String(word))))
  return Buffer.concat([...shape.map((size) => number(1, size)), number(2, float32), bytes(8, name), ...words, number(14, 1)])
}

export interface Graph {
  readonly nodes: readonly Buffer[]
  readonly inputs: readonly Buffer[]
  readonly outputs: readonly Buffer[]
  readonly initializers?: readonly Buffer[]
}

export function graph ({ nodes, inputs, outputs, initializers = [] }: Graph): Buffer {
  return Buffer.concat([
    ...nodes.map((part) => bytes(1, part)), bytes(2, 'graph'), ...initializers.map((part) => bytes(5, part)),
    ...inputs.map((part) => bytes(11, part)), ...outputs.map((part) => bytes(12, part))
  ])
}

export function onnx (contents: Graph): Buffer {
  return Buffer.concat([number(1, 8), bytes(8, bytes(1, ''), number(2, 13)), bytes(7, graph(contents))])
}

/** Little-endian bytes of 32-bit floats. */
export function floats (...values: readonly number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer)
}

/** y = x + w, for any number of rows. */
export function addModel (w: readonly number[] = [1, 2, 3]): Buffer {
  return onnx({
    nodes: [node('Add', ['x', 'w'], ['y'])],
    inputs: [value('x', ['rows', 3])],
    outputs: [value('y', ['rows', 3])],
    initializers: [weights('w', [3], floats(...w))]
  })
}

/** y = x + w, with w in `weights.bin`. */
export function externalModel (location = 'weights.bin'): Buffer {
  return onnx({
    nodes: [node('Add', ['x', 'w'], ['y'])],
    inputs: [value('x', ['rows', 3])],
    outputs: [value('y', ['rows', 3])],
    initializers: [externalWeights('w', [3], location)]
  })
}

/** y = x for one tensor of this type and shape. */
export function identityModel (type: number, shape: readonly (number | string)[]): Buffer {
  return onnx({ nodes: [node('Identity', ['x'], ['y'])], inputs: [value('x', shape, type)], outputs: [value('y', shape, type)] })
}

/** y = x·x·…: `steps` products of a square matrix with itself, which take their time. */
export function slowModel (size: number, steps: number): Buffer {
  const names = ['x', ...Array.from({ length: steps - 1 }, (_, index) => `s${index}`), 'y']
  return onnx({
    nodes: names.slice(1).map((name, index) => node('MatMul', [String(names[index]), 'x'], [name])),
    inputs: [value('x', [size, size])],
    outputs: [value('y', [size, size])]
  })
}
