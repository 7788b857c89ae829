import { request as ask } from 'node:http'
import type { AddressInfo } from 'node:net'
import { rename } from 'node:fs/promises'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { keyHint } from '../../src/model/bundle.ts'
import type { LoadedModel } from '../../src/model/load-model.ts'
import type { ModelChange } from '../../src/plugins/loaded-models.ts'
import { recordModelChanges } from '../../src/plugins/model-changes.ts'
import { ModelRegistry } from '../../src/plugins/model-registry.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { models, type ModelsOptions } from '../../src/plugins/models.ts'
import { fixed, model, param } from '../../src/plugins/resource.ts'
import { VersionSet } from '../../src/plugins/version-set.ts'
import { asPrincipal, type TestPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'
import { trust } from '../helpers/models.ts'
import { floats } from '../helpers/onnx.ts'
import { countingKey } from '../helpers/sealed-models.ts'
import { sealedVersion } from '../helpers/versions.ts'

const ann: TestPrincipal = { id: 'ann', org: 'acme', roles: ['analyst'] }
const bob: TestPrincipal = { id: 'bob', org: 'acme', roles: ['analyst', 'tester'] }
const by = { requestedBy: 'eve', approvedBy: 'root', reason: 'a better one' }

interface Served {
  readonly app: FastifyInstance
  readonly folder: string
  /** Folders of the versions 1, 2, … */
  readonly versions: readonly string[]
  /** The version that answers, and what it adds. */
  readonly infer: (principal?: TestPrincipal, version?: string) => Promise<readonly [status: number, version?: string, added?: number]>
  readonly states: () => Readonly<Record<string, string>>
}

/** A server of the model `fraud`, whose version 1 is loaded. */
async function serve (t: Test, count: number, more: Partial<ModelsOptions> = {}, log = ''): Promise<Served> {
  const folder = t.testdir()
  const key = countingKey('kek')
  const versions: string[] = []
  for (let number = 1; number <= count; number++) versions.push(await sealedVersion(folder, key, number, { org: 'acme' }))
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({
    models: { models: { fraud: { directory: String(versions[0]) } }, keys: [key], trust, threads: 1, ...more },
    ...log !== '' && { audit: await auditIn(path.join(folder, log)) }
  }))
  for (const url of ['/:model', '/:model/:version']) {
    app.post(url, { config: { access: { action: 'predict', resource: model(param('model'), { version: param('version') }) } } }, async ({ model }) => {
      const answer = await model?.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(0, 0, 0) } })
      const data = answer?.outputs['y']?.data
      return { version: model?.version, added: data instanceof Uint8Array ? new Float32Array(data.slice().buffer)[0] : null }
    })
  }
  return {
    app,
    folder,
    versions,
    states: () => Object.fromEntries(app.models.list().map(({ version, state }) => [version, state])),
    async infer (principal = ann, version) {
      const response = await app.inject({ method: 'POST', url: `/fraud${version === undefined ? '' : `/${version}`}`, ...asPrincipal(principal) })
      const { version: answered, added } = response.json<{ version?: string, added?: number }>()
      return answered === undefined ? [response.statusCode] : [response.statusCode, answered, added]
    }
  }
}

/** A model of which only the name, the version and whether it has a worker are known. */
function loadedModel (name: string, version: string, ready: boolean, done: string[] = []): LoadedModel {
  return {
    manifest: { name, version, attributes: {} },
    statementDigest: 'sha256:',
    session: { ready, close: async () => { done.push(`close ${name} ${version}`) } }
  } as unknown as LoadedModel
}

t.test('a version is loaded beside the current one, promoted, and rolled back from', async (t) => {
  const { app, versions: [, second = ''], infer, states } = await serve(t, 2)
  t.same(await infer(), [200, '1', 100])
  t.same(await infer(ann, '2'), [403], 'nobody knows it yet')
  const handle = await app.models.load('fraud', second, by)
  t.match(handle, { id: 'fraud', version: '2', digest: /^sha256:/, ready: true, state: 'loaded', memory: { plaintextBytes: Number, workerBytes: [Number] } })
  t.same(await infer(), [200, '1', 100], 'nobody is served it who does not name it')
  t.same(await infer(ann, '2'), [200, '2', 200])
  t.equal(await app.models.promote('fraud', '2'), handle)
  t.same(await infer(), [200, '2', 200])
  t.same(await infer(ann, '1'), [200, '1', 100])
  t.same(states(), { 2: 'current', 1: 'previous' })
  t.same(app.models.list().map(({ version }) => version), ['2', '1'])
  t.equal((await app.models.rollback('fraud')).version, '1')
  t.same(await infer(), [200, '1', 100])
  t.same(states(), { 1: 'current', 2: 'loaded' })
  await t.rejects(app.models.rollback('fraud'), { code: 'FMG_ERR_MODEL_CONFLICT', statusCode: 409, reason: 'version-first' })
})

