import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { Tensor } from '../../src/model/tensor.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardOptions } from '../helpers/guard.ts'
import { manifestOf, trust } from '../helpers/models.ts'
import { float32, floats, node, onnx, value, weights } from '../helpers/onnx.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
const x: Tensor = { datatype: 'FP32', shape: [1, 3], data: floats(0, 0, 0) }

type Handler = (request: FastifyRequest, reply: FastifyReply, app: FastifyInstance) => unknown

/** Adds and multiplies: outputs `sum` and `product`. */
function twoOutputs (): Buffer {
  return onnx({
    nodes: [node('Add', ['x', 'w'], ['sum']), node('Mul', ['x', 'w'], ['product'])],
    inputs: [value('x', ['rows', 3], float32)],
    outputs: [value('sum', ['rows', 3]), value('product', ['rows', 3])],
    initializers: [weights('w', [3], floats(1, 2, 3))]
  })
}

async function answering (t: Test, mask: readonly string[]): Promise<(handler: Handler) => Promise<{ readonly statusCode: number, readonly body: string }>> {
  const key = countingKey('wrapping')
  const directory = await sealedModel(`${t.testdir()}/fraud`, [key], { 'model.onnx': twoOutputs(), 'model.json': manifestOf() })
  const app = Fastify()
  t.teardown(() => app.close())
  const policy = { id: 'own', decide: () => ({ allowed: true, rule: 'own', reason: 'allowed', obligations: { mask } }) as const }
  await app.register(modelGuard, guardOptions({ authorize: { policy }, models: { models: { fraud: { directory } }, keys: [key], trust } }))
  let handle: Handler = () => null
  app.post('/models/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async (request, reply) => await handle(request, reply, app))
  return async (handler) => {
    handle = handler
    const { statusCode, body } = await app.inject({ method: 'POST', url: '/models/fraud', payload: {}, ...ann })
    return { statusCode, body }
  }
}

const masked: Handler = async ({ model }) => (await model?.run({ x }))?.outputs
const unmasked: Handler = async (_request, _reply, app) => (await app.models.find('fraud')?.run({ x }))?.outputs

t.test('a text, bytes or a stream leaves when it is made of what the masked model gave', async (t) => {
  const ask = await answering(t, ['product'])
  const given: Handler = async (...asked) => JSON.stringify(await masked(...asked))
  t.same(Object.keys(JSON.parse((await ask(given)).body) as object), ['sum'])
  t.equal((await ask(async (...asked) => Buffer.from(String(await given(...asked))))).statusCode, 200)
  t.equal((await ask(async (...asked) => Readable.from([await given(...asked)]))).statusCode, 200)
})

t.test('beside a masked model there is no way to what is masked', async (t) => {
  const ask = await answering(t, ['product'])
  t.same(Object.keys(JSON.parse((await ask(unmasked)).body) as object), ['sum'], 'as JSON it is masked')
  const text: Handler = async (...asked) => JSON.stringify(await unmasked(...asked))
  for (const way of [text, async (...asked) => Buffer.from(String(await text(...asked))), (...asked) => Readable.from([text(...asked)]), () => 'a text'] satisfies Handler[]) {
    t.match(await ask(way), { statusCode: 403, body: /access denied/ })
  }
  t.match(await ask(async (...asked) => { await masked(...asked); return await text(...asked) }), { statusCode: 403 })
})

t.test('members of the text around a model\'s outputs are found', async (t) => {
  const ask = await answering(t, ['outputs.product', 'model_name'])
  const text = (members: object): Handler => async (...asked) => { await masked(...asked); return JSON.stringify(members) }
  t.equal((await ask(text({ outputs: { product: 1 } }))).statusCode, 403)
  t.equal((await ask(text({ model_name: 'fraud' }))).statusCode, 403)
  t.equal((await ask(text({ outputs: { sum: 1 } }))).statusCode, 200)
})
