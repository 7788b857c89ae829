import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { bomGate, type BomFinding, type BomGateOptions } from '../../../src/model/bom/bom-gate.ts'
import { maxBomBytes, readBom } from '../../../src/model/bom/bom.ts'
import { schemaProblem } from '../../../src/model/bom/bom-schema.ts'
import { makeBom } from '../../../src/model/bom/make-bom.ts'
import { signModel } from '../../../src/model/sign-model.ts'
import type { Statement } from '../../../src/model/statement.ts'
import { modelGuard, run } from '../../helpers/command.ts'
import { manifestOf, signer, writeFiles } from '../../helpers/models.ts'
import { addModel } from '../../helpers/onnx.ts'

const sha = 'a'.repeat(64)
const trained = { trained_by: 'ann', training_data: [{ name: 'numbers', digest: { sha256: sha } }], code: { name: 'https://example.com/repository', digest: { sha256: sha } } }
const torch = 'pkg:pypi/torch@1.0'

interface Made {
  readonly folder: string
  readonly bom: Uint8Array
  readonly statement: Statement
}

/** A signed model with its bill of materials, which may be changed before it is signed. */
async function makeModel (t: Test, change: (bom: Record<string, unknown>) => object = (bom) => bom, more: { shardBytes?: number, hash?: 'blake2b' } = {}): Promise<Made> {
  const folder = await writeFiles(path.join(t.testdir(), 'model'), { 'model.onnx': addModel(), 'model.json': manifestOf(trained), 'labels/all.txt': 'a b c' })
  const text = await makeBom({ directory: folder, licence: 'Apache-2.0', packages: [torch] })
  const bom = Buffer.from(JSON.stringify(change(JSON.parse(text) as Record<string, unknown>)))
  writeFileSync(path.join(folder, 'bom.cdx.json'), bom)
  return { folder, bom, statement: await signModel({ directory: folder, signer, ...more }) }
}

const warn = async ({ bom, statement }: Made, options: BomGateOptions = {}): Promise<readonly BomFinding[]> => await bomGate({ ...options, gate: 'warn' }).check(bom, statement)
const kinds = (findings: readonly BomFinding[]): string[] => findings.map(({ kind }) => kind)
const files = (bom: Record<string, unknown>): { type: string, name: string, hashes: { alg: string, content: string }[] }[] => bom['components'] as ReturnType<typeof files>

t.test('the bill of materials that is made says what a model is made of, and passes', async (t) => {
  const made = await makeModel(t)
  t.same(await bomGate().check(made.bom, made.statement), [])
  const bom = JSON.parse(made.bom.toString()) as { metadata: { component: object }, components: { type: string, name: string }[] }
  t.match(bom, {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    metadata: {
      component: {
        type: 'machine-learning-model',
        name: 'fraud',
        version: '1.2.0',
        publisher: 'acme',
        authors: [{ name: 'ann' }],
        licenses: [{ expression: 'Apache-2.0' }],
        externalReferences: [{ type: 'vcs', url: 'https://example.com/repository' }],
        modelCard: { modelParameters: { task: 'classification', datasets: [{ ref: 'data:numbers' }] } },
        properties: [{ name: 'onnx:producer', value: '' }, { name: 'onnx:opset:ai.onnx', value: '13' }, { name: 'onnx:operator:Add', value: '1' }]
      }
    }
  })
  t.same(bom.components.map(({ type, name }) => `${type} ${name}`), ['file labels/all.txt', 'file model.json', 'file model.onnx', 'data numbers', 'library torch'])
  t.same(readBom(made.bom).components.length, 6, 'what it describes, and what that is made of')
})

t.test('a model without one is refused, or told of, or let be', async (t) => {
  const { statement } = await makeModel(t)
  await t.rejects(bomGate().check(undefined, statement), { code: 'FMG_ERR_MODEL_REFUSED', reason: 'bom', message: /there is no bom\.cdx\.json/ })
  t.same(kinds(await bomGate({ gate: 'warn' }).check(undefined, statement)), ['missing'])
  t.same(await bomGate({ required: false }).check(undefined, statement), [])
})

t.test('what breaks the schema is found, at its place', async (t) => {
  const broken = await makeModel(t, (bom) => ({ ...bom, colour: 'red' }))
  await t.rejects(bomGate().check(broken.bom, broken.statement), { code: 'FMG_ERR_MODEL_REFUSED', message: /bom\.cdx\.json must NOT have additional properties/ })
  t.match(await warn(await makeModel(t, (bom) => ({ ...bom, version: 'one' }))), [{ kind: 'schema', detail: 'bom.cdx.json/version must be integer' }])
  t.match(await warn(await makeModel(t, (bom) => ({ ...bom, specVersion: '9.9' }))), [{ kind: 'schema', detail: /of no version of CycloneDX that is known/ }])
  for (const bytes of ['{', '[]', '{"bomFormat":"SPDX","specVersion":"1.6"}', '{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"file"}]}']) {
    await t.rejects(bomGate().check(Buffer.from(bytes), broken.statement), { code: 'FMG_ERR_BUNDLE_INVALID', message: /bom\.cdx\.json/ }, bytes)
  }
})

