import { guardError } from '../errors.ts'
import type { Datatype, Tensor } from '../model/tensor.ts'
import { decodeStrings } from './bytes-elements.ts'
import { elements, isDatatype } from './element.ts'

/** The body of an inference request as it came: the JSON part, and the bytes that follow it. */
export interface InferBody {
  readonly json: unknown
  readonly binary: Uint8Array
}

/** What the caller asked to have back. */
export interface RequestedOutput {
  readonly name: string
  readonly binary: boolean
}

export interface InferRequest {
  readonly id?: string
  readonly inputs: Readonly<Record<string, Tensor>>
  /** `null`: all outputs of the model. */
  readonly outputs: readonly RequestedOutput[] | null
  /** Whether outputs that are not listed come as binary data. */
  readonly binaryOutputs: boolean
  /** Milliseconds that the caller gives the model, waiting included. */
  readonly timeoutMs?: number
}

type Members = Readonly<Record<string, unknown>>

const maxRank = 16
// What a timer holds; the server's own bound is far below.
const maxTimeoutMs = 2 ** 31 - 1

/**
 * Reads an inference request (Open Inference Protocol v2, with the binary tensor data extension).
 * @throws FMG_ERR_INPUT_INVALID naming the member.
 */
export function readInferRequest ({ json, binary }: InferBody): InferRequest {
  const request = members(json, 'the body')
  const parameters = optionalMembers(request['parameters'], 'parameters')
  const cursor = { rest: binary }
  const inputs: Record<string, Tensor> = Object.create(null) as Record<string, Tensor>
  for (const [index, input] of list(request['inputs'], 'inputs').entries()) {
    const [name, tensor] = readInput(members(input, `inputs[${index}]`), `inputs[${index}]`, cursor)
    if (name in inputs) throw invalid(`inputs[${index}].name repeats an earlier input`)
    inputs[name] = tensor
  }
  if (cursor.rest.byteLength > 0) throw invalid(`${cursor.rest.byteLength} bytes of binary data belong to no input`)
  const binaryOutputs = parameters['binary_data_output'] === true
  return {
    id: request['id'] === undefined ? undefined : text(request['id'], 'id'),
    inputs,
    outputs: request['outputs'] === undefined ? null : readOutputs(request['outputs'], binaryOutputs),
    binaryOutputs,
    timeoutMs: readTimeout(parameters['timeout'])
  }
}

/** Triton's request parameter `timeout`, in microseconds; 0 is none. */
function readTimeout (value: unknown): number | undefined {
  if (value === undefined || value === 0) return undefined
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw invalid('parameters.timeout must be a whole number of microseconds')
  return Math.min(maxTimeoutMs, Math.ceil(value / 1000))
}

interface Cursor {
  rest: Uint8Array
}

function readInput (input: Members, place: string, cursor: Cursor): [name: string, tensor: Tensor] {
  const name = text(input['name'], `${place}.name`)
  const datatype = input['datatype']
  if (!isDatatype(datatype)) throw invalid(`${place}.datatype is not a datatype of the protocol`)
  const shape = readShape(input['shape'], `${place}.shape`)
  const size = optionalMembers(input['parameters'], `${place}.parameters`)['binary_data_size']
  if (size === undefined) return [name, readJsonData(datatype, shape, input['data'], `${place}.data`)]
  if (input['data'] !== undefined) throw invalid(`${place} has both data and binary_data_size`)
  return [name, readBinaryData(datatype, shape, take(cursor, size, place), place)]
}

function readShape (value: unknown, place: string): readonly number[] {
  const shape = list(value, place)
  if (shape.length > maxRank || !shape.every((size) => typeof size === 'number' && Number.isSafeInteger(size) && size >= 0)) {
    throw invalid(`${place} must be at most ${maxRank} whole numbers`)
  }
  return shape as readonly number[]
}

function count (shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

function readJsonData (datatype: Datatype, shape: readonly number[], data: unknown, place: string): Tensor {
  // The protocol allows rows as lists of their own; their order is the same.
  const values: unknown[] = list(data, place).flat(maxRank)
  if (values.length !== count(shape)) throw invalid(`${place} has ${values.length} elements, the shape says ${count(shape)}`)
  if (datatype === 'BYTES') {
    if (!values.every((value) => typeof value === 'string')) throw invalid(`${place} must be strings`)
    return { datatype, shape, data: values }
  }
  const element = elements[datatype]
  if (element === undefined) throw invalid(`${place}: ${datatype} travels as binary data only`)
  const bytes = element.fromJson(values)
  if (bytes === null) throw invalid(`${place} has an element that is not ${datatype}`)
  return { datatype, shape, data: bytes }
}

function readBinaryData (datatype: Datatype, shape: readonly number[], bytes: Uint8Array, place: string): Tensor {
  if (datatype === 'BYTES') {
    const strings = decodeStrings(bytes)
    if (strings?.length !== count(shape)) throw invalid(`${place}: the binary data is not ${count(shape)} strings`)
    return { datatype, shape, data: strings }
  }
  const size = elements[datatype]?.size ?? 2
  if (bytes.byteLength !== count(shape) * size) {
    throw invalid(`${place}: ${bytes.byteLength} bytes of binary data, the shape says ${count(shape) * size}`)
  }
  return { datatype, shape, data: bytes }
}

function take (cursor: Cursor, size: unknown, place: string): Uint8Array {
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > cursor.rest.byteLength) {
    throw invalid(`${place}.parameters.binary_data_size is more than the body holds`)
  }
  const bytes = cursor.rest.subarray(0, size)
  cursor.rest = cursor.rest.subarray(size)
  return bytes
}

function readOutputs (value: unknown, binaryByDefault: boolean): readonly RequestedOutput[] {
  const names = new Set<string>()
  return list(value, 'outputs').map((output, index) => {
    const place = `outputs[${index}]`
    const requested = members(output, place)
    const name = text(requested['name'], `${place}.name`)
    // Each would be written out anew: a small request must not make a huge answer.
    if (names.has(name)) throw invalid(`${place}.name repeats an earlier output`)
    names.add(name)
    const binary = optionalMembers(requested['parameters'], `${place}.parameters`)['binary_data']
    return { name, binary: binary === undefined ? binaryByDefault : binary === true }
  })
}

function list (value: unknown, place: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`${place} must be a list`)
  return value
}

function members (value: unknown, place: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${place} must be an object`)
  return value as Members
}

function optionalMembers (value: unknown, place: string): Members {
  return value === undefined ? {} : members(value, place)
}

function text (value: unknown, place: string): string {
  if (typeof value !== 'string') throw invalid(`${place} must be a string`)
  return value
}

function invalid (detail: string): Error {
  return guardError('FMG_ERR_INPUT_INVALID', { detail, reason: 'input-malformed' })
}
