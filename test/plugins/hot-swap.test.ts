import { Agent, request as ask } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { guardOptions } from '../helpers/guard.ts'
import { residentBytes } from '../helpers/memory.ts'
import { trust } from '../helpers/models.ts'
import { floats } from '../helpers/onnx.ts'
import { countingKey } from '../helpers/sealed-models.ts'
import { sealedVersion } from '../helpers/versions.ts'

const swaps = Number(process.env['SWAPS'] ?? 200)
const warmUp = 20
const callers = 2
const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })

interface Answer {
  readonly version: string
  readonly digest: string
  readonly y: readonly number[]
}

/** Versions 1 and 2 of a model, of which the first is loaded. */
async function server (t: Test): Promise<{ readonly app: FastifyInstance, readonly directories: readonly [string, string], readonly infer: () => Promise<Answer> }> {
  const folder = t.testdir()
  const key = countingKey('kek')
  const directories = [await sealedVersion(folder, key, 1), await sealedVersion(folder, key, 2)] as const
  const app = Fastify()
  const agent = new Agent({ keepAlive: true })
  t.teardown(async () => {
    agent.destroy()
    await app.close()
  })
  await app.register(modelGuard, guardOptions({ authenticate: { authenticators: [testAuthenticator()], edge: { max: 2 ** 31 - 1 } }, models: { models: { fraud: { directory: directories[0] } }, keys: [key], trust, threads: 1 } }))
  app.post('/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async ({ model }) => {
    const answer = await model?.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(1, 2, 3) } })
    const data = answer?.outputs['y']?.data
    return { version: model?.version, digest: model?.digest, y: data instanceof Uint8Array ? [...new Float32Array(data.slice().buffer)] : null }
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const infer = async (): Promise<Answer> => await new Promise((resolve, reject) => {
    ask({ port, agent, method: 'POST', path: '/fraud', headers: { ...ann.headers } }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).once('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text) as Answer)
        else reject(new Error(`status ${String(response.statusCode)}: ${text}`))
      })
    }).once('error', reject).end()
  })
  return { app, directories, infer }
}

t.test(`${swaps} hot swaps under load: no request fails, each is answered by the version it was decided upon, and memory stays`, async (t) => {
  const { app, directories, infer } = await server(t)
  let current = 1
  const swap = async (): Promise<void> => {
    const [next, directory] = current === 1 ? [2, directories[1]] : [1, directories[0]]
    await app.models.load('fraud', directory)
    await app.models.promote('fraud', String(next))
    await (await app.models.unload('fraud', String(current))).ended
    current = next
  }
  const state = { isDone: false, answers: 0 }
  const wrong: Answer[] = []
  const call = async (): Promise<void> => {
    while (!state.isDone) {
      const answer = await infer()
      state.answers++
      const added = Number(answer.version) * 100
      if (String(answer.y) !== String([1, 2, 3].map((x) => x + added))) wrong.push(answer)
    }
  }
  const calling = Promise.all(Array.from({ length: callers }, call))
  // An answer that fails is to end the test, not to be waited for.
  const failed = calling.then(() => undefined, (error: unknown) => error)
  for (let count = 0; count < warmUp; count++) await Promise.race([swap(), failed])
  const before = await residentBytes()
  for (let count = 0; count < swaps; count++) await Promise.race([swap(), failed])
  const after = await residentBytes()
  state.isDone = true
  t.equal(await failed, undefined)
  t.same(wrong, [])
  t.ok(state.answers > swaps, `${state.answers} answers`)
  t.equal(app.models.list().length, 1)
  t.comment(`resident memory ${Math.round(before / 1e6)} MB before, ${Math.round(after / 1e6)} MB after ${swaps} swaps, ${state.answers} answers`)
  t.ok(after < before * 1.1, `${after} bytes after ${before}`)
})
