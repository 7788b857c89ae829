import { generateKeyPairSync } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { appendFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import fc from 'fast-check'
import t from 'tap'
import { readManifest } from '../../src/model/manifest.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { issue, type Issued } from '../helpers/certificates.ts'
import { manifestOf, signedModel, signer, trust, writeFiles } from '../helpers/models.ts'

const files = { 'weights/a.bin': 'aaa', 'weights/b.bin': 'bbb', empty: '', 'ä \u{1f600}': 'names are UTF-8' }

const tampered = (reason: string, message: RegExp): { code: string, reason: string, message: RegExp } => ({ code: 'FMG_ERR_MODEL_TAMPERED', reason, message })

t.test('what was signed verifies, and names its signer', async (t) => {
  const model = await signedModel(t.testdir(), files)
  const { statement, signer: by } = await verifyModel({ model, trust })
  t.equal(by.method, 'key')
  t.equal(statement.name, path.basename(model))
  t.same(statement.files.map(({ name }) => name), ['empty', 'model.json', 'model.onnx', 'weights/a.bin', 'weights/b.bin', 'ä \u{1f600}'])
  t.match(await signModel({ directory: model, signer }), { digest: statement.digest }, 'signing again states the same')
  await t.rejects(verifyModel({ model, trust: { keys: [], authorities: [] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
})

t.test('each kind of key signs', async (t) => {
  const model = await writeFiles(t.testdir(), files)
  const pairs = [generateKeyPairSync('ed25519'), ...['P-256', 'P-384', 'P-521'].map((namedCurve) => generateKeyPairSync('ec', { namedCurve }))]
  for (const { privateKey, publicKey } of pairs) {
    await signModel({ directory: model, signer: localSigner(privateKey) })
    t.ok(await verifyModel({ model, trust: { keys: [publicKey], authorities: [] } }))
    await t.rejects(verifyModel({ model, trust }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
  }
})

t.test('a certificate signs, with a chain that could be believed', async (t) => {
  const clock = (): number => Date.parse('2026-06-01')
  const root = issue({ subject: 'root', isAuthority: true })
  const middle = issue({ subject: 'middle', issuer: root, isAuthority: true })
  const leaf = issue({ subject: 'leaf', issuer: middle, usage: KeyUsageFlags.digitalSignature })
  const directory = await writeFiles(t.testdir(), files)
  const sign = async (leaf: Issued, ...others: readonly Issued[]): Promise<unknown> =>
    await signModel({ directory, signer: localSigner(leaf.privateKey), certificates: [leaf, ...others].map(({ certificate }) => certificate), clock })
  const verify = async (authority: Issued): Promise<unknown> => await verifyModel({ model: directory, trust: { keys: [], authorities: [authority.certificate], clock } })
  await sign(leaf, middle)
  t.match(await verify(root), { signer: { method: 'certificate', subject: 'CN=leaf' } })
  await sign(leaf, middle, root)
  t.match(await verify(root), { signer: { method: 'certificate' } })
  await sign(leaf)
  t.match(await verify(middle), { signer: { method: 'certificate' } })
  await t.rejects(verify(root), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'certificate-chain' })

  await t.rejects(signModel({ directory, signer: localSigner(leaf.privateKey), certificates: [middle.certificate], clock }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(sign(leaf, ...Array.from({ length: 6 }, () => middle)), { code: 'FMG_ERR_OPTION_INVALID', message: /at most 6/ })
  const refused = (reason: string): { code: string, reason: string } => ({ code: 'FMG_ERR_SIGNER_UNTRUSTED', reason })
  await t.rejects(sign(leaf, root, middle), refused('certificate-chain'), 'out of order')
  await t.rejects(sign(leaf, root), refused('certificate-chain'), 'one left out')
  const short = issue({ subject: 'short', isAuthority: true, maxIntermediates: 0 })
  const below = issue({ subject: 'below', issuer: short, isAuthority: true })
  const deep = issue({ subject: 'deep', issuer: below, usage: KeyUsageFlags.digitalSignature })
  await t.rejects(sign(deep, below, short), refused('certificate-chain'), 'too deep')
  await t.rejects(sign(issue({ subject: 'web', usage: KeyUsageFlags.keyEncipherment })), refused('certificate-usage'))
  await t.rejects(sign(issue({ subject: 'old', usage: KeyUsageFlags.digitalSignature, notAfter: new Date('2026-05-01') })), refused('certificate-validity'))
  t.match(await verify(middle), { signer: { subject: 'CN=leaf' } }, 'what is refused writes nothing')
})

t.test('a file that changed, vanished, or was added or linked is named', async (t) => {
  const cases: Readonly<Record<string, readonly [(model: string) => Promise<void>, ReturnType<typeof tampered>]>> = {
    changed: [async (model) => { await writeFile(path.join(model, 'weights/a.bin'), 'aab') }, tampered('digest', /weights\/a\.bin is not the file/)],
    longer: [async (model) => { await appendFile(path.join(model, 'empty'), 'x') }, tampered('digest', /empty is not the file/)],
    swapped: [async (model) => {
      await rename(path.join(model, 'weights/a.bin'), path.join(model, 'c'))
      await rename(path.join(model, 'weights/b.bin'), path.join(model, 'weights/a.bin'))
      await rename(path.join(model, 'c'), path.join(model, 'weights/b.bin'))
    }, tampered('digest', /weights\/a\.bin/)],
    missing: [async (model) => { await rm(path.join(model, 'weights/b.bin')) }, tampered('missing-file', /weights\/b\.bin is missing/)],
    extra: [async (model) => { await writeFile(path.join(model, 'weights/c.bin'), '') }, tampered('extra-file', /weights\/c\.bin is not signed for/)],
    'deep git': [async (model) => { await writeFile(path.join(model, 'weights/.gitignore'), '') }, tampered('extra-file', /weights\/\.gitignore/)],
    linked: [async (model) => {
      await rename(path.join(model, 'empty'), path.join(model, '..', 'elsewhere'))
      await symlink('../elsewhere', path.join(model, 'empty'))
    }, tampered('special-file', /empty is neither a file nor a folder/)],
    'linked folder': [async (model) => {
      await rename(path.join(model, 'weights'), path.join(model, '..', 'weights'))
      await symlink('../weights', path.join(model, 'weights'))
    }, tampered('special-file', /weights is neither/)],
    pipe: [async (model) => { execFileSync('mkfifo', [path.join(model, 'pipe')]) }, tampered('special-file', /pipe is neither/)]
  }
  for (const [name, [change, refused]] of Object.entries(cases)) {
    const model = await signedModel(path.join(t.testdir(), name), files)
    await verifyModel({ model, trust })
    await change(model)
    const error = await t.rejects(verifyModel({ model, trust }), refused, name)
    t.notMatch(String(error), model, 'without saying where on this machine')
  }
})

t.test('ignored paths may hold anything, others nothing', async (t) => {
  const directory = await writeFiles(t.testdir(), { ...files, 'cache/x': '1', '.git/config': '1', '.gitignore': '1' })
  const statement = await signModel({ directory, signer, ignorePaths: ['cache'] })
  t.same(statement.files.map(({ name }) => name), ['empty', 'weights/a.bin', 'weights/b.bin', 'ä \u{1f600}'])
  t.same(statement.ignorePaths, ['.git', '.gitattributes', '.github', '.gitignore', 'model.sig', 'cache'])
  await writeFile(path.join(directory, 'cache/y'), '2')
  await symlink('/etc/passwd', path.join(directory, 'cache/z'))
  t.ok(await verifyModel({ model: directory, trust }))
  await writeFile(path.join(directory, 'cached'), '')
  await t.rejects(verifyModel({ model: directory, trust }), tampered('extra-file', /cached/))
  t.ok(await verifyModel({ model: directory, trust, ignorePaths: ['cached'] }))
  await writeFile(path.join(directory, 'weights/c.bin'), '')
  await t.rejects(verifyModel({ model: directory, trust, ignorePaths: ['cached', 'weights'] }), tampered('extra-file', /weights\/c\.bin/), 'a path with signed files in it can not be ignored')
})

t.test('a signature may lie elsewhere', async (t) => {
  const folder = t.testdir()
  const directory = await writeFiles(path.join(folder, 'model'), files)
  for (const signature of [path.join(folder, 'other.sig'), path.join(directory, 'weights', 'm.sig')]) {
    await signModel({ directory, signer, signature })
    t.ok(await verifyModel({ model: directory, signature, trust }))
    await rm(signature)
  }
  await t.rejects(verifyModel({ model: directory, trust }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.sig cannot be read/ })
})

t.test('what cannot be signed is not', async (t) => {
  const folder = t.testdir({ empty: {}, linked: { a: t.fixture('symlink', '/etc/passwd') }, odd: { 'a\\b': '' } })
  await t.rejects(signModel({ directory: path.join(folder, 'empty'), signer }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-file' })
  await t.rejects(signModel({ directory: path.join(folder, 'linked'), signer }), tampered('special-file', /a is neither/))
  await t.rejects(signModel({ directory: path.join(folder, 'odd'), signer }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /relative path/ })
  await t.rejects(signModel({ directory: path.join(folder, 'none'), signer }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unreadable-folder' })
})

t.test('a model or signature that is not there, or no file, is refused', async (t) => {
  const model = await signedModel(path.join(t.testdir(), 'model'))
  await t.rejects(verifyModel({ model: path.join(model, 'none'), trust }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-model' })
  await rm(path.join(model, 'model.sig'))
  await mkdir(path.join(model, 'model.sig'))
  await t.rejects(verifyModel({ model, trust }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unreadable-file' })
  await rm(path.join(model, 'model.sig'), { recursive: true })
  execFileSync('truncate', ['-s', '17M', path.join(model, 'model.sig')])
  await t.rejects(verifyModel({ model, trust }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'too-large' })
})

t.test('a model that is one file answers to its own name only', async (t) => {
  const directory = await writeFiles(path.join(t.testdir(), 'one'), { 'a.onnx': 'x' })
  await signModel({ directory, signer })
  t.ok(await verifyModel({ model: path.join(directory, 'a.onnx'), trust }))
  const two = await signedModel(path.join(directory, '../two'))
  await t.rejects(verifyModel({ model: path.join(two, 'model.json'), trust }), tampered('missing-file', /model\.json is not the one file/), 'one of several files is not the model')
  await rename(path.join(directory, 'a.onnx'), path.join(directory, 'b.onnx'))
  await t.rejects(verifyModel({ model: path.join(directory, 'b.onnx'), trust }), tampered('missing-file', /b\.onnx is not the one file/))
})

t.test('a signature with any byte changed is refused', async (t) => {
  const model = await signedModel(t.testdir())
  const file = path.join(model, 'model.sig')
  const bytes = await readFile(file)
  const hint = bytes.indexOf('"hint":"') + 8
  await fc.assert(fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
    // The hint is free text, for the reader to find the key: it says nothing that is believed.
    if (at >= hint && at < hint + 64) return
    const changed = Buffer.from(bytes)
    changed.writeUInt8(changed.readUInt8(at) ^ flip, at)
    await writeFile(file, changed)
    await t.rejects(verifyModel({ model, trust }), { code: /FMG_ERR_(BUNDLE_INVALID|SIGNATURE_INVALID|SIGNER_UNTRUSTED)/ }, `byte ${at}`)
  }), { numRuns: 300 })
})

t.test('a manifest needs its members, and keeps the others as attributes', async (t) => {
  const free = { region: ['eu'], __nothing: null }
  const provenance = { trained_by: 'ann', trained_at: '2026-01-02T03:04:05Z', training_data: [{ name: 'train', digest: { sha256: 'ab'.repeat(32) } }], code: { name: 'train.py', digest: { sha256: 'cd'.repeat(32) } } }
  const manifest = readManifest(Buffer.from(manifestOf({ ...free, ...provenance })))
  t.match(manifest, { name: 'fraud', version: '1.2.0', task: 'classification', org: 'acme', environment: 'production', sensitivity: 'high', ...provenance })
  t.same(manifest.attributes, free)
  t.ok(Object.isFrozen(manifest) && Object.isFrozen(manifest.attributes) && Object.isFrozen(manifest.attributes.region))
  const hostile = readManifest(Buffer.from(manifestOf().replace('{', '{"__proto__":{"admin":true},')))
  t.same(Object.keys(hostile.attributes), ['__proto__'])
  t.equal(Reflect.get(hostile.attributes, 'admin'), undefined)
  const bad: readonly Readonly<Record<string, unknown>>[] = [
    { name: 'Fraud' }, { name: '-x' }, { name: '../x' }, { name: 'a'.repeat(129) }, { name: undefined }, { version: '' }, { version: '1/2' }, { version: 1 },
    { task: undefined }, { org: '' }, { org: 'a\nb' }, { environment: null }, { sensitivity: 3 }, { nonce: undefined }, { nonce: 'ab'.repeat(15) },
    { nonce: 'AB'.repeat(16) }, { nonce: `${'ab'.repeat(16)}a` }, { trained_by: 1 }, { trained_at: 'yesterday' }, { training_data: 'x' }, { training_data: ['x'] }, { training_data: [{ name: 'x', digest: { sha256: 'AB' } }] }, { code: {} }
  ]
  for (const members of bad) t.throws(() => readManifest(Buffer.from(manifestOf(members))), { code: 'FMG_ERR_BUNDLE_INVALID', message: /model\.json/ }, JSON.stringify(members))
  for (const text of ['', '[]', 'null', '"x"']) t.throws(() => readManifest(Buffer.from(text)), { code: 'FMG_ERR_BUNDLE_INVALID' }, text)
})
