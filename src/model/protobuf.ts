import { guardError, type GuardError } from '../errors.ts'

/** A field of a message in wire format (Protocol Buffers). */
export interface Field {
  readonly field: number
  /** Of a length-delimited field. */
  readonly content?: Buffer
  /** Of a varint field. */
  readonly value?: number
}

/**
 * The fields of a message, those of fixed width without their value.
 * @throws FMG_ERR_BUNDLE_INVALID when it is no well-formed message.
 */
export function * fieldsOf (bytes: Buffer): Generator<Field> {
  for (let offset = 0; offset < bytes.length;) {
    const { field, wireType, end: start } = readTag(bytes, offset)
    offset = start
    if (wireType === 0) {
      const { value, end } = readVarint(bytes, offset)
      yield { field, value }
      offset = end
    } else if (wireType === 2) {
      const { value: length, end } = readVarint(bytes, offset)
      if (length > bytes.length - end) throw malformed('ends inside a field')
      yield { field, content: bytes.subarray(end, end + length) }
      offset = end + length
    } else {
      offset += fixedWidth(wireType)
      if (offset > bytes.length) throw malformed('ends inside a field')
      yield { field }
    }
  }
}

/** The numbers of a packed field. */
export function * numbersIn (content: Buffer): Generator<number> {
  for (let offset = 0; offset < content.length;) {
    const { value, end } = readVarint(content, offset)
    yield value
    offset = end
  }
}

/** Tags are numbers of 32 bits: of a larger one, Protocol Buffers' own reader drops what is above them, and finds a field where another would find none. */
function readTag (bytes: Buffer, offset: number): { field: number, wireType: number, end: number } {
  const { value, end } = readVarint(bytes, offset)
  const field = Math.floor(value / 8)
  if (field === 0 || value >= 2 ** 32) throw malformed('has a field of a number that does not exist')
  return { field, wireType: value % 8, end }
}

function fixedWidth (wireType: number): number {
  if (wireType === 1) return 8
  if (wireType === 5) return 4
  // Groups are not used by ONNX, and what one skips another might read.
  throw malformed('has a field of a kind that does not exist')
}

/** A varint as a number: exact up to 2^53, and longer than any message above. */
function readVarint (bytes: Buffer, offset: number): { value: number, end: number } {
  let value = 0
  for (let index = 0; index < 10; index++) {
    const byte = bytes[offset + index]
    if (byte === undefined) throw malformed('ends inside a number')
    value += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return { value, end: offset + index + 1 }
  }
  throw malformed('has a number of more than 64 bits')
}

/** The refusal of a graph that is not written as ONNX writes them. */
export function malformed (detail: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail: `model.onnx ${detail}`, reason: 'model-format' })
}
