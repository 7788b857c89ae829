import t from 'tap'
import { showCount, showProgress } from '../../src/cli/progress.ts'

const file = { name: 'w.bin', totalBytes: 200_000_000 }

t.test('on a terminal the progress of a large file is one line, which goes away when it is done', async (t) => {
  const written: string[] = []
  const show = showProgress('sealing', { isTTY: true, write: (text) => written.push(text) })
  for (const bytes of [0, 99_000_000, 199_999_999, 200_000_000]) show({ ...file, bytes })
  t.same(written, [
    '\rsealing w.bin: 0 of 200 MB (0 %)\x1b[K',
    '\rsealing w.bin: 99 of 200 MB (49 %)\x1b[K',
    '\rsealing w.bin: 199 of 200 MB (99 %)\x1b[K',
    '\r\x1b[K'
  ])
})

t.test('elsewhere it is a line every ten seconds, none for what is done sooner', async (t) => {
  const written: string[] = []
  let now = 0
  const show = showProgress('opening', { write: (text) => written.push(text) }, () => now)
  for (const [seconds, bytes] of [[1, 0], [9.9, 10_000_000], [10, 20_000_000], [19.9, 30_000_000], [20, 200_000_000]] as const) {
    now = seconds * 1000
    show({ ...file, bytes })
  }
  t.same(written, ['opening w.bin: 20 of 200 MB (10 %)\n', 'opening w.bin: 200 of 200 MB (100 %)\n'])
})

t.test('of small files nothing is shown', async (t) => {
  for (const isTTY of [true, false]) {
    const show = showProgress('opening', { isTTY, write: () => { t.fail('something was shown') } }, () => NaN)
    show({ name: 'model.json', bytes: 0, totalBytes: 0 })
    show({ name: 'model.json', bytes: 5, totalBytes: 1_000_000 })
  }
  t.doesNotThrow(() => { showProgress('opening')({ name: 'model.json', bytes: 5, totalBytes: 5 }) })
})

t.test('of many things it is shown how many are done', async (t) => {
  const written: string[] = []
  let now = 0
  const stream = { isTTY: true, write: (text: string) => written.push(text) }
  const show = showCount('rewrapping', 'bundles', stream, () => now)
  for (const done of [1, 2]) show({ done, total: 2 })
  t.same(written.splice(0), ['\rrewrapping: 1 of 2 bundles\x1b[K', '\r\x1b[K'])
  const tell = showCount('rewrapping', 'bundles', { ...stream, isTTY: false }, () => now)
  for (const done of [1, 2, 3]) {
    now += 5000
    tell({ done, total: 3 })
  }
  t.same(written, ['rewrapping: 2 of 3 bundles\n'])
  t.doesNotThrow(() => { showCount('rewrapping', 'bundles')({ done: 1, total: 2 }) })
})