t.test('one that is larger than any is refused', async (t) => {
  t.throws(() => readBom(Buffer.alloc(maxBomBytes + 1)), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'too-large' })
})

t.test('its files are held against those that are signed for', async (t) => {
  const changed = await makeModel(t, (bom) => {
    const [labels, manifest, graph, ...others] = files(bom)
    return { ...bom, components: [{ ...labels, hashes: [{ alg: 'SHA-256', content: sha }] }, manifest, { ...graph, name: 'other.onnx' }, ...others] }
  })
  const findings = await warn(changed)
  t.same(kinds(findings), ['file-unsigned', 'file-differs', 'file-unlisted'])
  t.match(findings, [{ detail: /lists "other\.onnx", which is not signed for/ }, { detail: /another SHA-256 of "labels\/all\.txt"/ }, { detail: /does not list "model\.onnx"/ }])
  t.same(kinds(await warn(await makeModel(t, (bom) => ({ ...bom, components: files(bom).filter(({ name }) => name !== 'model.json') })))), [], 'the manifest may come after it')
  t.same(kinds(await warn(await makeModel(t, (bom) => ({ ...bom, components: files(bom).map((component) => ({ ...component, hashes: undefined })) })))), ['file-unchecked', 'file-unchecked', 'file-unchecked'])
  t.same(kinds(await warn(await makeModel(t, undefined, { shardBytes: 1000 }))), ['file-unchecked', 'file-unchecked', 'file-unchecked'], 'a shard is not the file')
  const upper = await makeModel(t, (bom) => ({ ...bom, components: files(bom).map((component) => (component.type === 'library' ? component : { ...component, hashes: component.hashes.map(({ alg, content }) => ({ alg, content: content.toUpperCase() })) })) }))
  t.same(await warn(upper), [])
  const within = await makeModel(t, (bom) => ({ ...bom, components: [{ type: 'application', name: 'all', components: files(bom) }] }))
  t.same(await warn(within), [], 'also within another component')
})

t.test('its packages are looked for among the advisories, and what does no harm is left out', async (t) => {
  const nameless = await makeModel(t, (bom) => ({ ...bom, components: [...files(bom).filter(({ type }) => type === 'file'), { type: 'library', name: 'torch', version: '1.0' }, { type: 'library', name: 'x', purl: 'no purl' }, { type: 'library', name: 'torch', version: '1.0', purl: 'pkg:pypi/torch' }] }))
  const made = await makeModel(t)
  const folder = path.join(path.dirname(made.folder), 'given')
  await writeFiles(folder, {
    'osv/PYSEC-1.json': JSON.stringify({ id: 'PYSEC-1', aliases: ['CVE-1'], summary: 'a hole', affected: [{ package: { ecosystem: 'PyPI', name: 'torch' }, versions: ['1.0'] }] }),
    'osv/PYSEC-2.json': JSON.stringify({ id: 'PYSEC-2', affected: [{ package: { ecosystem: 'PyPI', name: 'torch' }, ranges: [{ type: 'ECOSYSTEM', events: [{ introduced: '0' }, { fixed: 'a word' }] }] }] }),
    'osv/PYSEC-3.json': JSON.stringify({ id: 'PYSEC-3', affected: [{ package: { ecosystem: 'PyPI', name: 'torch' }, versions: ['2.0'] }] }),
    'vex.json': JSON.stringify({ '@context': 'https://openvex.dev/ns/v0.2.0', timestamp: '2026-01-01T00:00:00Z', statements: [{ vulnerability: { name: 'CVE-1' }, products: [{ '@id': torch }], status: 'not_affected' }] })
  })
  const vulnerabilities = path.join(folder, 'osv')
  t.same(await warn(made), [], 'none are looked for unless a folder is given')
  t.same(await warn(made, { vulnerabilities }), [
    { kind: 'vulnerability', advisory: 'PYSEC-1', detail: 'torch is affected by PYSEC-1 (a hole)' },
    { kind: 'vulnerability', advisory: 'PYSEC-2', detail: 'torch is possibly affected by PYSEC-2' }
  ])
  t.match(await warn(made, { vulnerabilities, vex: [path.join(folder, 'vex.json')] }), [{ advisory: 'PYSEC-2' }])
  await t.rejects(bomGate({ vulnerabilities }).check(made.bom, made.statement), { code: 'FMG_ERR_MODEL_REFUSED', message: /PYSEC-1 \(a hole\); torch is possibly/ })
  t.match(await warn(nameless, { vulnerabilities }), [
    { kind: 'component-unchecked', detail: 'bom.cdx.json names no package URL of "torch", by which advisories could be found' },
    { kind: 'component-unchecked', detail: /of "x"/ },
    { advisory: 'PYSEC-1' },
    { advisory: 'PYSEC-2' }
  ], 'by its package URL alone, and the version beside it')
  t.same(await warn(nameless), [], 'and not where none are looked for')
})

