import { rename } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { loadModel } from '../../src/model/load-model.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Tensor } from '../../src/model/tensor.ts'
import type { WorkerEvent } from '../../src/model/worker-pool.ts'
import { manifestOf, trust } from '../helpers/models.ts'
import { floats } from '../helpers/onnx.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

const x: Tensor = { datatype: 'FP32', shape: [1, 3], data: floats(1, 2, 3) }

t.test('a worker is replaced by the very model that was loaded, and by no other that has taken its place', async (t) => {
  const folder = t.testdir()
  const key = countingKey('kek')
  const directory = await sealedModel(path.join(folder, 'model'), [key])
  const newer = await sealedModel(path.join(folder, 'newer'), [key], { 'model.json': manifestOf({ version: '1.3.0' }) })
  const events: WorkerEvent[] = []
  let tell = (): void => undefined
  const admitted: string[] = []
  const { session, manifest, statementDigest, signer } = await loadModel(
    { directory, keys: [key], trust, expectName: 'fraud', admit: ({ version }) => { admitted.push(version) } },
    {
      queueLimit: 1,
      timeoutMs: 60_000,
      threads: 1,
      maxWorkerRuns: 1,
      watch: (event) => {
        events.push(event)
        tell()
      }
    }
  )
  t.teardown(async () => { await session.close() })
  const next = async (kind: string): Promise<WorkerEvent | undefined> => {
    while (events.at(-1)?.kind !== kind) await new Promise<void>((resolve) => { tell = resolve })
    return events.at(-1)
  }
  t.match([manifest.version, statementDigest, signer], ['1.2.0', /^sha256:/, { method: 'key' }])
  await session.run({ x })
  await next('replaced')
  t.equal(key.calls, 2)
  t.same(admitted, ['1.2.0'], 'what serves is not judged anew')

  await rename(directory, path.join(folder, 'old'))
  await rename(newer, directory)
  await session.run({ x })
  t.match(await next('not-replaced'), { error: { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'another-model' } })
  t.equal(key.calls, 2, 'no key was asked for')
  t.match((await session.run({ x })).outputs, { y: { shape: [1, 3] } }, 'the old worker serves on')
  await t.rejects(openModel({ directory, keys: [key], trust, expectDigest: statementDigest }), { code: 'FMG_ERR_MODEL_TAMPERED' })
  t.equal((await openModel({ directory, keys: [key], trust })).manifest.version, '1.3.0')
})
