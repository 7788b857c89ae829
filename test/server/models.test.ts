import { rename } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { defaultConfig } from '../../src/server/config.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'
import { recordsIn } from '../helpers/guard.ts'
import { addVersion } from '../helpers/model-versions.ts'
import { writeFiles } from '../helpers/models.ts'
import { startServer } from '../helpers/server.ts'

type Ask = (method: string, url: string, payload?: unknown, headers?: Readonly<Record<string, string>>) => Promise<{ readonly status: number, readonly body: unknown }>

function asker ({ url }: Pick<RunningServer, 'url'>, key: string): Ask {
  return async (method, route, payload, headers = { 'content-type': 'application/json' }) => {
    const response = await fetch(`${url}${route}`, { method, headers: { 'x-api-key': key, ...payload !== undefined && headers }, ...payload !== undefined && { body: typeof payload === 'string' ? payload : JSON.stringify(payload) } })
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) as unknown }
  }
}

const { request: image } = await exampleImage(7)
const infer = '/v2/models/digits/infer'
const why = { requestedBy: 'eve', reason: 'a better one' }

async function served (t: Test): Promise<Awaited<ReturnType<typeof startServer>> & { readonly admin: Ask, readonly analyst: Ask }> {
  const server = await startServer(t)
  for (const version of ['1.1.0', '1.2.0']) await addVersion(server.data, version)
  return { ...server, admin: asker(server, server.keys.admin), analyst: asker(server, server.keys.analyst) }
}

t.test('an admin loads, promotes, tries, rolls back and unloads versions, and every version answers for itself', async (t) => {
  const { admin, analyst, data, app } = await served(t)
  t.match((await admin('GET', '/admin/models')).body, { models: [{ model: 'digits', canary: null, versions: [{ version: '1.0.0', state: 'current', ready: true, memory: { plaintextBytes: 38_958, workerBytes: [Number] } }] }] })
  t.match(await admin('POST', '/admin/models/digits/versions', { folder: '1.1.0', ...why }), { status: 201, body: { model: 'digits', version: '1.1.0', state: 'loaded', digest: /^sha256:/ } })
  t.match(await analyst('POST', infer, image), { status: 200, body: { model_version: '1.0.0' } })
  t.match(await analyst('POST', '/v2/models/digits/versions/1.1.0/infer', image), { status: 200, body: { model_version: '1.1.0' } })
  t.match(await analyst('GET', '/v2/models/digits/versions/1.1.0'), { status: 200, body: { name: 'digits', versions: ['1.1.0', '1.0.0'] } })
  t.match(await analyst('GET', '/v2/models/digits/versions/1.1.0/ready'), { status: 200, body: { ready: true } })
  t.equal((await analyst('POST', '/v2/models/digits/versions/1.2.0/infer', image)).status, 403)
  t.match(await admin('POST', '/v2/models/digits/versions/1.2.0/infer', image), { status: 404, body: { code: 'FMG_ERR_MODEL_UNKNOWN' } })

  t.match(await admin('PUT', '/admin/models/digits/canary', { version: '1.1.0', roles: ['analyst'], ...why }), { status: 200, body: { canary: { version: '1.1.0', perMille: 0, roles: ['analyst'] } } })
  t.match(await analyst('POST', infer, image), { status: 200, body: { model_version: '1.1.0' } })
  t.match(await admin('POST', infer, image), { status: 200, body: { model_version: '1.0.0' } })
  t.match((await admin('GET', '/admin/models')).body, { models: [{ canary: { version: '1.1.0' }, versions: [{ state: 'current' }, { state: 'canary' }] }] })
  t.match(await admin('DELETE', '/admin/models/digits/canary?requestedBy=eve'), { status: 200, body: { canary: null } })
  t.match(await analyst('POST', infer, image), { status: 200, body: { model_version: '1.0.0' } })

  t.match(await admin('POST', '/admin/models/digits/promote', { version: '1.1.0', ...why }), { status: 200, body: { version: '1.1.0', state: 'current' } })
  t.match(await analyst('POST', infer, image), { status: 200, body: { model_version: '1.1.0' } })
  t.match(await admin('POST', '/admin/models/digits/rollback'), { status: 200, body: { version: '1.0.0' } })
  t.match(await analyst('POST', infer, image), { status: 200, body: { model_version: '1.0.0' } })
  t.match(await admin('POST', '/admin/models/digits/rollback', { reason: 'again' }), { status: 409, body: { code: 'FMG_ERR_MODEL_CONFLICT', error: /there is no previous version/ } })
  t.match(await admin('DELETE', '/admin/models/digits/versions/1.0.0'), { status: 409 })
  t.match(await admin('DELETE', '/admin/models/digits/versions/1.1.0'), { status: 202, body: { unloaded: true } })
  t.match(await admin('DELETE', '/admin/models/digits/versions/1.1.0'), { status: 404, body: { code: 'FMG_ERR_MODEL_UNKNOWN' } })
  t.same(app.models.list().map(({ version }) => version), ['1.0.0'])

  const records = recordsIn(data.root).filter(({ action }) => String(action).startsWith('model:'))
  t.match(records.map(({ action, model_version: version }) => [action, version]), [
    ['model:load', '1.0.0'], ['model:load', '1.1.0'], ['model:canary', '1.1.0'], ['model:canary', undefined], ['model:promote', '1.1.0'], ['model:rollback', '1.0.0'], ['model:unload', '1.1.0']
  ])
  t.match(records[1], { model_digest: /^sha256:/, detail: { requested_by: /^u_/, approved_by: /^u_/, reason_hash: /^hmac/ } })
  t.notMatch(JSON.stringify(records), /eve|better|"admin"/)
})

