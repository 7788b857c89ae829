import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { keyFromFile, signerFromFile } from '../../src/secrets/key-file.ts'
import { defaultConfig, loadConfig, type ServerConfig } from '../../src/server/config.ts'
import { dataFolder } from '../../src/server/data-folder.ts'
import { prepareData } from '../../src/server/prepare-data.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'
import { manifestOf, writeFiles } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'

const rollback = { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-floor' }

type Change = (config: ServerConfig) => ServerConfig

/** Starts a server in this folder, hands it over, and stops it. */
async function serve (data: string, change: Change = (config) => config, use: (server: RunningServer) => Promise<void> = async () => {}): Promise<void> {
  const server = await runServer(change({ ...defaultConfig, data, listen: { ...defaultConfig.listen, port: 0 } }))
  try {
    await use(server)
  } finally {
    await stopServer(server.app)
  }
}

/** Puts this version of a model in its place, sealed, signed by the server's own key. */
async function put (data: string, version: string, name = 'fraud'): Promise<void> {
  const folder = dataFolder(data)
  const source = path.join(data, 'source')
  await writeFiles(source, { 'model.onnx': addModel(), 'model.json': manifestOf({ name, version }) })
  await signModel({ directory: source, signer: await signerFromFile(folder.modelSigningKey) })
  await rm(path.join(folder.models, name), { recursive: true, force: true })
  await sealModel({ source, destination: path.join(folder.models, name), recipients: [await keyFromFile(folder.modelWrappingKey)] })
  await rm(source, { recursive: true })
}

async function prepared (t: Test): Promise<string> {
  const data = path.join(t.testdir(), 'data')
  await prepareData(dataFolder(data))
  return data
}

const models = (more: Partial<ServerConfig['models']>): Change => (config) => ({ ...config, models: { ...config.models, ...more } })

t.test('attack: an older model, genuine in all, is put in the place of a newer one', async (t) => {
  const data = await prepared(t)
  await put(data, '1.3.0')
  await serve(data)
  await put(data, '1.2.0')
  await t.rejects(serve(data), rollback)
  await t.rejects(serve(data, models({ allowRollback: { fraud: '1.1.0' } })), rollback)
  await serve(data, models({ allowRollback: { fraud: '1.2.0' } }), async ({ app }) => { t.equal(app.models.find('fraud')?.version, '1.2.0') })
  await serve(data)
  await put(data, '1.3.1')
  await serve(data)
  await put(data, '1.2.0')
  await t.rejects(serve(data), rollback)
})

t.test('attack: the log is deleted with it; the configured minimum and a checkpoint that was kept elsewhere tell', async (t) => {
  const data = await prepared(t)
  await put(data, '1.3.0')
  await serve(data)
  const known = path.join(data, '..', 'checkpoint')
  await writeFile(known, await readFile(path.join(data, 'audit/checkpoint')))
  await writeFile(path.join(data, '..', 'guard.yaml'), 'audit: { knownCheckpointFile: checkpoint }\nmodels: { trustFile: trust.yaml, graph: { operators: [Add] }, bom: { gate: warn, vulnerabilities: osv, vex: [vex.json] }, maxModelBytes: 1000 }\n')
  const { audit: { knownCheckpointFile }, models: { trustFile, ...others } } = await loadConfig(path.join(data, '..', 'guard.yaml'))
  t.match(others, { graph: { operators: ['Add'] }, bom: { gate: 'warn', required: true, vulnerabilities: path.join(data, '..', 'osv'), vex: [path.join(data, '..', 'vex.json')] }, maxModelBytes: 1000 })
  t.equal(knownCheckpointFile, known)
  t.equal(trustFile, path.join(data, '..', 'trust.yaml'))
  const knowing: Change = (config) => ({ ...config, audit: { ...config.audit, knownCheckpointFile: known } })
  await serve(data, knowing)
  await rename(path.join(data, 'audit'), path.join(data, 'audit.old'))
  await put(data, '1.2.0')
  await t.rejects(serve(data, knowing), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /kept elsewhere/ })
  await writeFile(String(trustFile), 'version: 1\nsigners: [{ key: data/secrets/model-signing-key.pem.pub, models: ["*"] }]\nfloor: { fraud: 1.3.0 }\n')
  await t.rejects(serve(data, models({ trustFile })), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-minimum' })
  await serve(data)
})

t.test('a trust file stands in the place of the server\'s own key, and of the example', async (t) => {
  const folder = t.testdir({ 'trust.yaml': 'version: 1\nsigners: [{ key: data/secrets/model-signing-key.pem.pub, models: [fraud] }]\n' })
  const data = path.join(folder, 'data')
  const trusting = models({ trustFile: path.join(folder, 'trust.yaml') })
  await serve(data, trusting, async ({ app }) => { t.same(app.models.list(), []) })
  await put(data, '1.0.0')
  await serve(data, trusting, async ({ app }) => { t.same(app.models.list().map(({ id }) => id), ['fraud']) })
  await put(data, '1.0.0', 'churn')
  await t.rejects(serve(data, trusting), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims' })
  await rm(path.join(data, 'models/churn'), { recursive: true })
  await writeFile(path.join(folder, 'trust.yaml'), 'version: 1\nsigners: []\n')
  await t.rejects(serve(data, trusting), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'unknown-key' })
})