t.test('a version that fails to load leaves the others serving, and says why', async (t) => {
  const { app, folder, versions: [, second = ''], infer, states } = await serve(t, 2)
  const seen: ModelChange[] = []
  app.models.whenChanged(async (change) => { seen.push(change) })
  await rename(path.join(second, 'model.onnx.sealed'), path.join(second, 'model.sealed'))
  await t.rejects(app.models.load('fraud', second, by), { code: 'FMG_ERR_MODEL_TAMPERED' })
  await t.rejects(app.models.load('fraud', path.join(folder, 'none')), { code: 'FMG_ERR_BUNDLE_INVALID' })
  await t.rejects(app.models.load('another', path.join(folder, 'v1')), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'another-model' })
  t.match(seen, [{ kind: 'load', model: 'fraud', error: { code: 'FMG_ERR_MODEL_TAMPERED' }, by }, { error: Error, by: undefined }, { model: 'another' }])
  t.same(await infer(), [200, '1', 100])
  t.same(states(), { 1: 'current' })
  t.equal(app.models.find('another'), null)
})

t.test('a version whose graph or bill of materials is refused is not loaded, and what is only found is logged', async (t) => {
  const { app, versions: [, second = ''], states } = await serve(t, 2, { graph: { operators: ['Add'] }, bom: { gate: 'warn' } })
  const logged: unknown[] = []
  app.log.warn = (found: unknown) => { logged.push(found) }
  await app.models.load('fraud', second)
  t.match(logged, [{ model: 'fraud', version: '2', findings: [{ kind: 'missing' }] }])
  t.same(states(), { 1: 'current', 2: 'loaded' })
  for (const refusing of [{ graph: { operators: ['Mul'] } }, { bom: {} }, { maxModelBytes: 10 }]) await t.rejects(serve(t, 1, refusing), { code: 'FMG_ERR_MODEL_REFUSED' })
  await t.rejects(serve(t, 1, { bom: { gate: 'off' } as object }), { code: 'FMG_ERR_OPTION_INVALID', message: /models\.bom\.gate/ })
})

t.test('what was decided upon stays so when it is asked for again, another version is another model', async (t) => {
  const { app, versions: [, second = ''] } = await serve(t, 2)
  const versioned = model(param('model'), { version: param('version') })
  app.get('/again/:model/:version', { config: { access: { action: 'predict', resource: versioned } } }, async (request) => {
    const decided = request.model
    await app.models.load('fraud', second)
    await app.models.promote('fraud', '2')
    await app.models.unload('fraud', '1')
    versioned.resolve(request)
    const isKept = request.model === decided
    model(param('model'), { version: fixed('2') }).resolve(request)
    return { decided: decided?.version, isKept, other: request.model?.version }
  })
  t.same((await app.inject({ url: '/again/fraud/1', ...asPrincipal(ann) })).json(), { decided: '1', isKept: true, other: '2' })
})