t.test('whom the policy does not allow it changes nothing, and learns nothing', async (t) => {
  const server = await served(t)
  const { app, analyst } = server
  for (const [ask, status] of [[analyst, 403], [asker(server, 'fmg_live_nobody'), 401]] as const) {
    for (const [method, route, payload] of [
      ['GET', '', undefined],
      ['POST', '/digits/versions', { folder: '1.1.0' }],
      ['POST', '/digits/promote', { version: '1.1.0' }],
      ['POST', '/digits/rollback', {}],
      ['PUT', '/digits/canary', { version: '1.1.0' }],
      ['DELETE', '/digits/canary', undefined],
      ['DELETE', '/digits/versions/1.0.0', undefined],
      ['POST', '/none/promote', { version: '1.1.0' }]
    ] as const) t.equal((await ask(method, `/admin/models${route}`, payload)).status, status, `${method} ${route}`)
  }
  t.same(app.models.list().map(({ version, state }) => [version, state]), [['1.0.0', 'current']])
})

t.test('what cannot be meant is refused, and what does not open is told by its code', async (t) => {
  const { admin, data, app } = await served(t)
  const wrong: readonly (readonly [method: string, route: string, payload: unknown, status: number, body: object])[] = [
    ['POST', '/digits/versions', { folder: '../../models/digits' }, 400, { code: 'FMG_ERR_REQUEST_INVALID' }],
    ['POST', '/digits/versions', { folder: '..' }, 400, { code: 'FMG_ERR_REQUEST_INVALID' }],
    ['POST', '/digits/versions', { folder: '.1.1.0' }, 400, { code: 'FMG_ERR_REQUEST_INVALID' }],
    ['POST', '/digits/versions', { folder: '/etc' }, 400, { code: 'FMG_ERR_REQUEST_INVALID' }],
    ['POST', '/..%2Fmodels/versions', { folder: 'digits' }, 400, { code: 'FMG_ERR_REQUEST_INVALID' }],
    ['POST', '/digits/versions', { folder: '1.1.0', directory: '/etc' }, 400, { error: /body\.directory is not an option/ }],
    ['POST', '/digits/versions', { folder: '1.1.0', approvedBy: 'bob' }, 400, { error: /body\.approvedBy is not an option/ }],
    ['POST', '/digits/versions', '{"folder":"1.1.0","folder":"1.2.0"}', 400, { error: /body must be an object/ }],
    ['POST', '/digits/versions', { folder: '9.9.9' }, 500, { code: 'FMG_ERR_BUNDLE_INVALID' }],
    ['POST', '/other/versions', { folder: '1.1.0' }, 500, { code: 'FMG_ERR_BUNDLE_INVALID' }],
    ['POST', '/digits/promote', {}, 400, { error: /body\.version/ }],
    ['POST', '/digits/promote', { version: '9' }, 404, { code: 'FMG_ERR_MODEL_UNKNOWN' }],
    ['POST', '/digits/rollback', { why: 1 }, 400, { error: /body\.why/ }],
    ['PUT', '/digits/canary', { version: '1.0.0', percent: 5 }, 400, { error: /body\.percent/ }],
    ['PUT', '/digits/canary', [], 400, { error: /body/ }],
    ['PUT', '/digits/canary', { version: '1.0.0' }, 409, { error: /it is the current one/ }],
    ['DELETE', '/digits/canary?requestdBy=x', undefined, 400, { error: /query\.requestdBy/ }],
    ['DELETE', '/digits/versions/1.0.0?x=1', undefined, 400, { error: /query\.x/ }]
  ]
  for (const [method, route, payload, status, body] of wrong) t.match(await admin(method, `/admin/models${route}`, payload), { status, body }, `${method} ${route} ${JSON.stringify(payload)}`)
  t.equal((await admin('POST', '/admin/models/digits/versions', 'folder=1.1.0', { 'content-type': 'application/x-www-form-urlencoded' })).status, 415)
  await rename(path.join(data.modelVersions, 'digits', '1.2.0', 'model.onnx.sealed'), path.join(data.modelVersions, 'digits', '1.2.0', 'model.json.sealed'))
  t.match(await admin('POST', '/admin/models/digits/versions', { folder: '1.2.0' }), { status: 500, body: { code: 'FMG_ERR_MODEL_TAMPERED' } })
  t.match(recordsIn(data.root).findLast(({ action }) => action === 'model:load'), { status: 'error', reason: /[a-z]/, model_id: 'digits' })
  t.same(app.models.list().map(({ version }) => version), ['1.0.0'])
  t.match(await admin('POST', infer, image), { status: 200, body: { model_version: '1.0.0' } })
})

