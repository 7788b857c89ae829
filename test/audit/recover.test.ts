import fs, { readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { auditLine } from '../../src/audit/line.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { append, appendAll, fileHandleMethods, openTestLog, readLines, readRecords, record, segmentNames, verifierKey } from './log-fixture.ts'

const inconsistent = { code: 'FMG_ERR_LOG_INCONSISTENT' }

/** A log of 620 records in several segments, checkpointed at 600: tiles of two levels, lines that no checkpoint covers. */
async function makeLog (t: Test): Promise<string> {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000 })
  for (let from = 0; from < 600; from += 50) await appendAll(log, from, from + 50)
  await log.checkpoint()
  const checkpoint = readFileSync(path.join(directory, 'checkpoint'))
  await appendAll(log, 600, 620)
  await log.close()
  rmSync(path.join(directory, 'tile/entries/002.p/108'))
  rmSync(path.join(directory, 'tile/0/002.p/108'))
  writeFileSync(path.join(directory, 'checkpoint'), checkpoint)
  return directory
}

function lastSegment (directory: string): string {
  return path.join(directory, 'segments', segmentNames(directory).at(-1) ?? '')
}

async function reopen (directory: string): Promise<number> {
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000 })
  const { size } = log
  await log.close()
  return size
}

t.test('a log with fewer records than its checkpoint does not open, and stays as it was', async (t) => {
  const directory = await makeLog(t)
  const segments = segmentNames(directory)
  const segment = lastSegment(directory)
  const lines = readFileSync(segment, 'utf8').split('\n')
  const firstSeq = Number(path.basename(segment, '.jsonl'))
  const before600 = lines.slice(0, 600 - firstSeq).join('\n') + '\n'
  for (const [text, opens] of [[before600, true], [before600.slice(0, -1), false], [before600.slice(0, -200), false], ['', false]] as const) {
    writeFileSync(segment, text)
    if (opens) {
      t.equal(await reopen(directory), 600)
      continue
    }
    await t.rejects(openTestLog(directory), { ...inconsistent, message: /is missing: the checkpoint covers 600/ })
    t.equal(readFileSync(segment, 'utf8'), text)
  }
  rmSync(segment)
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /is missing/ })
  rmSync(path.join(directory, 'segments', segments[0] ?? ''))
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /the first segment is missing: record 0,/ })
  rmSync(path.join(directory, 'segments'), { recursive: true })
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /record 0 is missing/ })
})

t.test('a segment that is missing in the middle keeps the log from opening', async (t) => {
  const directory = await makeLog(t)
  rmSync(path.join(directory, 'checkpoint'))
  rmSync(path.join(directory, 'segments', segmentNames(directory)[1] ?? ''))
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /the next segment begins with 500/ })
})

t.test('a torn line that is not the last keeps the log from opening', async (t) => {
  const directory = await makeLog(t)
  rmSync(path.join(directory, 'checkpoint'))
  const segment = path.join(directory, 'segments', segmentNames(directory)[1] ?? '')
  truncateSync(segment, statSync(segment).size - 1)
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /torn, and is not the last/ })
})

t.test('tiles that are missing or wrong are rebuilt, and that is recorded', async (t) => {
  for (const [damage, tiles] of [
    [(directory: string) => { rmSync(path.join(directory, 'tile'), { recursive: true }) }, 'all'],
    [(directory: string) => { rmSync(path.join(directory, 'tile/1'), { recursive: true }) }, 'all'],
    [(directory: string) => { truncateSync(path.join(directory, 'tile/1/000.p/2'), 63) }, 'all'],
    [(directory: string) => { flip(path.join(directory, 'tile/1/000.p/2'), 40) }, 'all'],
    [(directory: string) => { writeFileSync(path.join(directory, 'tile/1/000.p/2'), Buffer.alloc(32), { flag: 'a' }) }, 'all'],
    [(directory: string) => { rmSync(path.join(directory, 'tile/0/002.p/88')) }, 1],
    [(directory: string) => { flip(path.join(directory, 'tile/0/002.p/88'), 0) }, 1],
    [(directory: string) => { truncateSync(path.join(directory, 'tile/entries/002.p/88'), 0) }, 1]
  ] as const) {
    const directory = await makeLog(t)
    damage(directory)
    t.notOk((await verifyLog({ directory, verifierKey })).ok)
    t.equal(await reopen(directory), 621)
    t.match(readRecords(directory).at(-1), { action: 'log:recover', reason: 'tiles-rebuilt', detail: { tiles } })
    t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 621, checkpointSize: 621 })
  }
})

function flip (file: string, at: number): void {
  const bytes = readFileSync(file)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(file, bytes)
}

t.test('a log without its checkpoint is published anew, and that is recorded', async (t) => {
  const directory = await makeLog(t)
  rmSync(path.join(directory, 'checkpoint'))
  t.equal(await reopen(directory), 621)
  t.match(readRecords(directory).at(-1), { action: 'log:recover', reason: 'checkpoint-missing' })
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, checkpointSize: 621 })
})

