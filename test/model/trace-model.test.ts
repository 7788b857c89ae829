import { appendFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createPublicKey, generateKeyPairSync, createPrivateKey } from 'node:crypto'
import t, { type Test } from 'tap'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { traceModel, type TraceModelOptions } from '../../src/model/trace-model.ts'
import { modelGuard } from '../helpers/command.ts'
import { manifestOf, signer, trust, writeFiles } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'
import { countingKey } from '../helpers/sealed-models.ts'
import { append, openTestLog } from '../audit/log-fixture.ts'

interface Made {
  readonly folder: string
  /** What records name the model by. */
  readonly digest: string
  readonly options: TraceModelOptions
}

const nowhere = 'f'.repeat(64)

/** A signed model in `models/fraud`, of three data sets: two signed in `data`, and one that is not there. */
async function make (t: Test): Promise<Made> {
  const folder = t.testdir({ models: { other: {}, 'README.md': '' }, data: {} })
  const [one, two] = [path.join(folder, 'data', 'one'), path.join(folder, 'data', 'two')]
  await writeFiles(one, { 'rows.csv': '1,2,3' })
  await writeFiles(two, { 'rows.csv': '4,5,6', 'dataset.json': '{}' })
  const [first, second] = [await signModel({ directory: one, signer }), await signModel({ directory: two, signer })]
  const training = [first.digest.slice('sha256:'.length), second.root, nowhere].map((sha256, index) => ({ name: `rows ${index + 1}`, digest: { sha256 } }))
  const model = path.join(folder, 'models', 'fraud')
  await writeFiles(model, { 'model.onnx': addModel(), 'model.json': manifestOf({ trained_by: 'ann', trained_at: '2026-01-31T12:00:00Z', code: { name: 'https://example.com/code', digest: { sha256: nowhere } }, training_data: training }) })
  await writeFiles(path.join(folder, 'models', 'other'), { 'model.onnx': addModel(), 'model.json': manifestOf() })
  await signModel({ directory: path.join(folder, 'models', 'other'), signer })
  const { digest } = await signModel({ directory: model, signer })
  return { folder, digest, options: { digest, models: [path.join(folder, 'models')], datasets: [path.join(folder, 'data')], trust } }
}

t.test('from the digest of a record one comes to the model, its signer, its training data and who signed that', async (t) => {
  const { folder, options } = await make(t)
  const by = { method: 'key', hint: /^[0-9a-f]{64}$/ }
  t.match(await traceModel(options), {
    directory: path.join(folder, 'models', 'fraud'),
    signer: by,
    manifest: { name: 'fraud', trained_by: 'ann' },
    trainingData: [
      { name: 'rows 1', found: { directory: path.join(folder, 'data', 'one'), signer: by } },
      { name: 'rows 2', found: { directory: path.join(folder, 'data', 'two'), signer: by } },
      { name: 'rows 3', digest: nowhere, found: undefined }
    ]
  })
  t.same((await traceModel({ ...options, datasets: undefined })).trainingData.map(({ found }) => found), [undefined, undefined, undefined])
  t.match(await traceModel({ ...options, models: [path.join(folder, 'models', 'fraud')] }), { manifest: { name: 'fraud' } }, 'also by its own folder')
  await t.rejects(traceModel({ ...options, digest: `sha256:${nowhere}` }), { code: 'FMG_ERR_MODEL_UNKNOWN' })
  await t.rejects(traceModel({ ...options, models: [path.join(folder, 'nowhere')] }), { code: 'FMG_ERR_FILE', message: /cannot read/ })
})

