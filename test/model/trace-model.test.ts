import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createPublicKey, generateKeyPairSync, createPrivateKey } from 'node:crypto'
import t, { type Test } from 'tap'
import { sealDataset } from '../../src/model/seal-dataset.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signDataset } from '../../src/model/sign-dataset.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { traceModel, type TraceModelOptions } from '../../src/model/trace-model.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import type { Trust } from '../../src/model/trust.ts'
import { modelGuard } from '../helpers/command.ts'
import { datasetManifestOf } from '../helpers/datasets.ts'
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
const elsewhere = 'e'.repeat(64)

/** The public key of the signer of all, as a file. */
function writeKey (folder: string): string {
  const pem = path.join(folder, 'key.pub')
  writeFileSync(pem, signer.publicKey.export({ type: 'spki', format: 'pem' }))
  return pem
}

/** A signed model in `models/fraud`, of three data sets: two signed in `data`, and one that is not there. */
async function make (t: Test): Promise<Made> {
  const folder = t.testdir({ models: { other: {}, 'README.md': '' }, data: {}, sealed: {} })
  const [one, two] = [path.join(folder, 'data', 'one'), path.join(folder, 'data', 'two')]
  await writeFiles(one, { 'rows.csv': '1,2,3' })
  const raw = await writeFiles(path.join(folder, 'data', 'raw'), { 'rows.csv': '4', 'dataset.json': datasetManifestOf({ name: 'raw' }) })
  const parent = await signDataset({ directory: raw, signer })
  const parents = [{ name: 'raw rows', digest: { sha256: parent.root } }, { name: 'more rows', digest: { sha256: elsewhere } }, { name: 'named before', digest: { sha256: nowhere } }]
  await writeFiles(two, { 'rows.csv': '4,5,6', 'dataset.json': datasetManifestOf({ parents }) })
  // Data that is a model, as where one model is trained from another.
  const [first, second] = [await signModel({ directory: one, signer }), await signDataset({ directory: two, signer })]
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
      { name: 'rows 1', namedBy: 'fraud 1.2.0', found: { kind: 'model', directory: path.join(folder, 'data', 'one'), signer: by, manifest: undefined } },
      { name: 'rows 2', namedBy: 'fraud 1.2.0', found: { kind: 'dataset', directory: path.join(folder, 'data', 'two'), signer: by, manifest: { name: 'payments', licence: 'CC-BY-4.0' } } },
      { name: 'rows 3', digest: nowhere, found: undefined },
      { name: 'raw rows', namedBy: 'payments 1.2.0', found: { kind: 'dataset', directory: path.join(folder, 'data', 'raw'), signer: by, manifest: { name: 'raw' } } },
      { name: 'more rows', namedBy: 'payments 1.2.0', digest: elsewhere, found: undefined }
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

t.test('each link from a model to its data breaks by itself', async (t) => {
  const { folder, options } = await make(t)
  const at = (...names: readonly string[]): string => path.join(folder, 'data', ...names)
  const nobody: Trust = { keys: [], authorities: [] }
  const found = async (more: Partial<TraceModelOptions> = {}): Promise<readonly unknown[]> => (await traceModel({ ...options, ...more })).trainingData.map(({ found }) => found !== undefined)
  const whole = [true, true, false, true, false]
  t.same(await found(), whole)
  const untrusted = { code: 'FMG_ERR_SIGNER_UNTRUSTED' }
  const named = (name: string): Trust => ({ keys: [{ key: signer.publicKey, mayClaim: { name: [name] } }], authorities: [] })
  await t.rejects(found({ datasets: [], trust: named('other') }), { ...untrusted, reason: 'signer-claims' }, 'who signed the model may sign others alone')
  t.same(await found({ datasets: [], trust: named('fraud') }), [false, false, false])
  await t.rejects(found({ datasetTrust: nobody }), { ...untrusted, reason: 'unknown-key' }, 'who may sign models may not sign datasets')
  await t.rejects(found({ datasetTrust: named('payments') }), { ...untrusted, reason: 'signer-claims' }, 'who signed the data it was made from')
  t.same(await found({ datasetTrust: trust }), whole)

  const broken = async (name: string, content: (kept: string) => string, check: () => Promise<unknown>): Promise<void> => {
    const kept = readFileSync(at(name), 'utf8')
    writeFileSync(at(name), content(kept))
    await check()
    writeFileSync(at(name), kept)
    t.same(await found(), whole)
  }
  const tampered = { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' }
  await broken('two/rows.csv', () => '4,5,7', async () => await t.rejects(found(), tampered, 'the data'))
  await broken('two/dataset.json', () => datasetManifestOf(), async () => await t.rejects(found(), tampered, 'what it says of itself'))
  await broken('raw/rows.csv', () => '5', async () => await t.rejects(found(), tampered, 'the data it was made from'))
  await broken('two/dataset.sig', (kept) => kept.replace(/"sig":"..../, '"sig":"AAAA'), async () => await t.rejects(found(), { code: 'FMG_ERR_SIGNATURE_INVALID' }, 'its signature'))
  await broken('two/dataset.sig', () => readFileSync(at('raw', 'dataset.sig'), 'utf8'), async () => { t.same(await found(), [true, false, false], 'the signature of other data: the data is not found, nor what it was made from') })
})

t.test('sealed data is traced as far as the given keys open it', async (t) => {
  const { folder, options } = await make(t)
  const [key, other] = [countingKey('k'), countingKey('other')]
  for (const name of ['two', 'raw']) await sealDataset({ source: path.join(folder, 'data', name), destination: path.join(folder, 'sealed', name), recipients: [key] })
  const manifests = async (more: Partial<TraceModelOptions>): Promise<readonly unknown[]> =>
    (await traceModel({ ...options, datasets: [path.join(folder, 'sealed')], ...more })).trainingData.map(({ name, found }) => [name, found?.signer.method, found?.manifest?.name])
  t.same(await manifests({ keys: [key] }), [['rows 1', undefined, undefined], ['rows 2', 'key', 'payments'], ['rows 3', undefined, undefined], ['raw rows', 'key', 'raw'], ['more rows', undefined, undefined]])
  t.same(await manifests({ keys: [other] }), [['rows 1', undefined, undefined], ['rows 2', 'key', undefined], ['rows 3', undefined, undefined]])
  const limited: Trust = { keys: [{ key: signer.publicKey, mayClaim: { name: ['payments'] } }], authorities: [] }
  await t.rejects(manifests({ datasetTrust: limited }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' }, 'a name that cannot be read is nobody\'s')
  await t.rejects(manifests({ keys: [key], datasetTrust: limited }), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims' })
  const text = await modelGuard('model', 'trace', options.digest, '--models', path.join(folder, 'models'), '--datasets', path.join(folder, 'sealed'), '--trust', writeKey(folder))
  t.match(text, { status: 1, stdout: /on rows 2 .*sealed.two, signed by the key \w+\n {2}what it says of itself is sealed for other keys\n/ })
})

t.test('a sealed model is traced by who can open its manifest', async (t) => {
  const { folder, options } = await make(t)
  const key = countingKey('k')
  const destination = path.join(folder, 'sealed-model')
  await sealModel({ source: path.join(folder, 'models', 'fraud'), destination, recipients: [key] })
  const sealed = { ...options, models: [destination] }
  t.match(await traceModel({ ...sealed, keys: [key] }), { manifest: { name: 'fraud' }, trainingData: [{ found: Object }, { found: Object }, {}, { found: Object }, {}] })
  await t.rejects(traceModel(sealed), { code: 'FMG_ERR_BUNDLE_INVALID' })
  // As data it is sealed, too: its signature is verified, and nothing is opened unless its signer may not sign everything.
  const of = await writeFiles(path.join(folder, 'models', 'of'), { 'model.onnx': addModel(), 'model.json': manifestOf({ name: 'tuned', training_data: [{ name: 'fraud', digest: { sha256: options.digest.slice('sha256:'.length) } }] }) })
  const { digest } = await signModel({ directory: of, signer })
  const traceOf = async (names: readonly string[], keys: readonly KeyProvider[]): Promise<unknown> =>
    (await traceModel({ ...options, digest, datasets: [destination], keys, trust: { keys: [{ key: signer.publicKey, mayClaim: { name: names } }], authorities: [] } })).trainingData
  t.match((await traceModel({ ...options, digest, datasets: [destination] })).trainingData, [{ found: { directory: destination, kind: 'model' } }])
  t.match(await traceOf(['tuned', 'fraud'], [key]), [{ found: { directory: destination } }])
  await t.rejects(traceOf(['tuned', 'fraud'], []), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
  await t.rejects(traceOf(['tuned'], [key]), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims' })
})

t.test('the command traces a record of the log, and says what was not found', async (t) => {
  const { folder, digest } = await make(t)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = writeKey(folder)
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
    '  payments 1.2.0 of acme, made at 2026-01-31T12:00:00Z from https://example.com/payments, licence CC-BY-4.0',
    `on rows 3 (sha256:${nowhere}), which was not found`,
    /^payments 1\.2\.0 was made from raw rows \(sha256:[0-9a-f]{64}\) in .*raw, signed by the key/,
    /^ {2}raw 1\.2\.0 of acme/,
    `payments 1.2.0 was made from more rows (sha256:${elsewhere}), which was not found`
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
  t.match(await modelGuard('model', 'trace', digest, '--models', folder, '--trust', writeKey(folder)), { status: 0, stdout: /\nwho trained it is not said\n$/ })
})
