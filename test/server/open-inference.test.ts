import { readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { exampleImage, exampleModel, type ExampleImage } from '../../src/server/example-model.ts'
import { startServer } from '../helpers/server.ts'

const images = await Promise.all(readdirSync(path.join(exampleModel, 'images')).map((_, index) => exampleImage(index)))

interface Output {
  readonly name: string
  readonly datatype: string
  readonly shape: readonly number[]
  readonly data?: readonly number[]
  readonly parameters?: { readonly binary_data_size: number }
}

interface Answer {
  readonly id?: string
  readonly model_name: string
  readonly model_version: string
  readonly outputs: readonly Output[]
}

t.test('the reference server', async (t) => {
  const { url, keys, app } = await startServer(t)
  const headers = { 'x-api-key': keys.analyst }
  const infer = async (body: string | Uint8Array<ArrayBuffer>, more: Record<string, string> = {}, target = 'digits'): Promise<Response> =>
    await fetch(`${url}/v2/models/${target}/infer`, { method: 'POST', headers: { ...headers, ...more }, body })
  const json = { 'content-type': 'application/json' }

  t.test('answers all 20 test images with their labels, in JSON', async (t) => {
    t.equal(images.length, 20)
    for (const { label, request } of images) {
      const response = await infer(JSON.stringify({ id: `image of ${label}`, ...request }), json)
      t.equal(response.status, 200)
      t.match(response.headers.get('content-type'), 'application/json')
      const answer = await response.json() as Answer
      t.match(answer, { id: `image of ${label}`, model_name: 'digits', model_version: '1.0.0' })
      t.same(answer.outputs.find(({ name }) => name === 'label'), { name: 'label', datatype: 'INT64', shape: [1], data: [label] })
      t.same(answer.outputs.find(({ name }) => name === 'probabilities')?.shape, [1, 10])
    }
  })

  t.test('answers them in binary tensors, under any content type or none', async (t) => {
    for (const [index, image] of images.entries()) {
      const { body, jsonLength } = binaryRequest([image])
      const type: Record<string, string> = index % 2 === 0 ? { 'content-type': 'application/octet-stream' } : index % 3 === 0 ? json : {}
      const response = await infer(body, { 'inference-header-content-length': String(jsonLength), ...type })
      t.equal(response.status, 200)
      t.equal(response.headers.get('content-type'), 'application/octet-stream')
      t.equal(labelsOf(await response.arrayBuffer(), response)[0], BigInt(image.label))
    }
  })

  t.test('takes a batch, and gives the outputs that were asked for', async (t) => {
    const { body, jsonLength } = binaryRequest(images, { outputs: [{ name: 'label' }] })
    const response = await infer(body, { 'inference-header-content-length': String(jsonLength) })
    const { outputs } = await response.json() as Answer
    t.same(outputs, [{ name: 'label', datatype: 'INT64', shape: [20], data: images.map(({ label }) => label) }])
  })

  t.test('refuses what is not a request of this model, naming the place', async (t) => {
    const input = images[0]?.request.inputs[0]
    const good = { inputs: [input] }
    const cases: [unknown, RegExp, Record<string, string>?][] = [
      ['{', /JSON part does not parse/],
      ['', /JSON part does not parse/],
      ['{"inputs":[],"__proto__":{}}', /JSON part does not parse/],
      [[], /the body must be an object/],
      [{}, /inputs must be a list/],
      [{ inputs: [1] }, /inputs\[0\] must be an object/],
      [{ inputs: [] }, /"image" is missing/],
      [{ inputs: [input, input] }, /inputs\[1\]\.name repeats/],
      [{ inputs: [{ ...input, name: 'other' }] }, /"image" is missing/],
      [{ inputs: [{ ...input, name: 7 }] }, /inputs\[0\]\.name must be a string/],
      [{ inputs: [{ ...input, datatype: 'FP99' }] }, /inputs\[0\]\.datatype/],
      [{ inputs: [{ ...input, datatype: 'FP16' }] }, /FP16 travels as binary data only/],
      [{ inputs: [{ ...input, datatype: 'INT32' }] }, /"image" must be FP32/],
      [{ inputs: [{ ...input, shape: [1, -64] }] }, /inputs\[0\]\.shape must be/],
      [{ inputs: [{ ...input, shape: [2, 64] }] }, /has 64 elements, the shape says 128/],
      [{ inputs: [{ ...input, shape: [64, 1] }] }, /"image" must have the shape \[-1,64\]/],
      [{ inputs: [{ ...input, data: Array(64).fill('x') }] }, /an element that is not FP32/],
      [{ inputs: [{ ...input, data: undefined }] }, /inputs\[0\]\.data must be a list/],
      [{ inputs: [{ ...input, parameters: { binary_data_size: 8 } }] }, /both data and binary_data_size/],
      [{ inputs: [{ ...input, data: undefined, parameters: { binary_data_size: 8 } }] }, /more than the body holds/],
      [{ inputs: [{ ...input, data: undefined, parameters: { binary_data_size: 0 } }] }, /0 bytes of binary data, the shape says 256/],
      [{ ...good, parameters: 1 }, /parameters must be an object/],
      [{ ...good, id: 1 }, /id must be a string/],
      [{ ...good, outputs: [{ name: 'none' }] }, /the model has no output "none"/],
      [{ ...good, outputs: {} }, /outputs must be a list/],
      [{ ...good, outputs: [{ name: 'label' }, { name: 'probabilities' }, { name: 'label' }] }, /outputs\[2\]\.name repeats an earlier output/],
      [good, /inference-header-content-length is more than the body/, { 'inference-header-content-length': '99999' }],
      [good, /inference-header-content-length is more than the body/, { 'inference-header-content-length': '-1' }]
    ]
    for (const [body, message, more] of cases) {
      const response = await infer(typeof body === 'string' ? body : JSON.stringify(body), { ...json, ...more })
      t.equal(response.status, 400, String(message))
      t.match(await response.json(), { code: 'FMG_ERR_INPUT_INVALID', error: message })
    }
    const surplus = `${JSON.stringify(good)}surplus`
    const response = await infer(surplus, { 'inference-header-content-length': String(surplus.length - 7) })
    t.match(await response.json(), { error: /7 bytes of binary data belong to no input/ })
  })

  t.test('describes itself and its model', async (t) => {
    const get = async (path: string): Promise<unknown> => await (await fetch(`${url}${path}`, { headers })).json()
    t.match(await get('/v2'), { name: 'fastify-model-guard', version: /^\d+\.\d+\.\d+$/, extensions: ['binary_tensor_data'] })
    const described = {
      name: 'digits',
      versions: ['1.0.0'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'image', datatype: 'FP32', shape: [-1, 64] }],
      outputs: [{ name: 'label', datatype: 'INT64', shape: [-1] }, { name: 'probabilities', datatype: 'FP32', shape: [-1, 10] }]
    }
    t.same(await get('/v2/models/digits'), described)
    t.same(await get('/v2/models/digits/versions/1.0.0'), described)
    t.same(await get('/v2/models/digits/ready'), { name: 'digits', ready: true })
    t.same(await get('/v2/health/live'), { live: true })
    t.same(await get('/v2/health/ready'), { ready: true })
  })

  t.test('a model whose thread is gone is not ready, and the server neither', async (t) => {
    const [handle] = app.models.list()
    if (handle === undefined) throw new Error('there is no model')
    const gone = { ...handle, ready: false }
    Object.assign(app.models, { find: () => gone, list: () => [gone] })
    for (const [path, body] of [['/v2/health/ready', { ready: false }], ['/v2/models/digits/ready', { name: 'digits', ready: false }]] as const) {
      const response = await fetch(`${url}${path}`, { headers })
      t.equal(response.status, 503)
      t.equal(response.headers.get('retry-after'), '1')
      t.same(await response.json(), body)
    }
    for (const name of ['find', 'list']) Reflect.deleteProperty(app.models, name)
    t.same(await (await fetch(`${url}/v2/health/ready`)).json(), { ready: true })
  })

  t.test('an unknown model or version is 403 to whom the policy does not allow it, 404 to whom it does', async (t) => {
    for (const path of ['/v2/models/none', '/v2/models/digits/versions/2', '/v2/models/__proto__']) {
      t.equal((await fetch(`${url}${path}`, { headers })).status, 403)
      const response = await fetch(`${url}${path}`, { headers: { 'x-api-key': keys.admin } })
      t.equal(response.status, 404)
      t.match(await response.json(), { code: 'FMG_ERR_MODEL_UNKNOWN' })
    }
  })

  t.test('the list of keys is the administrator\'s, and holds nothing secret', async (t) => {
    t.equal((await fetch(`${url}/admin/keys`, { headers })).status, 403)
    const response = await fetch(`${url}/admin/keys`, { headers: { 'x-api-key': keys.admin } })
    const text = await response.text()
    t.match(JSON.parse(text), { keys: [{ id: 'admin', state: 'good', roles: ['admin'] }, { id: 'analyst', state: 'good', roles: ['analyst'] }] })
    t.notMatch(text, /digest/)
  })

  t.test('only health is open to strangers', async (t) => {
    for (const path of ['/v2', '/v2/models/digits', '/v2/models/digits/infer', '/admin/keys', '/none', '/v2/models/none']) {
      const response = await fetch(`${url}${path}`, { method: path.endsWith('infer') ? 'POST' : 'GET' })
      t.equal(response.status, 401, path)
      t.match(response.headers.get('www-authenticate'), /^Bearer realm=/)
      t.equal(response.headers.get('cache-control'), 'no-store')
    }
  })
})

/** A request whose tensors follow the JSON as raw bytes. */
function binaryRequest (images: readonly ExampleImage[], more: object = { parameters: { binary_data_output: true } }): { body: Uint8Array<ArrayBuffer>, jsonLength: number } {
  const pixels = new Float32Array(images.flatMap(({ request }) => request.inputs[0]?.data ?? []))
  const head = Buffer.from(JSON.stringify({
    inputs: [{ name: 'image', shape: [images.length, 64], datatype: 'FP32', parameters: { binary_data_size: pixels.byteLength } }], ...more
  }))
  return { body: new Uint8Array(Buffer.concat([head, Buffer.from(pixels.buffer)])), jsonLength: head.byteLength }
}

/** The labels in a binary answer. */
function labelsOf (body: ArrayBuffer, response: Response): BigInt64Array {
  const jsonLength = Number(response.headers.get('inference-header-content-length'))
  const { outputs } = JSON.parse(Buffer.from(body).toString('utf8', 0, jsonLength)) as Answer
  let offset = jsonLength
  for (const { name, parameters } of outputs) {
    const size = parameters?.binary_data_size ?? 0
    if (name === 'label') return new BigInt64Array(body.slice(offset, offset + size))
    offset += size
  }
  throw new Error('there is no label')
}
