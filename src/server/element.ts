import type { Datatype } from '../model/tensor.ts'

/** How the elements of a datatype stand in JSON and in memory (Open Inference Protocol v2, "Tensor Data Types"). */
export interface Element {
  /** Bytes an element; 0 where elements vary in length. */
  readonly size: number
  /** Raw little-endian bytes of these JSON values; `null` when one of them is not of this datatype. */
  fromJson (values: readonly unknown[]): Uint8Array | null
  /** JSON text of the list of elements. */
  toJson (bytes: Uint8Array): string
}

type NumberArray = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array
type NumberArrayConstructor<T extends NumberArray> = { readonly BYTES_PER_ELEMENT: number, new (source: number | ArrayBuffer): T }

function integers<T extends NumberArray> (Typed: NumberArrayConstructor<T>, min: number, max: number): Element {
  return numbers(Typed, (value) => Number.isInteger(value) && value >= min && value <= max)
}

function numbers<T extends NumberArray> (Typed: NumberArrayConstructor<T>, accepts: (value: number) => boolean): Element {
  return {
    size: Typed.BYTES_PER_ELEMENT,
    fromJson (values) {
      const typed = new Typed(values.length)
      for (const [index, value] of values.entries()) {
        if (typeof value !== 'number' || !accepts(value)) return null
        typed[index] = value
      }
      return new Uint8Array(typed.buffer)
    },
    toJson: (bytes) => JSON.stringify(Array.from(new Typed(aligned(bytes))))
  }
}

function bigIntegers (Typed: BigInt64ArrayConstructor | BigUint64ArrayConstructor, min: number): Element {
  return {
    size: 8,
    fromJson (values) {
      const typed = new Typed(values.length)
      for (const [index, value] of values.entries()) {
        // Beyond 2^53 the JSON parser has already rounded: such values travel as binary data.
        if (!Number.isSafeInteger(value) || Number(value) < min) return null
        typed[index] = BigInt(Number(value))
      }
      return new Uint8Array(typed.buffer)
    },
    toJson: (bytes) => `[${new Typed(aligned(bytes)).join(',')}]`
  }
}

const booleans: Element = {
  size: 1,
  fromJson: (values) => values.every((value) => typeof value === 'boolean') ? Uint8Array.from(values, Number) : null,
  toJson: (bytes) => JSON.stringify(Array.from(bytes, (byte) => byte !== 0))
}

/** A copy in a buffer of its own: typed arrays must begin at a multiple of their element's size. */
function aligned (bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer
}

const anyNumber = (): boolean => true

/** Datatypes with elements of one size that JSON can hold; FP16 travels as binary data only. */
export const elements: Readonly<Partial<Record<Datatype, Element>>> = {
  BOOL: booleans,
  INT8: integers(Int8Array, -128, 127),
  UINT8: integers(Uint8Array, 0, 255),
  INT16: integers(Int16Array, -32_768, 32_767),
  UINT16: integers(Uint16Array, 0, 65_535),
  INT32: integers(Int32Array, -2_147_483_648, 2_147_483_647),
  UINT32: integers(Uint32Array, 0, 4_294_967_295),
  INT64: bigIntegers(BigInt64Array, Number.MIN_SAFE_INTEGER),
  UINT64: bigIntegers(BigUint64Array, 0),
  FP32: numbers(Float32Array, anyNumber),
  FP64: numbers(Float64Array, anyNumber)
}

/** Whether this names a datatype of the protocol. */
export function isDatatype (value: unknown): value is Datatype {
  return typeof value === 'string' && (Object.hasOwn(elements, value) || value === 'BYTES' || value === 'FP16')
}
