import { appendFile, chmod, copyFile, mkdir, readFile, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import fc from 'fast-check'
import t from 'tap'
import { guardError } from '../../src/errors.ts'
import { modelKind } from '../../src/model/bundle-kind.ts'
import { inspectModel } from '../../src/model/inspect-model.ts'
import { maxManifestBytes } from '../../src/model/manifest-parts.ts'
import { openModel } from '../../src/model/open-model.ts'
import { rewrapModel } from '../../src/model/rewrap-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { startSession } from '../../src/model/session.ts'
import { signModel } from '../../src/model/sign-model.ts'
import type { Trust } from '../../src/model/trust.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { issue } from '../helpers/certificates.ts'
import { manifestOf, signedModel, signer, trust, writeFiles, type Files } from '../helpers/models.ts'
import { addModel, externalModel, floats } from '../helpers/onnx.ts'
import { countingKey, sealByHand, sealedModel } from '../helpers/sealed-models.ts'

const nobody: Trust = { keys: [], authorities: [] }
const files = { 'model.onnx': externalModel('weights/w.bin'), 'weights/w.bin': floats(1, 1, 1), 'README.md': '' }

/** Every file of a folder with its content. */
async function contents (folder: string): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  return Object.fromEntries(await Promise.all(names.map(async (name): Promise<[string, string]> => [path.relative(folder, name), (await readFile(name)).toString('hex')])))
}

async function flip (file: string, at: number): Promise<void> {
  const bytes = await readFile(file)
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  await writeFile(file, bytes)
}

t.test('a sealed model opens to what was signed, and runs', async (t) => {
  const key = countingKey('k1')
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [countingKey('k0'), key], files)
  t.same(Object.keys(await contents(directory)).sort(), ['README.md.sealed', 'key.jwe.json', 'model.json.sealed', 'model.onnx.sealed', 'model.sig', 'weights/w.bin.sealed'])
  const opened = await openModel({ directory, keys: [key], trust, expectName: 'fraud' })
  t.match(opened, { manifest: { name: 'fraud', version: '1.2.0' }, signer: { method: 'key' }, externalData: ['weights/w.bin'] })
  t.match(opened.statementDigest, /^sha256:[0-9a-f]{64}$/)
  t.same([...opened.files.keys()].sort(), ['README.md', 'model.json', 'model.onnx', 'weights/w.bin'])
  t.same(Buffer.from(opened.files.get('model.onnx') ?? []), files['model.onnx'])
  const session = await startSession(opened, { queueLimit: 0, timeoutMs: 60_000 })
  t.teardown(async () => { await session.close() })
  const { outputs } = await session.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(1, 2, 3) } })
  t.same(outputs.y?.data, new Uint8Array(floats(2, 3, 4)))
  t.ok([...opened.files.values()].every((bytes) => bytes.length === 0 || bytes.every((byte) => byte === 0)), 'nothing is left in this thread')
})

t.test('zeroing overwrites every file', async (t) => {
  const key = countingKey('k')
  const opened = await openModel({ directory: await sealedModel(path.join(t.testdir(), 'bundle'), [key]), keys: [key], trust })
  t.ok([...opened.files.values()].every((bytes) => bytes.some((byte) => byte !== 0)))
  await opened.zero()
  t.ok([...opened.files.values()].every((bytes) => bytes.every((byte) => byte === 0)))
})

t.test('nothing of the plaintext stands in a bundle but the signed names and digests', async (t) => {
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [countingKey('k')], { 'notes.txt': 'very secret words' })
  for (const [name, hex] of Object.entries(await contents(directory))) {
    for (const secret of ['very secret words', 'classification']) t.notOk(hex.includes(Buffer.from(secret).toString('hex')), name)
  }
})

