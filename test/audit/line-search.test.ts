import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { auditLine } from '../../src/audit/line.ts'
import { findLine } from '../../src/audit/line-search.ts'
import { record } from './log-fixture.ts'

/** Lines of these seqs, long enough that a window holds a few dozen. */
const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, index) => auditLine({ ...record(from + index), detail: { text: Array(16).fill('x'.repeat(500)) } }, from + index) + '\n').join('')

t.test('a line is found by its number from the end, and so is the place after the last', async (t) => {
  const file = path.join(t.testdir(), 'segment.jsonl')
  writeFileSync(file, lines(100, 300))
  const text = readFileSync(file, 'utf8')
  for (const seq of [100, 101, 150, 268, 270, 298, 299]) t.equal(await findLine(file, seq), text.indexOf(auditLine(record(seq), seq).slice(0, 12), placeOf(text, seq)), `${seq}`)
  t.equal(await findLine(file, 300), text.length)
  t.equal(await findLine(file, 99), undefined)
  t.equal(await findLine(file, 301), undefined)
})

/** Where the line of this seq begins: every line has the same length. */
function placeOf (text: string, seq: number): number {
  return (seq - 100) * (text.indexOf('\n') + 1)
}

t.test('what a crash has left after the last line does not hide it', async (t) => {
  const file = path.join(t.testdir(), 'segment.jsonl')
  for (const tail of ['{"action":"pre', Buffer.alloc(3_000_000), `${'x'.repeat(600_000)}\n`, 'not a record\n']) {
    writeFileSync(file, lines(0, 5))
    const { length } = readFileSync(file)
    appendFileSync(file, tail)
    t.equal(await findLine(file, 5), length)
  }
  writeFileSync(file, '')
  t.equal(await findLine(file, 0), undefined)
})