t.test('what serves after a change serves after the next start, the canary and the way back too', async (t) => {
  const { admin, data, app, keys } = await served(t)
  for (const folder of ['1.1.0', '1.2.0']) t.equal((await admin('POST', '/admin/models/digits/versions', { folder })).status, 201)
  t.equal((await admin('POST', '/admin/models/digits/promote', { version: '1.1.0' })).status, 200)
  t.equal((await admin('PUT', '/admin/models/digits/canary', { version: '1.2.0', perMille: 1000 })).status, 200)
  const before = app.models.list().map(({ version, state, digest }) => [version, state, digest])
  t.match(before, [['1.1.0', 'current'], ['1.0.0', 'previous'], ['1.2.0', 'canary']])
  await stopServer(app)
  const config = { ...defaultConfig, data: data.root, listen: { ...defaultConfig.listen, port: 0 } }
  const again = await runServer(config)
  t.same(again.app.models.list().map(({ version, state, digest }) => [version, state, digest]), before)
  t.match(await asker(again, keys.analyst)('POST', infer, image), { status: 200, body: { model_version: '1.2.0' } })
  t.match(await asker(again, keys.admin)('POST', '/admin/models/digits/rollback'), { status: 200, body: { version: '1.0.0' } })
  await stopServer(again.app)
  await writeFiles(data.root, { 'model-versions.json': '{"digits":{"directory":"../elsewhere","previous":[],"beside":[]}}' })
  await t.rejects(runServer(config), { code: 'FMG_ERR_OPTION_INVALID', message: /model-versions\.json\.digits\.directory/ })
})

t.test('attack: an older version, genuine in all, is made to serve by command, by the book, or by a canary', async (t) => {
  const { admin, data, app } = await served(t)
  for (const folder of ['1.1.0', '1.2.0']) t.equal((await admin('POST', '/admin/models/digits/versions', { folder })).status, 201)
  t.equal((await admin('POST', '/admin/models/digits/promote', { version: '1.2.0' })).status, 200)
  const old = { status: 500, body: { code: 'FMG_ERR_MODEL_ROLLBACK' } }
  t.match(await admin('POST', '/admin/models/digits/promote', { version: '1.1.0' }), old)
  t.equal((await admin('DELETE', '/admin/models/digits/versions/1.1.0')).status, 202)
  t.match(await admin('POST', '/admin/models/digits/versions', { folder: '1.1.0' }), old)
  t.same(app.models.list().map(({ version }) => version), ['1.2.0', '1.0.0'])
  await stopServer(app)

  const config = { ...defaultConfig, data: data.root, listen: { ...defaultConfig.listen, port: 0 } }
  const start = async (book: object): Promise<readonly (readonly string[])[]> => {
    await writeFiles(data.root, { 'model-versions.json': JSON.stringify({ digits: { previous: [], beside: [], ...book } }) })
    const { app } = await runServer(config)
    const loaded = app.models.list().map(({ version, state }) => [version, state])
    await stopServer(app)
    return loaded
  }
  const [older, newer] = ['model-versions/digits/1.1.0', 'model-versions/digits/1.2.0']
  await t.rejects(start({ directory: older }), { code: 'FMG_ERR_MODEL_ROLLBACK' })
  t.same(await start({ directory: newer, beside: [older], canary: { version: '1.1.0', perMille: 1000, principals: [], roles: [] } }), [['1.2.0', 'current']])
  t.same(await start({ directory: newer, beside: [older] }), [['1.2.0', 'current'], ['1.1.0', 'loaded']], 'who names it gets it')
  t.same(await start({ directory: newer, previous: [older], canary: { version: '1.1.0', perMille: 1000, principals: [], roles: [] } }), [['1.2.0', 'current']])
  await t.rejects(start({ directory: newer, canary: { version: '1.1.0', perMille: 1000, principals: [], roles: [] } }), { code: 'FMG_ERR_MODEL_UNKNOWN' })
})

t.test('requests that run together get their own answers', async (t) => {
  const { url, keys, data } = await startServer(t, { models: { ...defaultConfig.models, workers: 2, batch: { digits: { maxRows: 8, maxDelayMs: 20 } } } })
  const ask = asker({ url }, keys.analyst)
  const images = await Promise.all(Array.from({ length: 20 }, (_, index) => exampleImage(index)))
  const answers = await Promise.all(images.map(async ({ request }) => await ask('POST', infer, request)))
  for (const [index, { label }] of images.entries()) t.match(answers[index], { status: 200, body: { outputs: [{ name: 'label', shape: [1], data: [label] }, { shape: [1, 10] }] } })
  t.match(await ask('POST', infer, { inputs: [{ ...image.inputs[0], shape: [1, 63] }] }), { status: 400, body: { code: 'FMG_ERR_INPUT_INVALID' } })
  const records = recordsIn(data.root).filter(({ action, status }) => action === 'predict' && status === 'success')
  t.ok(records.length === 20 && records.every(({ compute_ms: computeMs }) => Number(computeMs) > 0), 'each with its part of the time')
})
