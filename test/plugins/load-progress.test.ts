import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { logProgress } from '../../src/plugins/load-progress.ts'
import { models } from '../../src/plugins/models.ts'
import { trust } from '../helpers/models.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

t.test('a load that takes long is logged every five seconds, from its beginning on', async (t) => {
  const lines: unknown[] = []
  let now = 0
  const tell = logProgress({ info: (...line: unknown[]) => { lines.push(line) } }, 'fraud', () => now)
  for (const begun of [1, 100]) {
    now = begun * 1000
    tell({ name: 'model.json', bytes: 1, totalBytes: 1 })
    for (const seconds of [0, 4.9, 5, 9.9, 10, 11]) {
      now = (begun + seconds) * 1000
      tell({ name: 'w.bin', bytes: seconds, totalBytes: 11 })
    }
  }
  t.same(lines, [5, 10, 5, 10].map((bytes) => [{ model: 'fraud', file: 'w.bin', bytes, totalBytes: 11 }, 'model is loading']))
  t.doesNotThrow(() => { logProgress({ info: () => undefined }, 'fraud')({ name: 'w.bin', bytes: 1, totalBytes: 1 }) })
})

t.test('the models plugin logs how far its loads are', async (t) => {
  const key = countingKey('k')
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [key])
  const lines: string[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(line) } } } })
  t.teardown(async () => { await app.close() })
  // Every look at the clock is ten seconds later.
  const genuine = performance.now.bind(performance)
  let now = 0
  performance.now = () => {
    now += 10_000
    return now
  }
  t.teardown(() => { performance.now = genuine })
  await app.register(models, { models: { fraud: { directory } }, keys: [key], trust, admit: () => undefined })
  t.match(lines.map((line): unknown => JSON.parse(line)), [{ msg: 'model is loading', model: 'fraud', file: 'model.json' }, { msg: 'model is loading', file: 'model.onnx' }, { msg: 'model loaded' }])
})
