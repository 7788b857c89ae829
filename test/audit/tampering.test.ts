import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { auditLine } from '../../src/audit/line.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { randomOf } from '../helpers/random.ts'
import { openTestLog, record, segmentNames, verifierKey } from './log-fixture.ts'

const size = Number(process.env['TAMPERED'] ?? 20_000)
const seed = process.env['SEED'] ?? randomBytes(8).toString('hex')
const tries = 3

t.test(`of ${size} records any one that is changed, removed, inserted, moved or replayed is found and named`, { timeout: 3_600_000 }, async (t) => {
  t.comment(`seed ${seed}`)
  const random = randomOf(seed)
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { durability: 'async', maxSegmentBytes: 4_000_000 })
  for (let index = 0; index < size; index++) {
    log.append(record(index), (error) => { if (error !== null) throw error })
    // What waits is bounded.
    if (index % 20_000 === 0) await log.checkpoint()
  }
  await log.close()
  const files = segmentNames(directory).map((name) => path.join(directory, 'segments', name))
  const starts = files.map((file) => Number(path.basename(file).slice(0, 20)))
  const forged = (seq: number): string => auditLine({ ...record(seq), status: 'denied' }, seq)
  const attacks: Record<string, (lines: string[], at: number, seq: number) => { readonly lines: readonly string[], readonly found: number }> = {
    changed: (lines, at, seq) => ({ lines: lines.with(at, forged(seq)), found: seq }),
    removed: (lines, at, seq) => ({ lines: lines.toSpliced(at, 1), found: seq }),
    inserted: (lines, at, seq) => ({ lines: lines.toSpliced(at, 0, forged(seq)), found: seq }),
    moved: (lines, at, seq) => ({ lines: lines.with(at, lines[at + 1] ?? '').with(at + 1, lines[at] ?? ''), found: seq }),
    replayed: (lines, at, seq) => ({ lines: lines.toSpliced(at + 1, 0, lines[at] ?? ''), found: seq + 1 })
  }
  t.match(await verifyLog({ directory, verifierKey, workers: 2 }), { ok: true, size, checkpointSize: size })
  for (const [name, attack] of Object.entries(attacks)) {
    for (let attempt = 0; attempt < tries; attempt++) {
      // Not the last of all: what follows it is covered by nothing.
      const seq = random.below(size - 2)
      const index = starts.findLastIndex((start) => start <= seq)
      const file = files[index] ?? ''
      const whole = readFileSync(file, 'utf8')
      const lines = whole.split('\n').slice(0, -1)
      const at = Math.min(seq - (starts[index] ?? 0), lines.length - 2)
      const { lines: attacked, found } = attack(lines, at, (starts[index] ?? 0) + at)
      writeFileSync(file, attacked.map((line) => `${line}\n`).join(''))
      const { ok, problems } = await verifyLog({ directory, verifierKey, workers: 2 })
      writeFileSync(file, whole)
      t.notOk(ok)
      t.equal(problems[0]?.seq, found, `${name} at ${found}`)
    }
  }
})