t.test('what may not be changed is a conflict, and what is not loaded unknown', async (t) => {
  const { app, versions: [first = '', second = '', third = ''], states } = await serve(t, 3, { maxVersions: 2 })
  await t.rejects(app.models.load('fraud', first), { code: 'FMG_ERR_MODEL_CONFLICT', reason: 'version-loaded' })
  await app.models.load('fraud', second)
  await t.rejects(app.models.load('fraud', third), { code: 'FMG_ERR_MODEL_CONFLICT', reason: 'version-many' })
  await t.rejects(app.models.unload('fraud', '1'), { code: 'FMG_ERR_MODEL_CONFLICT', reason: 'version-current' })
  await t.rejects(app.models.setCanary('fraud', { version: '1' }), { code: 'FMG_ERR_MODEL_CONFLICT', reason: 'version-current' })
  await app.models.setCanary('fraud', { version: '2', perMille: 1 })
  await t.rejects(app.models.unload('fraud', '2'), { code: 'FMG_ERR_MODEL_CONFLICT', reason: 'version-canary' })
  const unknown = { code: 'FMG_ERR_MODEL_UNKNOWN', statusCode: 404 }
  await t.rejects(app.models.promote('fraud', '9'), unknown)
  await t.rejects(app.models.promote('none', '1'), unknown)
  await t.rejects(app.models.unload('fraud', '9'), unknown)
  await t.rejects(app.models.setCanary('fraud', { version: '9' }), unknown)
  await t.rejects(app.models.setCanary('fraud', { version: '' }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.throws(() => app.models.directoryOf('fraud', '9'), unknown)
  t.equal(app.models.directoryOf('fraud', '2'), second)
  t.same(states(), { 1: 'current', 2: 'canary' })
  t.same(app.models.canaryOf('fraud'), { version: '2', perMille: 1, principals: [], roles: [] })
  t.equal(app.models.canaryOf('none'), null)
})

t.test('a version without a worker is not promoted', async (t) => {
  const { app, versions: [, second = ''], states } = await serve(t, 2)
  const handle = await app.models.load('fraud', second)
  t.ok(handle.ready)
  await app.models.unload('fraud', '2').then(async ({ ended }) => { await ended })
  t.notOk(handle.ready)
  await t.rejects(handle.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(0, 0, 0) } }), { code: 'FMG_ERR_MODEL_BUSY', reason: 'closing' })
  const again = await app.models.load('fraud', second)
  t.same(states(), { 1: 'current', 2: 'loaded' })
  t.not(again, handle)
  const registry = new ModelRegistry({ open: async (id, version) => loadedModel(id, version, version === '1'), canaryKey: Buffer.alloc(16), maxVersions: 4 })
  await registry.load('fraud', '1')
  await registry.load('fraud', '2')
  await t.rejects(registry.promote('fraud', '2'), { code: 'FMG_ERR_MODEL_CONFLICT', reason: 'version-not-ready' })
  t.equal(registry.find('fraud')?.version, '1')
})

t.test('a model of which nothing is loaded has no version', async (t) => {
  const set = new VersionSet('fraud', Buffer.alloc(16))
  t.equal(set.find(undefined, null), null)
  t.equal(set.find('1', null), null)
  t.equal(set.previous, undefined)
  t.throws(() => { set.promote('1') }, { code: 'FMG_ERR_MODEL_UNKNOWN' })
})

t.test('what becomes of the workers is logged', async (t) => {
  const lines: Record<string, unknown>[] = []
  let tell = (): void => undefined
  const folder = t.testdir()
  const key = countingKey('kek')
  const directory = await sealedVersion(folder, key, 1)
  const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>); tell() } } } })
  t.teardown(() => app.close())
  await app.register(models, { models: { fraud: { directory } }, keys: [key], trust, threads: 1, maxWorkerRuns: 1 })
  const said = async (text: string): Promise<Record<string, unknown> | undefined> => {
    while (!lines.some(({ msg }) => msg === text)) await new Promise<void>((resolve) => { tell = resolve })
    return lines.find(({ msg }) => msg === text)
  }
  const run = async (): Promise<void> => { await app.models.find('fraud')?.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(0, 0, 0) } }) }
  await run()
  const fraud = { model: 'fraud', version: '1' }
  t.match(await said('a worker is worn'), { level: 40, ...fraud, runs: 1, memoryBytes: Number })
  t.match(await said('workers are replaced'), { level: 30, ...fraud, workers: 1 })
  await rename(directory, `${directory}.gone`)
  await run()
  t.match(await said('a worker cannot be replaced'), { level: 50, ...fraud, retryMs: 2000, err: { code: 'FMG_ERR_BUNDLE_INVALID' } })
})

t.test('one change comes after the other, and closing waits for them', async (t) => {
  const done: string[] = []
  const registry = new ModelRegistry({
    open: async (id, version) => {
      await new Promise(setImmediate)
      return loadedModel(id, version, true, done)
    },
    canaryKey: Buffer.alloc(16),
    maxVersions: 4
  })
  registry.whenChanged(async ({ kind, model, version }) => { done.push([kind, model, version].join(' ')) })
  const changes = [registry.load('fraud', '1'), registry.load('fraud', '2'), registry.promote('fraud', '2'), registry.unload('fraud', '1'), registry.load('digits', '1')]
  await registry.close()
  await Promise.all(changes)
  t.same(done.slice(0, 5).sort(), ['load digits 1', 'load fraud 1', 'load fraud 2', 'promote fraud 2', 'unload fraud 1'])
  t.same(done.filter((text) => text.includes('fraud')), ['load fraud 1', 'load fraud 2', 'promote fraud 2', 'unload fraud 1', 'close fraud 1', 'close fraud 2'])
})

