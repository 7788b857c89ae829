import path from 'node:path'
import { writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { bomGate } from '../../src/model/bom/bom-gate.ts'
import { makeBom } from '../../src/model/bom/make-bom.ts'
import { openModel, type OpenedModel, type OpenModelOptions } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { manifestOf, signer, trust, writeFiles } from '../helpers/models.ts'
import { addModel, bytes, externalModel, floats, node } from '../helpers/onnx.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

const shared = countingKey('k')
const custom = bytes(7, bytes(1, Buffer.concat([node('ReadFile', [], ['y']), bytes(7, 'com.example')])))

async function open (directory: string, more: Partial<OpenModelOptions> = {}): Promise<OpenedModel> {
  return await openModel({ directory, keys: [shared], trust, ...more })
}

/** A sealed model with its bill of materials, and an advisory about what that lists. */
async function withBom (t: Test): Promise<{ readonly directory: string, readonly vulnerabilities: string }> {
  const folder = t.testdir({ osv: { 'A.json': JSON.stringify({ id: 'A', affected: [{ package: { ecosystem: 'PyPI', name: 'torch' }, versions: ['1.0'] }] }) } })
  const [source, directory] = [path.join(folder, 'plain'), path.join(folder, 'sealed')]
  await writeFiles(source, { 'model.onnx': externalModel('w.bin'), 'w.bin': floats(1, 1, 1), 'model.json': manifestOf() })
  writeFileSync(path.join(source, 'bom.cdx.json'), await makeBom({ directory: source, packages: ['pkg:pypi/torch@1.0'] }))
  await signModel({ directory: source, signer })
  await sealModel({ source, destination: directory, recipients: [shared] })
  return { directory, vulnerabilities: path.join(folder, 'osv') }
}

t.test('a signed graph that asks for more than it may is refused', async (t) => {
  const folder = t.testdir()
  const directory = await sealedModel(path.join(folder, 'custom'), [shared], { 'model.onnx': custom })
  await t.rejects(open(directory), { code: 'FMG_ERR_MODEL_REFUSED', reason: 'operator' })
  await open(directory, { graph: { domains: ['com.example'] } })
  const plain = await sealedModel(path.join(folder, 'plain'), [shared], { 'model.onnx': addModel() })
  await open(plain, { graph: { operators: ['Add'] } })
  await t.rejects(open(plain, { graph: { operators: ['Mul'] } }), { code: 'FMG_ERR_MODEL_REFUSED', reason: 'operator' })
  const wrong: unknown = { operator: ['Add'] }
  await t.rejects(open(plain, { graph: wrong as object }), { code: 'FMG_ERR_OPTION_INVALID', message: /openModel\.graph\.operator/ })
})

t.test('a model larger than is allowed costs no key call', async (t) => {
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [shared], { 'model.onnx': externalModel('w.bin'), 'w.bin': floats(1, 1, 1) })
  const { calls } = shared
  await t.rejects(open(directory, { maxBytes: 500 }), { code: 'FMG_ERR_MODEL_REFUSED', reason: 'model-size', message: /it is of \d+ bytes, of 500 that are allowed/ })
  t.equal(shared.calls, calls)
  await open(directory, { maxBytes: 5000 })
  await t.rejects(open(directory, { maxBytes: 0 }), { code: 'FMG_ERR_OPTION_INVALID', message: /openModel\.maxBytes/ })
})

t.test('a bill of materials is looked at before the data is opened, where it is to be', async (t) => {
  const { directory, vulnerabilities } = await withBom(t)
  t.same((await open(directory)).findings, [])
  t.same((await open(directory, { bom: bomGate() })).findings, [])
  t.match((await open(directory, { bom: bomGate({ gate: 'warn', vulnerabilities }) })).findings, [{ advisory: 'A' }])
  const opened = new Set<string>()
  await t.rejects(open(directory, { bom: bomGate({ vulnerabilities }), onProgress: ({ name }) => { opened.add(name) } }), { code: 'FMG_ERR_MODEL_REFUSED', reason: 'bom' })
  t.same([...opened].sort(), ['bom.cdx.json', 'model.json'])
  const without = await sealedModel(path.join(path.dirname(directory), 'without'), [shared])
  await t.rejects(open(without, { bom: bomGate() }), { code: 'FMG_ERR_MODEL_REFUSED', message: /there is no bom\.cdx\.json/ })
  t.same((await open(without, { bom: bomGate({ required: false }) })).findings, [])
})