t.test('a checkpoint of another key, another origin or another log keeps the log from opening', async (t) => {
  const directory = await makeLog(t)
  const file = path.join(directory, 'checkpoint')
  const good = readFileSync(file, 'utf8')
  await t.rejects(openTestLog(directory, { origin: 'example.com/other' }), inconsistent)
  const log = await openTestLog(path.join(directory, '../other'))
  await appendAll(log, 1, 601)
  await log.close()
  const foreign = readFileSync(path.join(directory, '../other/checkpoint'), 'utf8')
  const lines = readLines(directory)
  for (const bad of [good.replace('\n600\n', '\n599\n'), good.slice(0, -5), '', foreign]) {
    writeFileSync(file, bad)
    await t.rejects(openTestLog(directory), inconsistent)
    t.same(readLines(directory), lines)
  }
  writeFileSync(file, foreign)
  await t.rejects(openTestLog(directory), { message: /do not have the root of their checkpoint/ })
})

t.test('lines that the checkpoint covers, changed at the right edge, keep the log from opening, and no tile is written over', async (t) => {
  const directory = await makeLog(t)
  const before = readFileSync(path.join(directory, 'tile/0/002.p/88'))
  const segment = lastSegment(directory)
  writeFileSync(segment, readFileSync(segment, 'utf8').replace('request-599', 'request-598'))
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /the first 600 records do not have the root/ })
  t.same(readFileSync(path.join(directory, 'tile/0/002.p/88')), before)
})

t.test('a line after the checkpoint that is not its canonical record keeps the log from opening', async (t) => {
  const good = readLines(await makeLog(t))
  for (const [why, bad] of Object.entries({
    'another number': auditLine(record(610), 611),
    'a space': auditLine(record(610), 610).replace(',', ', '),
    'no number': '{"action":"predict"}',
    'no object': '610',
    'no JSON': 'garbage',
    'nothing at all': '',
    'a longer line than there may be': `{"a":"${'x'.repeat(70_000)}","seq":610}`
  })) {
    const directory = await makeLog(t)
    const segment = lastSegment(directory)
    const firstSeq = Number(path.basename(segment, '.jsonl'))
    writeFileSync(segment, good.slice(firstSeq).with(610 - firstSeq, bad).join('\n') + '\n')
    await t.rejects(openTestLog(directory), { ...inconsistent, message: /record 610 is not its canonical record/ }, why)
  }
})

t.test('a hole of zeros at the end, as a power cut leaves it, is cut with what follows', async (t) => {
  const directory = await makeLog(t)
  const segment = lastSegment(directory)
  const bytes = readFileSync(segment)
  const end = bytes.lastIndexOf(10, bytes.length - 2)
  bytes.fill(0, bytes.lastIndexOf(10, end - 1) - 20, end - 10)
  writeFileSync(segment, bytes)
  t.equal(await reopen(directory), 618)
  t.match(readRecords(directory).at(-1), { seq: 617, reason: 'torn-line' })
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 618 })
})

t.test('a tail of zeros longer than a line is cut', async (t) => {
  const directory = await makeLog(t)
  const segment = lastSegment(directory)
  const { size } = statSync(segment)
  truncateSync(segment, size + 300_000)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 620, tornBytes: 300_000 })
  t.equal(await reopen(directory), 621)
  t.match(readRecords(directory).at(-1), { reason: 'torn-line', detail: { bytes: 300_000 } })
})

t.test('an empty last segment is continued', async (t) => {
  const directory = await makeLog(t)
  writeFileSync(path.join(directory, 'segments', `${'620'.padStart(20, '0')}.jsonl`), '')
  writeFileSync(path.join(directory, 'segments', 'notes.txt'), 'not a segment')
  const log = await openTestLog(directory)
  t.equal(await append(log, record(620)), 620)
  await log.close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 621 })
})

t.test('opening reads the end of a log, not the whole', async (t) => {
  const directory = await makeLog(t)
  const first = path.join(directory, 'segments', segmentNames(directory)[0] ?? '')
  renameSync(first, `${first}.away`)
  writeFileSync(first, '')
  const log = await openTestLog(directory)
  t.equal(log.size, 620)
  await log.close()
})

t.test('a log that ends with a full tile of the second level is taken up, and rebuilt in pieces', async (t) => {
  // A thousand tiles: the disk's time is not what is tested.
  t.intercept(await fileHandleMethods(), 'datasync', { value: async () => {} })
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory)
  const detail = { text: 'x'.repeat(250) }
  for (let from = 0; from < 65_536; from += 8192) {
    await Promise.all(Array.from({ length: 8192 }, async (_, index) => await append(log, { ...record(from + index), detail })))
  }
  await log.close()
  t.equal(await reopen(directory), 65_536)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 65_536 })
  rmSync(path.join(directory, 'tile'), { recursive: true })
  t.equal(await reopen(directory), 65_537)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 65_537 })
})

t.test('a log whose tiles are wrong where its checkpoint ends with a full bundle is rebuilt', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await appendAll(log, 0, 512)
  await log.close()
  flip(path.join(directory, 'tile/1/000.p/2'), 0)
  t.equal(await reopen(directory), 513)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 513 })
})

t.test('a cut that cannot be recorded keeps the log from opening', async (t) => {
  const directory = await makeLog(t)
  truncateSync(lastSegment(directory), statSync(lastSegment(directory)).size - 1)
  const failing = t.intercept(fs, 'write', { value: (...given: unknown[]) => { (given.at(-1) as (error: Error) => void)(new Error('ENOSPC')) } })
  await t.rejects(openTestLog(directory), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  failing.restore()
  t.equal(await reopen(directory), 619, 'and leaves it to be opened when it can be')
})