/** Resolves when somebody asks for a model. */
async function nextDecision ({ models }: FastifyInstance): Promise<void> {
  await new Promise<void>((resolve) => {
    const find = models.find.bind(models)
    models.find = (...asked) => {
      resolve()
      return find(...asked)
    }
  })
}

t.test('a request is answered by the version that was decided upon, however late its body comes, and holds it until then', async (t) => {
  const { app, versions: [, second = ''], infer } = await serve(t, 2)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const decided = nextDecision(app)
  const late = ask({ port, method: 'POST', path: '/fraud', headers: { ...asPrincipal(ann).headers, 'content-type': 'application/json', 'content-length': '2' } })
  late.flushHeaders()
  await decided
  await app.models.load('fraud', second)
  await app.models.promote('fraud', '2')
  const { ended } = await app.models.unload('fraud', '1')
  let hasEnded = false
  void ended.then(() => { hasEnded = true })
  t.same(await infer(), [200, '2', 200])
  t.same(await infer(ann, '1'), [403])
  t.notOk(hasEnded)
  const answer = new Promise<string>((resolve) => {
    late.once('response', (response) => { response.setEncoding('utf8').once('data', resolve) })
  })
  late.end('{}')
  t.same(JSON.parse(await answer), { version: '1', added: 100 })
  await ended
})

t.test('a request whose client leaves holds its version no longer', async (t) => {
  const { app, versions: [, second = ''] } = await serve(t, 2)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const decided = nextDecision(app)
  const late = ask({ port, method: 'POST', path: '/fraud', headers: { ...asPrincipal(ann).headers, 'content-type': 'application/json', 'content-length': '2' } })
  late.on('error', () => undefined)
  late.flushHeaders()
  await decided
  await app.models.load('fraud', second)
  await app.models.promote('fraud', '2')
  const { ended } = await app.models.unload('fraud', '1')
  late.destroy()
  await ended
})

t.test('a canary serves those who are chosen, and its record says which version they got', async (t) => {
  const { app, folder, versions: [, second = ''], infer, states } = await serve(t, 2, {}, 'log')
  const { digest } = await app.models.load('fraud', second)
  await app.models.setCanary('fraud', { version: '2', roles: ['tester'] })
  for (let count = 0; count < 3; count++) t.same(await infer(bob), [200, '2', 200])
  t.same(await infer(), [200, '1', 100])
  t.same(await infer(bob, '1'), [200, '1', 100], 'who names a version gets it')
  t.equal(app.models.find('fraud')?.version, '1', 'nobody is not chosen')
  t.same(states(), { 1: 'current', 2: 'canary' })
  await app.models.setCanary('fraud', null)
  t.same(await infer(bob), [200, '1', 100])
  await app.models.setCanary('fraud', { version: '2', perMille: 1000 })
  t.same(await infer(), [200, '2', 200])
  await app.models.promote('fraud', '2')
  t.equal(app.models.canaryOf('fraud'), null, 'a canary that is promoted is none any more')
  await app.close()
  const records = recordsIn(path.join(folder, 'log')).filter(({ action }) => action === 'predict')
  t.same(records.map(({ model_version: version }) => version), ['2', '2', '2', '1', '1', '1', '2'])
  t.equal(records[0]?.['model_digest'], digest)
})

