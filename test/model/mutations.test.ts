import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { modelKind } from '../../src/model/bundle-kind.ts'
import { openModel } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { versionFloor } from '../../src/model/version-floor.ts'
import { manifestOf, signer, trust, writeFiles } from '../helpers/models.ts'
import { at, testMutations } from '../helpers/mutations.ts'
import { addModel, externalModel, floats } from '../helpers/onnx.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'

const key = countingKey('k')

/** How often the runtime would have been given a model. */
let handedOver = 0

async function attempt (directory: string, keys: readonly KeyProvider[] = [key]): Promise<void> {
  const opened = await openModel({ directory, keys, trust, expectName: 'fraud' })
  handedOver++
  await opened.zero()
}

testMutations({
  kind: modelKind,
  files: { 'a.bin': 'a'.repeat(100), 'b.bin': 'b'.repeat(100), 'model.json': manifestOf(), 'model.onnx': addModel() },
  manifestOf,
  sign: signModel,
  seal: sealModel,
  open: attempt,
  handedOver: () => handedOver
})

t.test('an older version is refused before its graph is decrypted', async (t) => {
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [key])
  const graph = await readFile(at('model.onnx.sealed')(directory))
  graph.writeUInt8(graph.readUInt8(100) ^ 1, 100)
  await writeFile(at('model.onnx.sealed')(directory), graph)
  const open = async (least: string): Promise<unknown> => {
    const floor = versionFloor({ minimum: { fraud: least } })
    return await openModel({ directory, keys: [key], trust, admit: (manifest) => { floor.check(manifest) } })
  }
  await t.rejects(open('1.2.1'), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-minimum' })
  await t.rejects(open('1.2.0'), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk' })
})

t.test('a path that the signer ignored can not be loaded', async (t) => {
  const folder = t.testdir()
  const source = await writeFiles(path.join(folder, 'source'), { 'model.json': manifestOf(), 'model.onnx': externalModel('cache/w.bin'), 'cache/w.bin': floats(1, 1, 1) })
  await signModel({ directory: source, signer, ignorePaths: ['cache'] })
  const directory = path.join(folder, 'bundle')
  await sealModel({ source, destination: directory, recipients: [key] })
  await t.rejects(attempt(directory), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'external-data' })
  await writeFiles(directory, { 'cache/w.bin': floats(9, 9, 9) })
  await t.rejects(attempt(directory), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'extra-file' }, 'not even when it is there')
})
