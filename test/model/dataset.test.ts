import { spawnSync } from 'node:child_process'
import { appendFile, copyFile, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { generateKeyPairSync } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { datasetKind } from '../../src/model/bundle-kind.ts'
import { readDatasetManifest } from '../../src/model/dataset-manifest.ts'
import { openDataset, type OpenDatasetOptions, type OpenedDataset } from '../../src/model/open-dataset.ts'
import { maxManifestBytes } from '../../src/model/manifest-parts.ts'
import { openModel } from '../../src/model/open-model.ts'
import { rewrapDataset } from '../../src/model/rewrap-dataset.ts'
import { rewrapModel } from '../../src/model/rewrap-model.ts'
import { rewrapModels } from '../../src/model/rewrap-models.ts'
import { sealDataset } from '../../src/model/seal-dataset.ts'
import { signDataset } from '../../src/model/sign-dataset.ts'
import type { Trust } from '../../src/model/trust.ts'
import { readTrustFile } from '../../src/model/trust-file.ts'
import { verifyDataset } from '../../src/model/verify-dataset.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { versionFloor } from '../../src/model/version-floor.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { collect } from '../helpers/bytes-source.ts'
import { datasetManifestOf, sealedDataset, signedDataset } from '../helpers/datasets.ts'
import { manifestOf, signer, trust, writeFiles, type Files } from '../helpers/models.ts'
import { countingKey, sealByHand, sealedModel } from '../helpers/sealed-models.ts'

const mebibyte = 1024 * 1024
const key = countingKey('k')

async function open (directory: string, more: Partial<OpenDatasetOptions> = {}): Promise<OpenedDataset> {
  return await openDataset({ directory, keys: [key], trust, ...more })
}

/** Bytes that differ from one mebibyte to the next. */
function rows (mebibytes: number, more = ''): Buffer {
  return Buffer.concat([...Array.from({ length: mebibytes }, (_, index) => Buffer.alloc(mebibyte, index + 1)), Buffer.from(more)])
}

/** A signed dataset, and what a key holder has sealed for its statement. */
async function resealed (t: Test, genuine: Files, sealed: Files, shardBytes?: number): Promise<string> {
  const folder = t.testdir()
  const source = await writeFiles(path.join(folder, 'source'), { 'dataset.json': datasetManifestOf(), ...genuine })
  const { digest } = await signDataset({ directory: source, signer, ...shardBytes !== undefined && { shardBytes } })
  const directory = await sealByHand(datasetKind, path.join(folder, 'sealed'), digest, { 'dataset.json': datasetManifestOf(), ...sealed }, key)
  await copyFile(path.join(source, 'dataset.sig'), path.join(directory, 'dataset.sig'))
  return directory
}

t.test('what a dataset says of itself is read strictly, and the rest is for policies', async (t) => {
  const parents = [{ name: 'raw', digest: { sha256: 'ab'.repeat(32) } }]
  const manifest = readDatasetManifest(Buffer.from(datasetManifestOf({ parents, region: 'eu' })))
  t.match(manifest, { name: 'payments', version: '1.2.0', licence: 'CC-BY-4.0', parents, attributes: { region: 'eu' } })
  t.throws(() => { Object.assign(manifest, { name: 'other' }) }, TypeError)
  const bad: readonly object[] = [
    ...['name', 'version', 'org', 'sensitivity', 'licence', 'created', 'source', 'nonce'].map((name) => ({ [name]: undefined })),
    { name: 'A' }, { version: '../1' }, { created: 'yesterday' }, { licence: '' }, { source: 'a\nb' }, { nonce: 'ab' }, { parents: {} }, { parents: [{ name: 'raw' }] }, { parents: [{ name: 'raw', digest: { sha256: 'AB' } }] }
  ]
  for (const members of bad) t.throws(() => readDatasetManifest(Buffer.from(datasetManifestOf({ ...members }))), { code: 'FMG_ERR_BUNDLE_INVALID', message: /dataset\.json/ }, JSON.stringify(members))
})

t.test('a dataset is signed and verified; a changed, missing or added file, or a link, is told', async (t) => {
  const folder = t.testdir()
  const directory = await signedDataset(path.join(folder, 'data'), { 'train/a.csv': 'a', 'train/é b.csv': 'b' })
  const verified = await verifyDataset({ directory, trust })
  t.match(verified, { manifest: { name: 'payments' }, signer: { method: 'key' } })
  t.same(verified.statement.files.map(({ name }) => name), ['dataset.json', 'rows.csv', 'train/a.csv', 'train/é b.csv'])
  const refused = async (change: (copy: string) => Promise<void>, reason: string): Promise<void> => {
    const copy = await signedDataset(path.join(folder, reason), {})
    await change(copy)
    await t.rejects(verifyDataset({ directory: copy, trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason })
  }
  await refused(async (copy) => { await appendFile(path.join(copy, 'rows.csv'), ' ') }, 'digest')
  await refused(async (copy) => { await writeFiles(copy, { 'more.csv': '' }) }, 'extra-file')
  await refused(async (copy) => { await symlink('rows.csv', path.join(copy, 'link.csv')) }, 'special-file')
  await t.rejects(verifyDataset({ directory, trust: { keys: [], authorities: [] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })

  await writeFiles(directory, { notes: 'x' })
  t.ok(await verifyDataset({ directory, trust, ignorePaths: ['notes'] }))
  const aside = path.join(folder, 'aside.sig')
  await signDataset({ directory, signer, signature: aside, ignorePaths: ['dataset.sig'] })
  await t.rejects(verifyDataset({ directory, trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'extra-file' })
  t.ok(await verifyDataset({ directory, trust, signature: aside }))
})

t.test('a folder that says nothing of itself is not signed as a dataset, nor taken for one', async (t) => {
  const folder = t.testdir()
  const bare = await writeFiles(path.join(folder, 'bare'), { 'rows.csv': '1' })
  await t.rejects(signDataset({ directory: bare, signer }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /dataset\.json/ })
  await writeFiles(bare, { 'dataset.json': '{}' })
  await t.rejects(signDataset({ directory: bare, signer }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'malformed' })
  const model = await writeFiles(path.join(folder, 'model'), { 'model.json': manifestOf(), 'dataset.json': datasetManifestOf() })
  await signDataset({ directory: model, signer, ignorePaths: ['dataset.json'] })
  await t.rejects(verifyDataset({ directory: model, trust }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'missing-file' })
})

t.test('a file is given as it was, whatever its size, and again', async (t) => {
  const files: Readonly<Record<string, Uint8Array>> = { empty: Buffer.alloc(0), 'small.bin': rows(0, 'x'), 'train/a.bin': rows(16, 'end'), 'train/border.bin': rows(17), 'train/large.bin': rows(20, 'end') }
  const progress: Record<string, number[]> = {}
  const folder = t.testdir()
  for (const shardBytes of [undefined, 3 * mebibyte + 1]) {
    const { empty, ...others } = files
    const signed = shardBytes === undefined ? files : others
    const source = await writeFiles(path.join(folder, `${shardBytes}-source`), { 'dataset.json': datasetManifestOf(), ...signed })
    const { digest } = await signDataset({ directory: source, signer, ...shardBytes !== undefined && { shardBytes } })
    const directory = path.join(folder, `${shardBytes}`)
    await sealDataset({ source, destination: directory, recipients: [key], trust })
    const dataset = await open(directory, { onProgress: ({ name, bytes }) => { (progress[name] ??= []).push(bytes) } })
    t.match(dataset, { manifest: { name: 'payments', version: '1.2.0' }, statementDigest: digest, signer: { method: 'key' }, files: ['dataset.json', ...Object.keys(signed)] })
    for (const epoch of [1, 2]) {
      for (const [name, content] of Object.entries(signed)) t.ok((await collect(dataset.read(name))).equals(content), `${name}, epoch ${epoch}`)
    }
    t.ok((await collect(dataset.read('dataset.json'))).equals(Buffer.from(datasetManifestOf())))
    dataset.close()
  }
  t.same(progress['empty'], [0, 0])
  t.equal(progress['train/large.bin']?.filter((bytes) => bytes === 20 * mebibyte + 3).length, 6, 'verified once and given twice, of each of the two')
})

t.test('a file may be left half read, and several read at once', async (t) => {
  const directory = await sealedDataset(path.join(t.testdir(), 'sealed'), [key], { 'a.bin': rows(18), 'b.bin': rows(19) })
  const dataset = await open(directory)
  const left = dataset.read('a.bin')
  t.equal((await left.next()).value?.length, mebibyte)
  await left.return()
  const [a, b, again] = await Promise.all(['a.bin', 'b.bin', 'a.bin'].map(async (name) => await collect(dataset.read(name))))
  t.ok(a?.equals(rows(18)) === true && b?.equals(rows(19)) === true && again?.equals(rows(18)) === true)
})

t.test('a closed dataset gives no further file; what is being read goes on', async (t) => {
  const directory = await sealedDataset(path.join(t.testdir(), 'sealed'), [key], { 'a.bin': rows(18) })
  const dataset = await open(directory)
  const reading = dataset.read('a.bin')
  t.match(await reading.next(), { done: false })
  dataset.close()
  t.equal((await collect(reading)).length, 17 * mebibyte)
  await t.rejects(collect(dataset.read('a.bin')), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'closed' })
})

t.test('a name that is not signed for is no file, also where one lies', async (t) => {
  const folder = t.testdir({ 'outside.sealed': 'x' })
  const directory = await sealedDataset(path.join(folder, 'sealed'), [key])
  const dataset = await open(directory)
  for (const name of ['../outside', 'other', 'key.jwe.json', '']) await t.rejects(collect(dataset.read(name)), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'missing-file' }, name)
})

t.test('a file in whose place a link or a pipe was put after it was opened is not read', { timeout: 20_000 }, async (t) => {
  const folder = t.testdir()
  const directory = await sealedDataset(path.join(folder, 'sealed'), [key])
  const dataset = await open(directory)
  const file = path.join(directory, 'rows.csv.sealed')
  const refused = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unreadable-file' }
  await rename(file, path.join(folder, 'elsewhere'))
  await symlink(path.join(folder, 'elsewhere'), file)
  await t.rejects(collect(dataset.read('rows.csv')), refused)
  await rm(file)
  t.equal(spawnSync('mkfifo', [file]).status, 0)
  await t.rejects(collect(dataset.read('rows.csv')), refused)
  await rm(file)
  await rename(path.join(folder, 'elsewhere'), file)
  t.equal(String(await collect(dataset.read('rows.csv'))), '1,2,3\n')
})

t.test('a signature larger than any is not read', async (t) => {
  const directory = await sealedDataset(path.join(t.testdir(), 'sealed'), [key])
  const file = path.join(directory, 'dataset.sig')
  await truncate(file, 64 * mebibyte + 1)
  await t.rejects(open(directory), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'too-large' })
  await truncate(file, 10)
  await t.rejects(open(directory), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'malformed' })
})

t.test('nothing is given of what a key holder has sealed in a file\'s place', async (t) => {
  const cases: readonly (readonly [genuine: Buffer, sealed: Buffer, shardBytes?: number])[] = [
    [rows(0, 'genuine'), rows(0, 'another')],
    [rows(20), rows(19, 'another')],
    [rows(20), rows(21)],
    [rows(20), rows(21), 4 * mebibyte],
    [rows(20), Buffer.concat([rows(19), Buffer.alloc(mebibyte)]), 4 * mebibyte]
  ]
  for (const [index, [genuine, sealed, shardBytes]] of cases.entries()) {
    const dataset = await open(await resealed(t, { 'a.bin': genuine }, { 'a.bin': sealed }, shardBytes))
    let pieces = 0
    await t.rejects((async () => { for await (const piece of dataset.read('a.bin')) pieces += piece.length })(), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' }, String(index))
    t.equal(pieces, 0)
  }
})

t.test('a file that is changed after it was verified is not given from the change on', async (t) => {
  const genuine = rows(20, 'end')
  const directory = await resealed(t, { 'a.bin': genuine }, { 'a.bin': genuine })
  const dataset = await open(directory)
  await collect(dataset.read('a.bin'))
  const put = async (content: Buffer): Promise<void> => {
    const other = await resealed(t, { 'a.bin': genuine }, { 'a.bin': content })
    await copyFile(path.join(other, 'a.bin.sealed'), path.join(directory, 'a.bin.sealed'))
  }
  const given = async (): Promise<number> => {
    let bytes = 0
    await t.rejects((async () => { for await (const piece of dataset.read('a.bin')) bytes += piece.length })(), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' })
    return bytes
  }
  const changed = Buffer.from(genuine)
  changed.writeUInt8(0, 5 * mebibyte)
  for (const [content, before] of [[changed, 5 * mebibyte], [rows(20, 'END'), 20 * mebibyte], [rows(20), 20 * mebibyte], [rows(20, 'end and more'), 20 * mebibyte]] as const) {
    await put(content)
    t.equal(await given(), before)
  }
  await put(genuine)
  t.ok((await collect(dataset.read('a.bin'))).equals(genuine))

  const sealed = await readFile(path.join(directory, 'a.bin.sealed'))
  sealed.writeUInt8(sealed.readUInt8(7 * mebibyte) ^ 1, 7 * mebibyte)
  await writeFile(path.join(directory, 'a.bin.sealed'), sealed)
  await t.rejects(collect(dataset.read('a.bin')), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk' })
})

t.test('a sealed manifest larger than a manifest may be is not decrypted', async (t) => {
  const large = datasetManifestOf({ text: 'x'.repeat(maxManifestBytes) })
  const directory = await resealed(t, {}, { 'dataset.json': large })
  await t.rejects(open(directory), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'too-large', message: /dataset\.json is larger/ })
})

t.test('an older version, another name or another statement is refused before any data is decrypted', async (t) => {
  const directory = await sealedDataset(path.join(t.testdir(), 'sealed'), [key])
  const from = (least: string): Partial<OpenDatasetOptions> => ({ admit: (manifest) => { versionFloor({ minimum: { payments: least } }).check(manifest) } })
  await t.rejects(open(directory, from('1.2.1')), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-minimum' })
  t.ok(await open(directory, from('1.2.0')))
  await t.rejects(open(directory, { expectName: 'other' }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'another-dataset', message: /it is the dataset payments, not other/ })
  const { statementDigest } = await open(directory, { expectName: 'payments' })
  t.ok(await open(directory, { expectDigest: statementDigest }))
  const { calls } = key
  await t.rejects(open(directory, { expectDigest: `sha256:${'0'.repeat(64)}` }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'another-dataset' })
  t.equal(key.calls, calls)
})

t.test('a new set of recipients opens the same data, and who is left out does not', async (t) => {
  const directory = await sealedDataset(path.join(t.testdir(), 'sealed'), [key])
  const other = countingKey('other')
  await t.rejects(rewrapDataset({ directory, keys: [other], recipients: [other] }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
  await rewrapDataset({ directory, keys: [key], recipients: [other] })
  t.equal(String(await collect((await open(directory, { keys: [other] })).read('rows.csv'))), '1,2,3\n')
  await t.rejects(open(directory), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
})

t.test('of a folder of models and datasets all are sealed for others at once, each as what it is', async (t) => {
  const folder = t.testdir({ all: {} })
  const [dataset, model] = [path.join(folder, 'all', 'data'), path.join(folder, 'all', 'model')]
  await sealedDataset(path.join(folder, 'data'), [key])
  await rename(path.join(folder, 'data'), dataset)
  await sealedModel(path.join(folder, 'model'), [key])
  await rename(path.join(folder, 'model'), model)
  const other = countingKey('other')
  t.match(await rewrapModels({ directory: path.join(folder, 'all'), keys: [key], recipients: [other] }), { total: 2, changed: 2, failures: [] })
  t.ok(await open(dataset, { keys: [other] }))
  t.ok(await openModel({ directory: model, keys: [other], trust }))
  await t.rejects(rewrapModel({ directory: dataset, keys: [other], recipients: [key] }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.sig/ })
  await t.rejects(rewrapDataset({ directory: model, keys: [other], recipients: [key] }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /dataset\.sig/ })
})

t.test('a trust file says who may sign which datasets, and that is not who may sign models', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const folder = t.testdir({ 'ours.pub': publicKey.export({ type: 'spki', format: 'pem' }) })
  const trustOf = async (signers: string): Promise<{ readonly models: Trust, readonly datasets: Trust, readonly floor: object }> => {
    await writeFile(path.join(folder, 'trust.yaml'), `version: 1\nsigners: ${signers}\ndatasetFloor: { payments: 1.2.0 }\n`)
    const { trust: models, datasetTrust: datasets, datasetFloor: floor } = await readTrustFile(path.join(folder, 'trust.yaml'))
    return { models, datasets, floor }
  }
  const directory = await writeFiles(path.join(folder, 'data'), { 'dataset.json': datasetManifestOf(), 'model.json': manifestOf({ name: 'payments' }) })
  await signDataset({ directory, signer: localSigner(privateKey) })
  const destination = path.join(folder, 'sealed')
  const refused = { code: 'FMG_ERR_SIGNER_UNTRUSTED' }
  for (const signers of ["[{ key: ours.pub, datasets: ['pay*'] }]", "[{ key: ours.pub, datasets: ['*'], mayClaim: { org: [acme] } }]", '[{ key: ours.pub, datasets: [payments], models: [] }]']) {
    const { models, datasets, floor } = await trustOf(signers)
    t.ok(await verifyDataset({ directory, trust: datasets }), signers)
    t.same(floor, { payments: '1.2.0' })
    await t.rejects(verifyModel({ model: directory, signature: path.join(directory, 'dataset.sig'), trust: models }), refused, 'no model by the same word')
  }
  for (const signers of ["[{ key: ours.pub, models: ['*'] }]", '[{ key: ours.pub, datasets: [other] }]', "[{ key: ours.pub, datasets: ['*'], mayClaim: { org: [other] } }]", "[{ key: ours.pub, datasets: ['*'], mayClaim: { region: [eu] } }]"]) {
    const { datasets } = await trustOf(signers)
    await t.rejects(verifyDataset({ directory, trust: datasets }), refused, signers)
    await t.rejects(sealDataset({ source: directory, destination, recipients: [key], trust: datasets }), refused, signers)
  }
  await sealDataset({ source: directory, destination, recipients: [key] })
  t.ok(await open(destination, { trust: (await trustOf("[{ key: ours.pub, datasets: ['pay*'] }]")).datasets }))
  await t.rejects(open(destination, { trust: (await trustOf('[{ key: ours.pub, datasets: [other] }]')).datasets }), { ...refused, reason: 'signer-claims' })
  await t.rejects(open(destination, { trust: (await trustOf("[{ key: ours.pub, models: ['*'] }]")).datasets }), { ...refused, reason: 'unknown-key' })

  const both = await trustOf("[{ key: ours.pub, datasets: ['*'], models: ['*'] }]")
  await t.rejects(verifyDataset({ directory, trust: both.datasets, admit: () => { throw new Error('not today') } }), { message: 'not today' })
  t.ok(await verifyModel({ model: directory, signature: path.join(directory, 'dataset.sig'), trust: both.models }))
})