t.test('every change is recorded, by whom and why, and is not made where that fails', async (t) => {
  const { app, folder, versions: [, second = '', third = ''], infer, states } = await serve(t, 3)
  const audit = await auditIn(path.join(folder, 'changes'))
  recordModelChanges({ ...audit, models: app.models })
  await app.models.load('fraud', second, by)
  await app.models.setCanary('fraud', { version: '2', perMille: 5, principals: ['ann'], roles: ['tester'] }, by)
  await app.models.setCanary('fraud', null)
  await app.models.promote('fraud', '2', by)
  await app.models.promote('fraud', '2', by)
  await app.models.rollback('fraud', by)
  await t.rejects(app.models.load('fraud', path.join(folder, 'none'), by))
  await (await app.models.unload('fraud', '2', { requestedBy: 'eve', approvedBy: 'root' })).ended
  await audit.log.close()
  await t.rejects(app.models.load('fraud', second, by), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  t.same(states(), { 1: 'current' })
  app.models.whenChanged(async () => { throw new Error('no') })
  await t.rejects(app.models.load('fraud', third, by), Error)
  t.same(await infer(), [200, '1', 100])
  const records = recordsIn(path.join(folder, 'changes')).filter(({ action }) => String(action).startsWith('model:'))
  const who = { requested_by: /^u_/, approved_by: /^u_/, reason_hash: /^hmac-sha256:/ }
  t.match(records, [
    { action: 'model:load', status: 'success', reason: 'operator', model_id: 'fraud', model_version: '2', model_digest: /^sha256:/, detail: who },
    { action: 'model:canary', model_version: '2', detail: { ...who, canary: { per_mille: 5, principals: [/^u_/], roles: ['tester'] } } },
    { action: 'model:canary', detail: { canary: null } },
    { action: 'model:promote', model_version: '2', detail: { ...who, from: '1' } },
    { action: 'model:rollback', model_version: '1', detail: { ...who, from: '2' } },
    { action: 'model:load', status: 'error', reason: /^[a-z-]+$/, model_id: 'fraud', detail: who },
    { action: 'model:unload', model_version: '2', detail: { requested_by: /^u_/ } }
  ])
  t.equal(records.length, 7, 'what changes nothing is no change')
  t.notMatch(JSON.stringify(records), /ann|eve|root|better/)
})

t.test('the versions of a start are loaded in the order in which they served', async (t) => {
  const folder = t.testdir()
  const key = countingKey('kek')
  const folders: string[] = []
  for (const number of [1, 2, 3, 4]) folders.push(await sealedVersion(folder, key, number))
  const [first = '', second = '', third = '', fourth = ''] = folders
  const app = Fastify()
  t.teardown(() => app.close())
  const admitted: [string, string][] = []
  await app.register(modelGuard, guardOptions({
    models: {
      models: { fraud: { directory: third, previous: [first, second], beside: [fourth], canary: { version: '4', perMille: 10 }, batch: { maxRows: 4, maxDelayMs: 0 } } },
      keys: [key],
      trust,
      workers: 2,
      canaryKey: Buffer.alloc(16),
      admit: ({ version }, _signer, place) => { admitted.push([version, place]) }
    }
  }))
  t.same(app.models.list().map(({ version, state, memory }) => [version, state, memory.workerBytes.length]), [['3', 'current', 2], ['2', 'previous', 2], ['1', 'previous', 2], ['4', 'canary', 2]])
  t.same(admitted, [['3', 'serving'], ['1', 'aside'], ['2', 'aside'], ['4', 'serving']], 'a canary serves')
  t.equal((await app.models.rollback('fraud')).version, '2')
  t.equal((await app.models.rollback('fraud')).version, '1')
  const broken = Fastify()
  t.teardown(() => broken.close())
  await t.rejects(async () => { await broken.register(modelGuard, guardOptions({ models: { models: { fraud: { directory: first, beside: [path.join(folder, 'none')] } }, keys: [key], trust } })) }, { code: 'FMG_ERR_BUNDLE_INVALID' })
})

t.test('options are read strictly', async (t) => {
  const wrong: readonly Record<string, unknown>[] = [{ workers: 0 }, { maxVersions: 0 }, { canaryKey: Buffer.alloc(15) }, { maxWorkerBytes: 0 }, { models: { fraud: { directory: 'x', version: '1' } } }, { models: { fraud: { directory: 'x', batch: { maxRows: 1 } } } }]
  for (const more of wrong) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(modelGuard, guardOptions({ models: { models: {}, keys: [], trust, ...more } })) }, { code: 'FMG_ERR_OPTION_INVALID' }, JSON.stringify(more))
  }
})

t.test('who is trusted is asked for every load: who is revoked gets no further version in, and what serves goes on', async (t) => {
  let revoked: readonly string[] = []
  const { app, versions, infer } = await serve(t, 3, { trust: async () => ({ ...trust, revoked: { keys: revoked } }) })
  const [, second = '', third = ''] = versions
  await app.models.load('fraud', second)
  revoked = trust.keys.map((key) => keyHint('key' in key ? key.key : key))
  await t.rejects(app.models.load('fraud', third), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-revoked' })
  t.match(await infer(), [200])
  revoked = []
  t.ok(await app.models.load('fraud', third))
})