t.test('what is given for a bill of materials must fit it', async (t) => {
  const { folder } = await makeModel(t)
  await t.rejects(makeBom({ directory: folder, packages: ['torch'] }), { code: 'FMG_ERR_OPTION_INVALID', message: /bom\.packages\[0\] must be a package URL/ })
  await t.rejects(makeBom({ directory: folder, licence: '' }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(makeBom({ directory: path.join(folder, 'labels') }), { code: 'FMG_ERR_BUNDLE_INVALID' })
  await t.rejects(makeBom({ directory: folder, packages: [torch, torch] }), { code: 'FMG_ERR_OPTION_INVALID', message: /components must NOT have duplicate items/ })
  for (const options of [{ gate: 'block' }, { vex: 'x' }, { folder: 'x' }]) {
    const given: unknown = options
    t.throws(() => bomGate(given as BomGateOptions), { code: 'FMG_ERR_OPTION_INVALID', message: /^option invalid: bom\./ })
  }
})

t.test('the packages that validate are wanted for this alone, and named', async (t) => {
  const { folder, bom } = await makeModel(t)
  await t.rejects(schemaProblem(bom, { specVersion: '1.6' }, async () => await Promise.reject(new Error('not there'))), { code: 'FMG_ERR_OPTION_INVALID', message: /npm install @cyclonedx\/cyclonedx-library ajv/ })
  writeFileSync(path.join(folder, 'hide.mjs'), "import { register } from 'node:module'\nregister('data:text/javascript,' + encodeURIComponent(`export function resolve (name, context, next) { if (name === 'packageurl-js') throw new Error('hidden'); return next(name, context) }`))\n")
  const source = `import { packageReader } from '${new URL('../../../src/model/bom/package-name.js', import.meta.url).href}'\nawait packageReader().catch(({ message }) => { console.log(message) })\n`
  writeFileSync(path.join(folder, 'read.mjs'), source)
  t.equal((await run(process.execPath, ['--import', path.join(folder, 'hide.mjs'), path.join(folder, 'read.mjs')])).stdout, 'option invalid: components are named by package URLs: npm install packageurl-js\n')
})

t.test('commands make one and look at one', async (t) => {
  const folder = await writeFiles(path.join(t.testdir(), 'model'), { 'model.onnx': addModel(), 'model.json': manifestOf() })
  const file = path.join(folder, 'bom.cdx.json')
  t.match(await modelGuard('model', 'bom', folder, '--licence', 'MIT', '--package', torch), { status: 0, stdout: `${file} lists 2 files and 1 package; sign the model now\n` })
  t.match(JSON.parse(readFileSync(file, 'utf8')), { specVersion: '1.6' })
  const without = await writeFiles(path.join(t.testdirName, 'without'), { 'model.onnx': addModel() })
  await signModel({ directory: without, signer })
  t.match(await modelGuard('model', 'check-bom', without), { status: 1, stdout: 'there is no bom.cdx.json\n' })
  await signModel({ directory: folder, signer })
  t.match(await modelGuard('model', 'check-bom', folder), { status: 0, stdout: 'nothing was found\n' })
  await writeFiles(path.join(folder, '../osv'), { 'A.json': JSON.stringify({ id: 'A', affected: [{ package: { ecosystem: 'PyPI', name: 'torch' }, versions: ['1.0'] }] }) })
  t.match(await modelGuard('model', 'check-bom', folder, '--vulnerabilities', path.join(folder, '../osv')), { status: 1, stdout: 'torch is affected by A\n' })
  const vex = path.join(folder, '../vex.json')
  writeFileSync(vex, JSON.stringify({ '@context': 'https://openvex.dev/ns/v0.2.0', timestamp: '2026-01-01T00:00:00Z', statements: [{ vulnerability: { name: 'A' }, products: [{ '@id': torch }], status: 'fixed' }] }))
  t.match(await modelGuard('model', 'check-bom', folder, '--vulnerabilities', path.join(folder, '../osv'), '--vex', vex, '--json'), { status: 0, stdout: '{"findings":[]}\n' })
})