t.test('a forged signature costs no key call and no decryption', async (t) => {
  const key = countingKey('k')
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [key])
  await t.rejects(openModel({ directory, keys: [key], trust: nobody }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
  const file = path.join(directory, 'model.sig')
  const genuine = JSON.parse(await readFile(file, 'utf8')) as { dsseEnvelope: { payload: string } }
  const forged = { ...genuine, dsseEnvelope: { ...genuine.dsseEnvelope, payload: Buffer.from(Buffer.from(genuine.dsseEnvelope.payload, 'base64').toString().replace('sha256', 'sha257')).toString('base64') } }
  await writeFile(file, JSON.stringify(forged))
  await t.rejects(openModel({ directory, keys: [key], trust }), { code: 'FMG_ERR_SIGNATURE_INVALID' })
  await rm(file)
  await t.rejects(openModel({ directory, keys: [key], trust }), { code: 'FMG_ERR_BUNDLE_INVALID' })
  t.equal(key.calls, 0)
  await writeFile(file, JSON.stringify(genuine))
  await openModel({ directory, keys: [key], trust })
  t.equal(key.calls, 1, 'and a genuine one costs one')
})

t.test('a file of a bundle that is missing, too many, linked or renamed costs no key call', async (t) => {
  const cases: Readonly<Record<string, readonly [(bundle: string) => Promise<void>, string]>> = {
    missing: [async (bundle) => { await rm(path.join(bundle, 'README.md.sealed')) }, 'missing-file'],
    'missing key': [async (bundle) => { await rm(path.join(bundle, 'key.jwe.json')) }, 'missing-file'],
    extra: [async (bundle) => { await writeFile(path.join(bundle, 'weights/v.bin.sealed'), 'x') }, 'extra-file'],
    'plaintext beside': [async (bundle) => { await writeFile(path.join(bundle, 'model.onnx'), 'x') }, 'extra-file'],
    'git beside': [async (bundle) => { await writeFile(path.join(bundle, '.gitignore'), 'x') }, 'extra-file'],
    linked: [async (bundle) => {
      await rename(path.join(bundle, 'weights/w.bin.sealed'), path.join(bundle, '../w'))
      await symlink('../../w', path.join(bundle, 'weights/w.bin.sealed'))
    }, 'special-file'],
    'linked folder': [async (bundle) => {
      await rename(path.join(bundle, 'weights'), path.join(bundle, '../weights'))
      await symlink('../weights', path.join(bundle, 'weights'))
    }, 'special-file'],
    renamed: [async (bundle) => { await rename(path.join(bundle, 'README.md.sealed'), path.join(bundle, 'README.sealed')) }, 'missing-file']
  }
  for (const [name, [change, reason]] of Object.entries(cases)) {
    const key = countingKey('k')
    const bundle = await sealedModel(path.join(t.testdir(), 'bundle'), [key], files)
    await change(bundle)
    const error = await t.rejects(openModel({ directory: bundle, keys: [key], trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason }, name)
    t.notMatch(String(error), bundle)
    t.equal(key.calls, 0)
  }
})

t.test('files that were swapped, within a bundle or between two, do not open', async (t) => {
  const key = countingKey('k')
  const folder = t.testdir()
  const two = { 'model.onnx': addModel(), 'a.bin': 'aaa', 'b.bin': 'bbb' }
  const one = await sealedModel(path.join(folder, 'one'), [key], two)
  const other = await sealedModel(path.join(folder, 'other'), [key], { ...two, 'model.json': manifestOf({ version: '1.3.0' }) })
  const attempt = async (): Promise<unknown> => await openModel({ directory: one, keys: [key], trust })
  const kept = await contents(one)
  const restore = async (): Promise<void> => { for (const [name, hex] of Object.entries(kept)) await writeFile(path.join(one, name), Buffer.from(hex, 'hex')) }

  await rename(path.join(one, 'a.bin.sealed'), path.join(one, 'c'))
  await rename(path.join(one, 'b.bin.sealed'), path.join(one, 'a.bin.sealed'))
  await rename(path.join(one, 'c'), path.join(one, 'b.bin.sealed'))
  await t.rejects(attempt(), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-key', message: /a\.bin\.sealed/ })
  await restore()
  await copyFile(path.join(other, 'a.bin.sealed'), path.join(one, 'a.bin.sealed'))
  await t.rejects(attempt(), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-key' })
  await restore()
  await copyFile(path.join(other, 'key.jwe.json'), path.join(one, 'key.jwe.json'))
  await t.rejects(attempt(), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'key-of-another-model' })
  await restore()
  await copyFile(path.join(other, 'model.sig'), path.join(one, 'model.sig'))
  await t.rejects(attempt(), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'key-of-another-model' })
  await restore()
  t.ok(await attempt())
})

t.test('a bundle with any byte changed does not open', async (t) => {
  const key = countingKey('k')
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [key])
  const all = (await readdir(directory)).filter((name) => name !== 'model.sig')
  await fc.assert(fc.asyncProperty(fc.constantFrom(...all), fc.nat(), async (name, seed) => {
    const file = path.join(directory, name)
    const at = seed % (await stat(file)).size
    await flip(file, at)
    await t.rejects(openModel({ directory, keys: [key], trust }), { code: /FMG_ERR_(MODEL_TAMPERED|BUNDLE_INVALID)/ }, `${name}, byte ${at}`)
    await flip(file, at)
  }), { numRuns: 100 })
  await appendFile(path.join(directory, 'model.json.sealed'), 'x')
  await t.rejects(openModel({ directory, keys: [key], trust }), { code: 'FMG_ERR_MODEL_TAMPERED' })
})

t.test('what a key holder sealed anew is held against the signature', async (t) => {
  // Whoever may open may also seal: he must not be able to put another model under the signature.
  const key = countingKey('k')
  const folder = t.testdir()
  const genuine = await signedModel(path.join(folder, 'genuine'))
  const { digest } = await signModel({ directory: genuine, signer })
  const directory = path.join(folder, 'bundle')
  const files = { 'model.onnx': addModel(), 'model.json': manifestOf() }
  const sealed = async (more: Files = {}): Promise<void> => { await sealByHand(modelKind, directory, digest, { ...files, ...more }, key) }
  await sealed({ 'model.json': manifestOf({ name: 'other' }) })
  await copyFile(path.join(genuine, 'model.sig'), path.join(directory, 'model.sig'))
  await t.rejects(openModel({ directory, keys: [key], trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest', message: /model\.json is not the file/ })
  await sealed()
  t.ok(await openModel({ directory, keys: [key], trust }))
})

t.test('a manifest larger than one is, is not decrypted', async (t) => {
  const key = countingKey('k')
  const folder = t.testdir()
  // Whoever has a public key can seal for it: the size is nobody's word until the signature is held against what was decrypted.
  for (const [bytes, refusal] of [[maxManifestBytes, undefined], [maxManifestBytes + 1, { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'too-large', message: /model\.json is larger than 1048576 bytes/ }]] as const) {
    const files = { 'model.onnx': addModel(), 'model.json': manifestOf({ text: '' }).replace('"text":""', `"text":"${'x'.repeat(bytes - manifestOf({ text: '' }).length)}"`) }
    const source = await writeFiles(path.join(folder, `${bytes}-source`), files)
    const { digest } = await signModel({ directory: source, signer })
    const directory = await sealByHand(modelKind, path.join(folder, String(bytes)), digest, files, key)
    await copyFile(path.join(source, 'model.sig'), path.join(directory, 'model.sig'))
    const progress: string[] = []
    const opened = openModel({ directory, keys: [key], trust, onProgress: ({ name }) => { progress.push(name) } })
    if (refusal === undefined) t.equal((await opened).files.get('model.json')?.length, bytes)
    else await t.rejects(opened, refusal)
    t.equal(progress.includes('model.json'), refusal === undefined)
  }
})

t.test('a genuine bundle of another model is refused before its files are decrypted', async (t) => {
  const key = countingKey('k')
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [key])
  // With the graph damaged, reaching it would be another refusal.
  await flip(path.join(directory, 'model.onnx.sealed'), 100)
  await t.rejects(openModel({ directory, keys: [key], trust, expectName: 'credit' }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'another-model', message: /it is the model fraud, not credit/ })
  const admitted: unknown[] = []
  const old = guardError('FMG_ERR_MODEL_ROLLBACK', { detail: 'version 1.2.0' })
  await t.rejects(openModel({
    directory,
    keys: [key],
    trust,
    admit: async (manifest, by) => {
      admitted.push(manifest.version, by.method)
      await Promise.reject(old)
    }
  }), { code: 'FMG_ERR_MODEL_ROLLBACK' })
  t.same(admitted, ['1.2.0', 'key'])
  await t.rejects(openModel({ directory, keys: [key], trust, expectName: 'fraud', admit: () => undefined }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk' })
})

t.test('tensors outside of the model must be among the signed files', async (t) => {
  const key = countingKey('k')
  const folder = t.testdir()
  for (const location of ['other.bin', '../w.bin', '/tmp/w.bin', 'weights/../weights/w.bin', '*/_ORT_MEM_ADDR_/*', '']) {
    const directory = await sealedModel(path.join(folder, `bundle-${Buffer.from(location).toString('hex')}`), [key], { ...files, 'model.onnx': externalModel(location) })
    await t.rejects(openModel({ directory, keys: [key], trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'external-data' }, location)
  }
  const broken = await sealedModel(path.join(folder, 'broken'), [key], { 'model.onnx': 'no model' })
  await t.rejects(openModel({ directory: broken, keys: [key], trust }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'model-format' })
})

t.test('what is no whole signed model is not sealed, and leaves nothing behind', async (t) => {
  const recipients = [countingKey('k')]
  const cases: Readonly<Record<string, readonly [(source: string) => Promise<void>, { code: string, reason?: string, message?: RegExp }]>> = {
    'no signature': [async (source) => { await rm(path.join(source, 'model.sig')) }, { code: 'FMG_ERR_BUNDLE_INVALID' }],
    'a changed file': [async (source) => { await writeFile(path.join(source, 'model.onnx'), 'x') }, { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' }],
    'a missing file': [async (source) => { await rm(path.join(source, 'README.md')) }, { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'missing-file' }],
    'a file too many': [async (source) => { await writeFile(path.join(source, 'x'), '') }, { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'extra-file' }],
    'no manifest': [async (source) => {
      await rm(path.join(source, 'model.json'))
      await signModel({ directory: source, signer })
    }, { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.json is not among/ }],
    'no graph': [async (source) => {
      await rm(path.join(source, 'model.onnx'))
      await signModel({ directory: source, signer })
    }, { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.onnx is not among/ }],
    'a bad manifest': [async (source) => {
      await writeFile(path.join(source, 'model.json'), '{}')
      await signModel({ directory: source, signer })
    }, { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.json\.name/ }]
  }
  for (const [name, [change, refused]] of Object.entries(cases)) {
    const folder = t.testdir()
    const source = await signedModel(path.join(folder, 'source'), files)
    await change(source)
    await t.rejects(sealModel({ source, destination: path.join(folder, 'bundle'), recipients }), refused, name)
    t.same(await readdir(folder), ['source'], 'nothing is left')
  }
})

t.test('a sealed model never replaces anything', async (t) => {
  const folder = t.testdir({ there: {}, locked: {} })
  const source = await signedModel(path.join(folder, 'source'))
  const recipients = [countingKey('k')]
  await t.rejects(sealModel({ source, destination: path.join(folder, 'there'), recipients }), { code: 'FMG_ERR_FILE', reason: 'destination' })
  await t.rejects(sealModel({ source, destination: path.join(folder, 'none/bundle'), recipients }), { code: 'FMG_ERR_FILE', message: /cannot be written/ })
  await t.rejects(sealModel({ source, destination: path.join(folder, 'bundle'), recipients: [] }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.same((await readdir(folder)).sort(), ['locked', 'source', 'there'])
})

t.test('sealing checks the signature too where trust is given', async (t) => {
  const folder = t.testdir()
  const source = await signedModel(path.join(folder, 'source'))
  const recipients = [countingKey('k')]
  await t.rejects(sealModel({ source, destination: path.join(folder, 'bundle'), recipients, trust: nobody }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
  const { digest } = await sealModel({ source, destination: path.join(folder, 'bundle/'), recipients, trust })
  t.equal((await openModel({ directory: path.join(folder, 'bundle'), keys: recipients, trust })).statementDigest, digest)
})

t.test('what the signer ignored is not sealed', async (t) => {
  const folder = t.testdir()
  const source = await writeFiles(path.join(folder, 'source'), { 'model.onnx': addModel(), 'model.json': manifestOf(), 'cache/x': '1', '.gitignore': '' })
  await signModel({ directory: source, signer, ignorePaths: ['cache'] })
  const key = countingKey('k')
  await sealModel({ source, destination: path.join(folder, 'bundle'), recipients: [key] })
  t.same([...(await openModel({ directory: path.join(folder, 'bundle'), keys: [key], trust })).files.keys()], ['model.json', 'model.onnx'])
})

t.test('rewrapping changes who can open, and the sealed key alone', async (t) => {
  const [before, after] = [countingKey('before'), countingKey('after')]
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [before], files)
  const { 'key.jwe.json': oldKey, ...rest } = await contents(directory)
  await rewrapModel({ directory, keys: [before], recipients: [after] })
  const { 'key.jwe.json': newKey, ...restAfter } = await contents(directory)
  t.same(restAfter, rest)
  t.not(newKey, oldKey)
  t.ok(await openModel({ directory, keys: [after], trust }))
  await t.rejects(openModel({ directory, keys: [before], trust }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
  await t.rejects(rewrapModel({ directory, keys: [before], recipients: [after], anew: true }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
  await t.rejects(rewrapModel({ directory, keys: [after], recipients: [] }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.equal((await contents(directory))['key.jwe.json'], newKey, 'what fails changes nothing')
})

t.test('a model tells of itself without a key', async (t) => {
  const folder = t.testdir()
  const directory = await sealedModel(path.join(folder, 'bundle'), [countingKey('a'), countingKey('b')])
  const sealed = await inspectModel(directory)
  t.match(sealed, {
    claimedSigner: { method: 'key', names: [/^[0-9a-f]{64}$/] },
    recipients: [{ keyId: 'a', algorithm: 'A256KW' }, { keyId: 'b', algorithm: 'A256KW' }],
    statement: { files: [{ name: 'model.json' }, { name: 'model.onnx' }] }
  })
  t.same(sealed.files.map(({ name }) => name), ['key.jwe.json', 'model.json.sealed', 'model.onnx.sealed', 'model.sig'])
  t.ok(sealed.files.every(({ bytes }) => bytes > 0))
  const plain = await inspectModel(`${directory}-source`)
  t.equal(plain.recipients, undefined)
  t.equal(plain.statement.digest, sealed.statement.digest)

  const leaf = issue({ subject: 'leaf', usage: KeyUsageFlags.digitalSignature })
  await signModel({ directory: `${directory}-source`, signer: localSigner(leaf.privateKey), certificates: [leaf.certificate] })
  t.same((await inspectModel(`${directory}-source`)).claimedSigner, { method: 'certificate', names: [leaf.certificate.fingerprint256] })
  const file = path.join(`${directory}-source`, 'model.sig')
  const keyless = { ...JSON.parse(await readFile(file, 'utf8')) as object, verificationMaterial: { certificate: { rawBytes: leaf.certificate.raw.toString('base64') }, tlogEntries: [{}] } }
  await writeFile(file, JSON.stringify(keyless))
  t.same((await inspectModel(`${directory}-source`)).claimedSigner, { method: 'keyless', names: [leaf.certificate.fingerprint256] })
})

t.test('a folder that cannot be read is refused', async (t) => {
  const folder = t.testdir()
  await mkdir(path.join(folder, 'a'))
  await chmod(path.join(folder, 'a'), 0o700)
  await t.rejects(openModel({ directory: path.join(folder, 'a'), keys: [], trust }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.sig cannot be read/ })
})
