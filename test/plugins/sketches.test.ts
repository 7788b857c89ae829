import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { sketcher } from '../../src/audit/watch/sketch.ts'
import type { ModelHandle } from '../../src/plugins/model-handle.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { modelFor } from '../../src/plugins/request-work.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { recording } from '../../src/plugins/recording.ts'
import { asPrincipal } from '../../src/testing.ts'
import type { Tensor } from '../../src/model/tensor.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'
import { readSketch } from '../../src/audit/watch/sketch-text.ts'

const secret = Buffer.alloc(32, 3)
const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
const tensor = (rows: number): Record<string, Tensor> => ({ x: { datatype: 'FP32', shape: [rows, 16], data: new Uint8Array(Float32Array.from({ length: rows * 16 }, (_, index) => index % 7).buffer) } })

function handleOf (first: number | null): ModelHandle {
  return { id: 'acme-m', version: '1', digest: 'sha256:1', attributes: {}, inputs: [{ name: 'x', datatype: 'FP32', shape: [first, 16] }], outputs: [], ready: true, waitMs: 0, runMs: 0, run: async () => ({ outputs: {}, computeMs: 1 }) }
}

async function appWith (t: Test, sketches: { secret: Uint8Array } | undefined): Promise<{ app: FastifyInstance, records: () => Record<string, unknown>[] }> {
  const folder = t.testdir()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ audit: { ...await auditIn(folder), ...sketches !== undefined && { sketches } } }))
  const access = { action: 'predict', resource: model(param('model'), { attributes: () => ({ org: 'acme' }) }) }
  app.post('/own/:model', { config: { access } }, async (request) => {
    request.audit?.sketch('acme-m', tensor(1))
    return 'x'
  })
  app.post('/twice/:model', { config: { access } }, async (request) => {
    request.audit?.sketch('acme-m', tensor(1))
    return { given: request.audit?.sketch('acme-m', { x: { datatype: 'FP32', shape: [1], data: new Uint8Array(4) } }) }
  })
  for (const [path, handle] of [['/single/:model', handleOf(1)], ['/batch/:model', handleOf(null)]] as const) {
    app.post(path, { config: { access } }, async (request) => await modelFor(request, handle).run(tensor(path === '/single/:model' ? 1 : 3)))
  }
  app.post('/misnamed/:model', { config: { access } }, async (request) => await modelFor(request, handleOf(null)).run({ y: { datatype: 'FP32', shape: [0, 16], data: new Uint8Array(64) } }))
  return { app, records: () => recordsIn(folder).filter(({ action }) => action === 'predict') }
}

t.test('the record holds the sketch of what the model was asked, whoever runs it', async (t) => {
  const { app, records } = await appWith(t, { secret })
  for (const path of ['own', 'single', 'batch', 'twice', 'misnamed']) t.equal((await app.inject({ method: 'POST', url: `/${path}/acme-m`, ...ann })).statusCode, 200)
  const sketch = sketcher({ secret })
  const [own, single, batch, twice, misnamed] = records().map((record) => record['sketch'])
  t.equal(own, sketch('acme-m', tensor(1)))
  t.equal(single, own)
  t.equal(batch, sketch('acme-m', tensor(3), 3))
  t.equal(readSketch(String(batch))?.rows, 3)
  t.equal(twice, own, 'what has no sketch does not take its place')
  t.match(misnamed, /^01/)
})

t.test('without the option none is taken', async (t) => {
  const { app, records } = await appWith(t, undefined)
  await app.inject({ method: 'POST', url: '/own/acme-m', ...ann })
  t.equal((await app.inject({ method: 'POST', url: '/single/acme-m', ...ann })).statusCode, 200)
  t.same(records().map((record) => 'sketch' in record), [false, false])
})

t.test('facts name the address prefix by a digest that is the same in every month, for one principal alone', async (t) => {
  const folder = t.testdir()
  const app = Fastify({ trustProxy: true })
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ audit: await auditIn(folder) }))
  app.get('/known', { config: { access: 'authenticated' } }, async () => 'x')
  const ask = async (id: string, address: string): Promise<unknown> => await app.inject({ url: '/known', ...asPrincipal({ id, org: 'acme' }), remoteAddress: address })
  for (const address of ['192.0.2.1', '192.0.2.77', '198.51.100.1', '192.0.2.1']) await ask('ann', address)
  await ask('bob', '192.0.2.1')
  const facts = recordsIn(folder).filter(({ action }) => action === 'facts')
  const addresses = facts.map(({ detail }) => String(new Map(Object.entries(Object(detail) as object)).get('address')))
  t.equal(facts.length, 3, 'an address of the same prefix is no other')
  t.equal(new Set(addresses).size, 3)
  const { identities } = app[recording]
  t.equal(addresses[0], identities.principal('ann').lasting.digest('address', '192.0.2.0/24'))
  t.not(addresses[0], identities.principal('ann').digests.digest('address', '192.0.2.0/24'))
  t.notMatch(JSON.stringify(recordsIn(folder)), /192\.0\.2|198\.51/)
})

t.test('who listens is told of every record once it is in the log, and of none that is not', async (t) => {
  const folder = t.testdir()
  const { log, identities } = await auditIn(folder)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ audit: { log, identities } }))
  app.get('/known', { config: { access: 'authenticated' } }, async () => 'x')
  const told: unknown[] = []
  app[recording].whenRecorded(({ action }, seq) => { told.push([seq, action]) })
  await app.inject({ url: '/known', ...ann })
  t.same(told, [[0, 'facts'], [1, 'get /known']])
  t.equal(app[recording].log.size, 2)
  await log.close()
  t.equal((await app.inject({ url: '/known', ...ann })).statusCode, 503)
  t.equal(told.length, 2)
})
