import { Readable } from 'node:stream'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { openDataset } from '../../src/model/open-dataset.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { param, resource } from '../../src/plugins/resource.ts'
import { asPrincipal, type TestPrincipal } from '../../src/testing.ts'
import { datasetManifestOf, sealedDataset } from '../helpers/datasets.ts'
import { guardOptions, policy } from '../helpers/guard.ts'
import { trust } from '../helpers/models.ts'
import { countingKey } from '../helpers/sealed-models.ts'

const policyText = `
version: 1
roles:
  trainer: { permissions: [dataset:read] }
  analyst: { permissions: [model:read, model:predict] }
policies:
  - { name: not for everybody, effect: deny, resource: { type: dataset, sensitivity: high }, principal: { team: { ne: risk } } }
  - { name: models are none, effect: allow, resource: { type: model }, action: read }
`

/** A server that gives the files of sealed datasets to whom the policy lets read them. */
async function serving (t: Test): Promise<FastifyInstance & { reached: number }> {
  const folder = t.testdir()
  const key = countingKey('k')
  const opened = new Map(await Promise.all(['payments', 'weather'].map(async (name) => {
    const manifest = datasetManifestOf({ name, sensitivity: name === 'payments' ? 'high' : 'low' })
    const directory = await sealedDataset(path.join(folder, name), [key], { 'dataset.json': manifest, 'train/a.csv': `rows of ${name}` })
    return [name, await openDataset({ directory, keys: [key], trust, expectName: name })] as const
  })))
  const app = Object.assign<FastifyInstance, { reached: number }>(Fastify(), { reached: 0 })
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ authorize: { policy: policy(policyText) } }))
  const dataset = resource('dataset', param('dataset'), {
    org: (_request, id) => opened.get(id)?.manifest.org,
    attributes: (_request, id) => opened.get(id)?.manifest
  })
  app.get<{ Params: { dataset: string, '*': string } }>('/datasets/:dataset/*', { config: { access: { action: 'read', resource: dataset } } }, async ({ params }, reply) => {
    app.reached++
    return await reply.send(Readable.from(opened.get(params.dataset)?.read(params['*']) ?? []))
  })
  return app
}

t.test('a policy says who may read which dataset, by what its signed manifest says', async (t) => {
  const app = await serving(t)
  const get = async (name: string, principal: Partial<TestPrincipal>): Promise<readonly [number, string]> => {
    const { statusCode, body } = await app.inject({ url: `/datasets/${name}/train/a.csv`, ...asPrincipal({ id: 'ann', org: 'acme', ...principal }) })
    return [statusCode, body]
  }
  t.same(await get('weather', { roles: ['trainer'] }), [200, 'rows of weather'])
  t.same(await get('payments', { roles: ['trainer'], team: 'risk' }), [200, 'rows of payments'])
  t.equal(app.reached, 2)
  const refused: readonly (readonly [title: string, name: string, principal: Partial<TestPrincipal>])[] = [
    ['another team, where it is sensitive', 'payments', { roles: ['trainer'], team: 'web' }],
    ['another org', 'weather', { roles: ['trainer'], org: 'other' }],
    ['who may read models alone', 'weather', { roles: ['analyst'] }],
    ['who has no role', 'weather', {}],
    ['a dataset that there is none of', 'other', { roles: ['trainer'] }]
  ]
  for (const [title, name, principal] of refused) {
    const [status, body] = await get(name, principal)
    t.equal(status, 403, title)
    t.match(JSON.parse(body), { code: 'FMG_ERR_ACCESS_DENIED' }, title)
  }
  t.equal((await app.inject('/datasets/weather/train/a.csv')).statusCode, 401)
  t.equal(app.reached, 2, 'the handler did not run')
})