t.test('what is found must hold', async (t) => {
  const { folder, options } = await make(t)
  await t.rejects(traceModel({ ...options, trust: { keys: [], authorities: [] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
  appendFileSync(path.join(folder, 'data', 'two', 'rows.csv'), ' ')
  await t.rejects(traceModel(options), { code: 'FMG_ERR_MODEL_TAMPERED' }, 'of plain data every byte')
  writeFileSync(path.join(folder, 'models', 'fraud', 'model.json'), manifestOf())
  await t.rejects(traceModel({ ...options, datasets: [] }), { code: 'FMG_ERR_MODEL_TAMPERED' }, 'and what the model says of itself')
})

t.test('a sealed model is traced by who can open its manifest', async (t) => {
  const { folder, options } = await make(t)
  const key = countingKey('k')
  const destination = path.join(folder, 'sealed')
  await sealModel({ source: path.join(folder, 'models', 'fraud'), destination, recipients: [key] })
  const sealed = { ...options, models: [destination] }
  t.match(await traceModel({ ...sealed, keys: [key] }), { manifest: { name: 'fraud' }, trainingData: [{ found: Object }, { found: Object }, {}] })
  await t.rejects(traceModel(sealed), { code: 'FMG_ERR_BUNDLE_INVALID' })
  // As data it is sealed, too: its signature is verified, and nothing is opened.
  const of = await writeFiles(path.join(folder, 'models', 'of'), { 'model.onnx': addModel(), 'model.json': manifestOf({ training_data: [{ name: 'fraud', digest: { sha256: options.digest.slice('sha256:'.length) } }] }) })
  const { digest } = await signModel({ directory: of, signer })
  t.match((await traceModel({ ...options, digest, datasets: [destination] })).trainingData, [{ found: { directory: destination } }])
})

t.test('the command traces a record of the log, and says what was not found', async (t) => {
  const { folder, digest } = await make(t)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = path.join(folder, 'key.pub')
  writeFileSync(pem, signer.publicKey.export({ type: 'spki', format: 'pem' }))
  writeFileSync(path.join(folder, 'other.pub'), createPublicKey(createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))).export({ type: 'spki', format: 'pem' }))
  const directory = path.join(folder, 'log')
  const log = await openTestLog(directory)
  await append(log, { timestamp: '2026-02-01T00:00:00Z', action: 'predict', status: 'success', model_id: 'fraud', model_digest: digest })
  await append(log, { timestamp: '2026-02-01T00:00:00Z', action: 'get /v2', status: 'success' })
  await log.close()
  const places = ['--models', path.join(folder, 'models'), '--datasets', path.join(folder, 'data'), '--trust', pem]
  const { status, stdout } = await modelGuard('model', 'trace', '0', '--log', directory, ...places)
  t.equal(status, 1, 'one data set is not there')
  t.match(stdout.split('\n'), [
    /^fraud 1\.2\.0 in .*fraud, signed by the key [0-9a-f]{64}$/,
    `trained by ann at 2026-01-31T12:00:00Z with https://example.com/code (sha256:${nowhere})`,
    /^on rows 1 \(sha256:[0-9a-f]{64}\) in .*one, signed by the key/,
    /^on rows 2 .* in .*two, signed by the key/,
    `on rows 3 (sha256:${nowhere}), which was not found`
  ])
  t.match(JSON.parse((await modelGuard('model', 'trace', digest, ...places, '--json')).stdout), { digest, manifest: { name: 'fraud' } })
  for (const word of ['1', '9', 'x']) t.match(await modelGuard('model', 'trace', word, '--log', directory, ...places), { status: 1, stderr: new RegExp(`no record ${word} that is under its checkpoint and of a model`) })
  t.match(await modelGuard('model', 'trace', digest, '--models', path.join(folder, 'models'), '--trust', path.join(folder, 'other.pub')), { status: 1, stderr: /signer not trusted/ })
  t.match(await modelGuard('model', 'trace', digest, '--trust', pem), { status: 2, stderr: /--models is required/ })
})

t.test('a model that says nothing of its training is said to', async (t) => {
  const folder = t.testdir()
  const directory = await writeFiles(path.join(folder, 'model'), { 'model.onnx': addModel(), 'model.json': manifestOf() })
  const { digest } = await signModel({ directory, signer })
  writeFileSync(path.join(folder, 'key.pub'), signer.publicKey.export({ type: 'spki', format: 'pem' }))
  t.match(await modelGuard('model', 'trace', digest, '--models', folder, '--trust', path.join(folder, 'key.pub')), { status: 0, stdout: /\nwho trained it is not said\n$/ })
})
