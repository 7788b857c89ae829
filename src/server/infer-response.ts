import { guardError } from '../errors.ts'
import type { Tensor } from '../model/tensor.ts'
import { encodeStrings } from './bytes-elements.ts'
import { elements } from './element.ts'
import type { InferRequest, RequestedOutput } from './infer-request.ts'

/** What a prediction is an answer to. */
export interface Answered {
  readonly modelName: string
  readonly modelVersion: string
  readonly request: InferRequest
}

/** An inference response ready to be sent. */
export interface InferResponse {
  /** JSON, or JSON followed by binary tensor data. */
  readonly body: string | Buffer
  /** Length of the JSON part in bytes where binary data follows it, for `Inference-Header-Content-Length`. */
  readonly jsonLength?: number
}

/**
 * Writes an inference response (Open Inference Protocol v2, with the binary tensor data extension).
 * @throws FMG_ERR_INPUT_INVALID for an output that the model does not have, or that JSON cannot hold.
 */
export function writeInferResponse (outputs: Readonly<Record<string, Tensor>>, { modelName, modelVersion, request }: Answered): InferResponse {
  const wanted = request.outputs ?? Object.keys(outputs).map((name): RequestedOutput => ({ name, binary: request.binaryOutputs }))
  const blobs: Uint8Array[] = []
  const written = wanted.map(({ name, binary }) => {
    const tensor = Object.hasOwn(outputs, name) ? outputs[name] : undefined
    if (tensor === undefined) throw invalid(`the model has no output ${JSON.stringify(name)}`)
    const head = `{"name":${JSON.stringify(name)},"datatype":"${tensor.datatype}","shape":${JSON.stringify(tensor.shape)}`
    if (!binary) return `${head},"data":${jsonData(name, tensor)}}`
    const bytes = tensor.data instanceof Uint8Array ? tensor.data : encodeStrings(tensor.data)
    blobs.push(bytes)
    return `${head},"parameters":{"binary_data_size":${bytes.byteLength}}}`
  })
  const id = request.id === undefined ? '' : `"id":${JSON.stringify(request.id)},`
  const json = `{${id}"model_name":${JSON.stringify(modelName)},"model_version":${JSON.stringify(modelVersion)},"outputs":[${written.join(',')}]}`
  if (blobs.length === 0) return { body: json }
  const head = Buffer.from(json)
  return { body: Buffer.concat([head, ...blobs]), jsonLength: head.byteLength }
}

function jsonData (name: string, { datatype, data }: Tensor): string {
  if (!(data instanceof Uint8Array)) return JSON.stringify(data)
  const element = elements[datatype]
  if (element === undefined) throw invalid(`output ${JSON.stringify(name)} is ${datatype}, which travels as binary data only`)
  return element.toJson(data)
}

function invalid (detail: string): Error {
  return guardError('FMG_ERR_INPUT_INVALID', { detail, reason: 'output-unknown' })
}
