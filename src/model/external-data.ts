import { guardError, type GuardError } from '../errors.ts'

// The messages of onnx.proto that a TensorProto can stand in, each with the fields that lead there, and what those hold.
const messages = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparseTensor' },
  function: { 7: 'node', 11: 'attribute' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparseTensor', 23: 'sparseTensor' },
  sparseTensor: { 1: 'tensor', 2: 'tensor' },
  tensor: {}
} as const satisfies Readonly<Record<string, Readonly<Record<number, string>>>>

type MessageKind = keyof typeof messages

// Fields of TensorProto and of StringStringEntryProto; data_location EXTERNAL is 1.
const externalData = 13
const dataLocation = 14
const external = 1
const entryKey = 1
// Protocol Buffers' own limit on nested messages.
const maxDepth = 100

/**
 * The files that the tensors of an ONNX model lie in outside of it: initializers, sparse ones, and those in attributes of nodes, subgraphs,
 * functions and training graphs. A runtime that is not given them would read them from the disk, unsigned.
 * @returns the locations as the model names them, each once.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not a well-formed message, or a tensor lies outside and does not say where.
 */
export function externalLocations (model: Uint8Array): readonly string[] {
  const locations = new Set<string>()
  scan(Buffer.from(model.buffer, model.byteOffset, model.byteLength), 'model', locations, 0)
  return [...locations]
}

function scan (bytes: Buffer, kind: MessageKind, locations: Set<string>, depth: number): void {
  if (depth > maxDepth) throw malformed('is nested too deeply')
  if (kind === 'tensor') {
    scanTensor(bytes, locations)
    return
  }
  const fields: Readonly<Record<number, MessageKind>> = messages[kind]
  for (const { field, content } of fieldsOf(bytes)) {
    const inner = fields[field]
    if (inner !== undefined && content !== undefined) scan(content, inner, locations, depth + 1)
  }
}

// Entries count even where data_location does not say EXTERNAL: two halves of one message would be merged before they are looked at.
function scanTensor (bytes: Buffer, locations: Set<string>): void {
  let isExternal = false
  let isLocated = false
  for (const { field, content, value } of fieldsOf(bytes)) {
    if (field === dataLocation && value === external) isExternal = true
    if (field !== externalData || content === undefined) continue
    const parts = [...fieldsOf(content)].map((part) => ({ field: part.field, text: part.content?.toString() ?? '' }))
    if (!parts.some((part) => part.field === entryKey && part.text === 'location')) continue
    isLocated = true
    for (const part of parts) if (part.field !== entryKey) locations.add(part.text)
  }
  if (isExternal && !isLocated) throw malformed('has a tensor outside of it that is nowhere')
}

interface Field {
  readonly field: number
  /** Of a length-delimited field. */
  readonly content?: Buffer
  /** Of a varint field. */
  readonly value?: number
}

/** The fields of a message in wire format, those of fixed width without their value. */
function * fieldsOf (bytes: Buffer): Generator<Field> {
  for (let offset = 0; offset < bytes.length;) {
    const tag = readVarint(bytes, offset)
    const field = Math.floor(tag.value / 8)
    const wireType = tag.value % 8
    offset = tag.end
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

function malformed (detail: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail: `model.onnx ${detail}`, reason: 'model-format' })
}
