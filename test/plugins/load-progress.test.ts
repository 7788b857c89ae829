import t from 'tap'
import { logProgress } from '../../src/plugins/load-progress.ts'

t.test('a load that takes long is logged every five seconds', async (t) => {
  const lines: unknown[] = []
  let now = 0
  const tell = logProgress({ info: (...line: unknown[]) => { lines.push(line) } }, 'fraud', () => now)
  for (const seconds of [0, 4.9, 5, 9.9, 10, 11]) {
    now = seconds * 1000
    tell({ name: 'w.bin', bytes: seconds, totalBytes: 11 })
  }
  t.same(lines, [5, 10].map((bytes) => [{ model: 'fraud', file: 'w.bin', bytes, totalBytes: 11 }, 'model is loading']))
  t.doesNotThrow(() => { logProgress({ info: () => undefined }, 'fraud')({ name: 'w.bin', bytes: 1, totalBytes: 1 }) })
})
