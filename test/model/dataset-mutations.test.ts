import { copyFile, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { datasetKind, modelKind } from '../../src/model/bundle-kind.ts'
import { openDataset } from '../../src/model/open-dataset.ts'
import { openModel } from '../../src/model/open-model.ts'
import { sealDataset } from '../../src/model/seal-dataset.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signDataset } from '../../src/model/sign-dataset.ts'
import { signModel } from '../../src/model/sign-model.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { datasetManifestOf } from '../helpers/datasets.ts'
import { manifestOf, signer, trust, writeFiles } from '../helpers/models.ts'
import { at, testMutations } from '../helpers/mutations.ts'
import { addModel } from '../helpers/onnx.ts'
import { countingKey, sealByHand } from '../helpers/sealed-models.ts'

/** Pieces of files that were given, of datasets that opened whole and of files that then turned out to be others. */
let handedOver = 0

async function attempt (directory: string, keys: readonly KeyProvider[]): Promise<void> {
  const dataset = await openDataset({ directory, keys, trust, expectName: 'payments' })
  for (const name of dataset.files) {
    let pieces = 0
    try {
      for await (const piece of dataset.read(name)) pieces += Math.sign(piece.length)
    } catch (error) {
      handedOver += pieces
      throw error
    }
  }
  handedOver++
  dataset.close()
}

testMutations({
  kind: datasetKind,
  files: { 'a.bin': 'a'.repeat(100), 'b.bin': 'b'.repeat(100), 'dataset.json': datasetManifestOf(), 'rows/2026.csv': '1,2,3' },
  manifestOf: datasetManifestOf,
  sign: signDataset,
  seal: sealDataset,
  open: attempt,
  handedOver: () => handedOver
})

t.test('what was sealed as a model does not open as a dataset of the very same statement, nor the reverse', async (t) => {
  const folder = t.testdir()
  const key = countingKey('k')
  const files = { 'dataset.json': datasetManifestOf(), 'model.json': manifestOf(), 'model.onnx': addModel() }
  const model = await writeFiles(path.join(folder, 'model-source'), files)
  const { digest } = await signModel({ directory: model, signer })
  const dataset = await writeFiles(path.join(folder, 'dataset-source'), files)
  await copyFile(at('model.sig')(model), at('dataset.sig')(dataset))
  const sealed = { model: path.join(folder, 'model'), dataset: path.join(folder, 'dataset') }
  await sealModel({ source: model, destination: sealed.model, recipients: [key] })
  t.equal((await sealDataset({ source: dataset, destination: sealed.dataset, recipients: [key] })).digest, digest, 'one statement for both')
  const open = {
    model: async (directory: string) => { await openModel({ directory, keys: [key], trust }) },
    dataset: async (directory: string) => { await openDataset({ directory, keys: [key], trust }) }
  }
  for (const [kind, other] of [[modelKind, datasetKind], [datasetKind, modelKind]] as const) {
    const [genuine, foreign] = [sealed[kind.noun], sealed[other.noun]]
    await open[kind.noun](genuine)
    const { calls } = key
    const sidecar = await readFile(at('key.jwe.json')(genuine), 'utf8')
    await copyFile(at('key.jwe.json')(foreign), at('key.jwe.json')(genuine))
    await t.rejects(open[kind.noun](genuine), { code: 'FMG_ERR_MODEL_TAMPERED', reason: `key-of-another-${kind.noun}` }, `the sidecar of a ${other.noun}`)
    t.equal(key.calls, calls, 'and no key is asked for')

    const { aad } = JSON.parse(sidecar) as { aad: string }
    await writeFile(at('key.jwe.json')(genuine), JSON.stringify({ ...JSON.parse(await readFile(at('key.jwe.json')(foreign), 'utf8')) as object, aad }))
    await t.rejects(open[kind.noun](genuine), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'data-key' }, 'nor when it says that it is of this kind')
    await writeFile(at('key.jwe.json')(genuine), sidecar)

    const [mine, theirs] = [path.join(folder, `${kind.noun}-by-hand`), path.join(folder, `${other.noun}-as-${kind.noun}`)]
    await sealByHand(kind, mine, digest, files, key)
    await copyFile(at(kind.signature)(genuine), at(kind.signature)(mine))
    await open[kind.noun](mine)
    // The data key is this kind's, the files are sealed under it for the other.
    await sealByHand(other, theirs, digest, files, key)
    await rename(at(`${kind.manifest}.sealed`)(theirs), at(`${kind.manifest}.sealed`)(mine))
    await t.rejects(open[kind.noun](mine), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-key' }, `a file that was sealed for a ${other.noun}`)
  }
})

t.test('a signature of the other kind is not looked for, and without a manifest of this kind it is none', async (t) => {
  const folder = t.testdir()
  const key = countingKey('k')
  const model = await writeFiles(path.join(folder, 'model'), { 'model.json': manifestOf(), 'model.onnx': addModel() })
  await signModel({ directory: model, signer })
  await sealModel({ source: model, destination: path.join(folder, 'sealed'), recipients: [key] })
  await t.rejects(attempt(path.join(folder, 'sealed'), [key]), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unreadable-file' })
  await rename(at('model.sig')(path.join(folder, 'sealed')), at('dataset.sig')(path.join(folder, 'sealed')))
  await t.rejects(attempt(path.join(folder, 'sealed'), [key]), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'missing-file', message: /dataset\.json/ })
  t.equal(key.calls, 0)
})
