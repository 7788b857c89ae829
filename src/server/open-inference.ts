import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import type { TensorMetadata } from '../model/tensor.ts'
import { clientSignal } from '../plugins/client-signal.ts'
import type { ModelHandle, VersionState } from '../plugins/model-handle.ts'
import type { Models } from '../plugins/loaded-models.ts'
import { model, param } from '../plugins/resource.ts'
import type { Cost } from '../plugins/route-rules.ts'
import { readInferRequest, type InferBody } from './infer-request.ts'
import { writeInferResponse } from './infer-response.ts'

const jsonLengthHeader = 'inference-header-content-length'

export interface OpenInferenceOptions {
  /** Of the server. */
  readonly name: string
  readonly version: string
  /** What a prediction costs. Default 1. */
  readonly cost?: Cost
}

/**
 * The Open Inference Protocol v2 over HTTP with the binary tensor data extension, so that KServe and Triton clients work against it.
 * Health is public, server metadata is for any principal, a model's routes are judged by the policy (`read`, `predict`).
 */
export async function openInference (app: FastifyInstance, { name, version, cost = 1 }: OpenInferenceOptions): Promise<void> {
  const versioned = model(param('model'), { version: param('version') })

  // A health probe leaves no record: it asks nothing of anyone.
  app.get('/v2/health/live', { config: { access: 'public', audit: 'none' } }, async () => ({ live: true }))
  app.get('/v2/health/ready', { config: { access: 'public', audit: 'none' } }, async (_request, reply) => {
    const ready = app.models.list().every(({ ready, state }) => ready || isAside(state))
    return await sendReadiness(reply, ready, { ready })
  })
  app.get('/v2', { config: { access: 'authenticated' } }, async () => ({ name, version, extensions: ['binary_tensor_data'] }))

  await app.register(async (scope) => {
    parseInferBodies(scope)
    for (const path of ['/v2/models/:model', '/v2/models/:model/versions/:version']) {
      scope.get(path, { config: { access: { action: 'read', resource: versioned } } }, async (request) => describe(handleOf(request), app.models))
      scope.get(`${path}/ready`, { config: { access: { action: 'read', resource: versioned } } }, async (request, reply) => {
        const { id, ready } = handleOf(request)
        return await sendReadiness(reply, ready, { name: id, ready })
      })
      scope.post(`${path}/infer`, { config: { access: { action: 'predict', resource: versioned }, cost } }, infer)
    }
  })
}

async function infer (request: FastifyRequest, reply: FastifyReply): Promise<string | Buffer> {
  const handle = handleOf(request)
  const inferRequest = readInferRequest(request.body as InferBody)
  const { outputs } = await handle.run(inferRequest.inputs, { signal: clientSignal(reply), timeoutMs: inferRequest.timeoutMs })
  const { body, jsonLength } = writeInferResponse(outputs, { modelName: handle.id, modelVersion: handle.version, request: inferRequest })
  if (jsonLength === undefined) return await reply.type('application/json').send(body)
  return await reply.type('application/octet-stream').header(jsonLengthHeader, jsonLength).send(body)
}

/** RFC 9110 section 10.2.3: a 503 says when to ask again. */
async function sendReadiness (reply: FastifyReply, ready: boolean, body: object): Promise<FastifyReply> {
  if (!ready) void reply.header('retry-after', '1')
  return await reply.code(ready ? 200 : 503).send(body)
}

/** Whether nobody is served it who does not name it. */
function isAside (state: VersionState): boolean {
  return state === 'previous' || state === 'loaded'
}

function describe ({ id, version, inputs, outputs }: ModelHandle, models: Models): object {
  const versions = models.list().filter((loaded) => loaded.id === id).map((loaded) => loaded.version)
  return { name: id, versions: [version, ...versions.filter((other) => other !== version)], platform: 'onnxruntime_onnx', inputs: inputs.map(describeTensor), outputs: outputs.map(describeTensor) }
}

/** The protocol writes a dimension of any size as -1. */
function describeTensor ({ name, datatype, shape }: TensorMetadata): object {
  return { name, datatype, shape: shape.map((size) => size ?? -1) }
}

/** The very handle that the policy judged; 404 only after it allowed. */
function handleOf (request: FastifyRequest): ModelHandle {
  if (request.model === null) throw guardError('FMG_ERR_MODEL_UNKNOWN', { reason: 'model-unknown' })
  return request.model
}

/** Clients send JSON, JSON with binary data behind it, and the latter under any content type or none. */
function parseInferBodies (scope: FastifyInstance): void {
  const parseJson = scope.getDefaultJsonParser('error', 'error')
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser(['application/json', '*'], { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer): Promise<InferBody> => {
    const jsonLength = jsonLengthOf(request, body)
    const json = await new Promise((resolve, reject) => {
      void parseJson(request, body.toString('utf8', 0, jsonLength), (error, value: unknown) => {
        if (error === null) resolve(value)
        else reject(guardError('FMG_ERR_INPUT_INVALID', { detail: 'the JSON part does not parse', reason: 'input-malformed', cause: error }))
      })
    })
    return { json, binary: body.subarray(jsonLength) }
  })
}

function jsonLengthOf (request: FastifyRequest, body: Buffer): number {
  const header = request.headers[jsonLengthHeader]
  if (header === undefined) return body.byteLength
  const length = typeof header === 'string' && /^\d{1,15}$/.test(header) ? Number(header) : Infinity
  if (length > body.byteLength) throw guardError('FMG_ERR_INPUT_INVALID', { detail: `${jsonLengthHeader} is more than the body`, reason: 'input-malformed' })
  return length
}
