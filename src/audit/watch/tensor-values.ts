/** A tensor as the rules and sketches see it: the same shape that models are run with. */
export interface WatchedTensor {
  /** Of the Open Inference Protocol: `FP32`, `INT64`, … */
  readonly datatype: string
  readonly shape: readonly number[]
  /** Little-endian bytes in row-major order, or strings. */
  readonly data: Uint8Array | readonly string[]
}

/** Reads the numbers of one datatype. */
interface NumberKind {
  /** Bytes an element. */
  readonly size: number
  read (view: DataView, at: number): number
}

const kinds: Readonly<Record<string, NumberKind>> = {
  BOOL: { size: 1, read: (view, at) => view.getUint8(at) },
  UINT8: { size: 1, read: (view, at) => view.getUint8(at) },
  INT8: { size: 1, read: (view, at) => view.getInt8(at) },
  UINT16: { size: 2, read: (view, at) => view.getUint16(at, true) },
  INT16: { size: 2, read: (view, at) => view.getInt16(at, true) },
  UINT32: { size: 4, read: (view, at) => view.getUint32(at, true) },
  INT32: { size: 4, read: (view, at) => view.getInt32(at, true) },
  UINT64: { size: 8, read: (view, at) => Number(view.getBigUint64(at, true)) },
  INT64: { size: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  FP16: { size: 2, read: (view, at) => halfToNumber(view.getUint16(at, true)) },
  FP32: { size: 4, read: (view, at) => view.getFloat32(at, true) },
  FP64: { size: 8, read: (view, at) => view.getFloat64(at, true) }
}

/** The elements of a tensor, read one by one. */
export interface TensorValues {
  readonly length: number
  at (index: number): number
}

/** `undefined` for a tensor of strings. */
export function tensorValues ({ datatype, data }: WatchedTensor): TensorValues | undefined {
  const kind = Object.hasOwn(kinds, datatype) ? kinds[datatype] : undefined
  if (kind === undefined || !(data instanceof Uint8Array)) return undefined
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  return { length: Math.floor(data.byteLength / kind.size), at: (index) => kind.read(view, index * kind.size) }
}

/** IEEE 754 binary16. */
export function halfToNumber (bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}
