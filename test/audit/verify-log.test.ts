import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { compressSegment } from '../../src/audit/compress-segment.ts'
import { lineSeq } from '../../src/audit/line-check.ts'
import { auditLine } from '../../src/audit/line.ts'
import { signNote } from '../../src/audit/note.ts'
import { verifyLog, type LogReport } from '../../src/audit/verify-log.ts'
import { append, appendAll, openTestLog, origin, readLines, record, segmentNames, signer, verifierKey } from './log-fixture.ts'

interface MadeLog {
  readonly directory: string
  /** Of the first 300 records. */
  readonly saved: string
}

/** 640 records in three segments, checkpointed at 300 and 600; the last 40 stand behind the checkpoint. */
async function makeLog (t: Test): Promise<MadeLog> {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000 })
  for (let from = 0; from < 300; from += 50) await appendAll(log, from, from + 50)
  const { note: saved } = await log.checkpoint()
  for (let from = 300; from < 600; from += 50) await appendAll(log, from, from + 50)
  const { note } = await log.checkpoint()
  await appendAll(log, 600, 640)
  await log.close()
  unlinkSync(path.join(directory, 'tile/0/002.p/128'))
  unlinkSync(path.join(directory, 'tile/entries/002.p/128'))
  writeFileSync(path.join(directory, 'checkpoint'), note)
  return { directory, saved }
}

/** Puts these lines in place of all others, in the segments as they were divided. */
function writeLines (directory: string, lines: readonly string[]): void {
  const names = segmentNames(directory)
  const starts = names.map((name) => Number(name.slice(0, 20)))
  for (const [index, name] of names.entries()) {
    const own = lines.slice(starts[index], starts[index + 1])
    writeFileSync(path.join(directory, 'segments', name), own.map((line) => line + '\n').join(''))
  }
}

function firstBad ({ ok, problems }: LogReport): number | undefined {
  return ok ? undefined : problems[0]?.seq
}

t.test('a log that is as it was written verifies', async (t) => {
  const { directory, saved } = await makeLog(t)
  t.same(await verifyLog({ directory, verifierKey, savedCheckpoint: saved }), {
    ok: true, size: 640, retiredBefore: 0, checkpointSize: 600, signature: 'verified', unwitnessed: false, witnessedSize: 300, witnesses: [], keptCheckpoints: 1, tornBytes: 0, problems: []
  })
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, unwitnessed: true, witnessedSize: 0 }, 'and is unwitnessed without a saved checkpoint')
  t.match(await verifyLog({ directory }), { ok: true, signature: 'not-checked' })
  t.match(await verifyLog({ directory, savedCheckpoint: saved }), { ok: true, signature: 'not-checked', witnessedSize: 300 })
  t.same(segmentNames(directory).length, 3)
})

t.test('a new log verifies', async (t) => {
  const directory = t.testdir()
  await (await openTestLog(directory)).close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 0, checkpointSize: 0 })
})

t.test('any line that is changed, removed, inserted, repeated or moved is found and named', { timeout: 120_000 }, async (t) => {
  const { directory } = await makeLog(t)
  const lines = readLines(directory)
  // A line that is repeated after the last promised one contradicts nothing.
  const at = fc.nat(598)
  const changed = (index: number): string => auditLine({ ...record(index), status: 'denied' }, index)
  const renumbered = (from: readonly string[]): string[] => from.map((line, seq) => line.replace(/"seq":[0-9]+/, `"seq":${seq}`))
  const attacks: Record<string, (index: number) => { readonly lines: readonly string[], readonly seq: number }> = {
    'a changed line': (index) => ({ lines: lines.with(index, changed(index)), seq: index }),
    'a line that is not canonical': (index) => ({ lines: lines.with(index, (lines[index] ?? '').replace(':', ': ')), seq: index }),
    'a removed line': (index) => ({ lines: lines.toSpliced(index, 1), seq: index }),
    'a removed line, the others renumbered': (index) => ({ lines: renumbered(lines.toSpliced(index, 1)), seq: index }),
    'an inserted line': (index) => ({ lines: lines.toSpliced(index, 0, changed(index)), seq: index }),
    'an inserted line, the others renumbered': (index) => ({ lines: renumbered(lines.toSpliced(index, 0, changed(index))), seq: index }),
    'a repeated line': (index) => ({ lines: lines.toSpliced(index, 0, lines[index] ?? ''), seq: index + 1 }),
    'a repeated line, the others renumbered': (index) => ({ lines: renumbered(lines.toSpliced(index, 0, lines[index] ?? '')), seq: index + 1 }),
    'two lines that changed places': (index) => ({ lines: lines.with(index, lines[index + 1] ?? '').with(index + 1, lines[index] ?? ''), seq: index }),
    'two lines that changed places and numbers': (index) => ({ lines: renumbered(lines.with(index, lines[index + 1] ?? '').with(index + 1, lines[index] ?? '')), seq: index })
  }
  for (const [name, attack] of Object.entries(attacks)) {
    await fc.assert(fc.asyncProperty(at, async (index) => {
      const { lines: attacked, seq } = attack(index)
      writeLines(directory, attacked)
      const found = firstBad(await verifyLog({ directory, verifierKey }))
      // A line that follows the last promised one is only missed when it is missing.
      if (found !== Math.min(seq, 600)) throw new Error(`${name} at ${index}: found ${found ?? 'nothing'}`)
    }), { numRuns: 12, examples: [[0], [255], [256], [249], [250], [511], [512], [598]] })
    t.pass(name)
  }
})

t.test('any byte changed in a line is found', { timeout: 120_000 }, async (t) => {
  const { directory } = await makeLog(t)
  const names = segmentNames(directory)
  await fc.assert(fc.asyncProperty(fc.nat(names.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, place, change) => {
    const file = path.join(directory, 'segments', names[which] ?? '')
    const bytes = readFileSync(file)
    const lines = bytes.toString('utf8').split('\n').length - 1
    const first = Number(names[which]?.slice(0, 20))
    // What stands behind the checkpoint is vouched for by nothing yet.
    const covered = bytes.toString('latin1').split('\n').slice(0, Math.min(lines, 600 - first)).reduce((sum, line) => sum + line.length + 1, 0)
    const at = place % covered
    const seq = first + bytes.subarray(0, at).filter((byte) => byte === 10).length
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ change
    writeFileSync(file, changed)
    const found = firstBad(await verifyLog({ directory, verifierKey }))
    writeFileSync(file, bytes)
    return found === seq
  }), { numRuns: 60 })
})

t.test('any byte changed in a tile or an entry bundle is found, where it stands', async (t) => {
  const { directory } = await makeLog(t)
  const lines = readLines(directory)
  for (const [name, start, span] of [
    ['tile/0/000', 0, 1], ['tile/0/001', 256, 1], ['tile/0/002.p/88', 512, 1], ['tile/1/000.p/2', 0, 256], ['tile/1/000.p/1', 0, 256],
    ['tile/entries/000', 0, 0], ['tile/entries/002.p/88', 512, 0]
  ] as const) {
    const file = path.join(directory, name)
    const bytes = readFileSync(file)
    for (const at of [0, 31, 32, 63, bytes.length - 1, bytes.length >> 1].filter((at) => at < bytes.length)) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      writeFileSync(file, changed)
      const expected = span === 0 ? start + entryAt(lines.slice(start), at) : start + Math.floor(at / 32) * span
      const report = await verifyLog({ directory, verifierKey })
      t.equal(firstBad(report), expected, `${name} at ${at}`)
      t.equal(report.problems.length, 1)
      t.match(report.problems[0]?.what, new RegExp(`^${name} does not hold the (?:line|hash)`))
    }
    for (const wrong of [Buffer.concat([bytes, Buffer.of(0)]), bytes.subarray(0, -1), Buffer.alloc(0)]) {
      writeFileSync(file, wrong)
      t.notOk((await verifyLog({ directory, verifierKey })).ok, `${name} of ${wrong.length} bytes`)
    }
    writeFileSync(file, bytes)
  }
  t.ok((await verifyLog({ directory, verifierKey })).ok)
})

function entryAt (lines: readonly string[], at: number): number {
  let end = 0
  return lines.findIndex((line) => (end += 2 + line.length) > at)
}

t.test('a missing tile is named, and what the checkpoint does not promise is not missed', async (t) => {
  const { directory } = await makeLog(t)
  for (const [name, seq] of [['tile/0/001', 256], ['tile/entries/000', 0], ['tile/0/002.p/88', 512], ['tile/1/000.p/2', 0]] as const) {
    renameSync(path.join(directory, name), path.join(directory, 'away'))
    t.match(await verifyLog({ directory, verifierKey }), { ok: false, problems: [{ seq, what: `${name} is missing` }] })
    renameSync(path.join(directory, 'away'), path.join(directory, name))
  }
  // Of the checkpoint at 300, since replaced.
  rmSync(path.join(directory, 'tile/1/000.p/1'))
  mkdirSync(path.join(directory, 'tile/0/002.p/not-a-width'))
  writeFileSync(path.join(directory, 'tile/0/002.p/89'), 'of a checkpoint that was never published')
  writeFileSync(path.join(directory, 'segments/readme.txt'), 'not a segment')
  t.ok((await verifyLog({ directory, verifierKey })).ok)
})

t.test('bundles that were filled after the checkpoint need not be there yet', async (t) => {
  const { directory } = await makeLog(t)
  const checkpoint = readFileSync(path.join(directory, 'checkpoint'))
  const log = await openTestLog(directory)
  await appendAll(log, 640, 1100)
  await log.close()
  rmSync(path.join(directory, 'tile/0/003'))
  rmSync(path.join(directory, 'tile/entries/003'))
  writeFileSync(path.join(directory, 'checkpoint'), checkpoint)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, problems: [], size: 1100, checkpointSize: 600 })
})

t.test('records that vanish from the end are missed as far as the checkpoint goes', async (t) => {
  const { directory, saved } = await makeLog(t)
  const lines = readLines(directory)
  writeLines(directory, lines.slice(0, 600))
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 600 })
  for (const size of [599, 512, 511, 300, 1, 0]) {
    writeLines(directory, lines.slice(0, size))
    const report = await verifyLog({ directory, verifierKey, savedCheckpoint: saved })
    t.match(report, { ok: false, unwitnessed: true, witnessedSize: 0 })
    t.equal(firstBad(report), size)
  }
})

t.test('a log that was written anew from its beginning contradicts a saved checkpoint', async (t) => {
  const { directory, saved } = await makeLog(t)
  const lines = readLines(directory)
  const forged = path.join(directory, '../forged')
  const log = await openTestLog(forged)
  await append(log, { ...record(0), status: 'denied' })
  await appendAll(log, 1, 640)
  await log.close()
  t.same(readLines(forged).slice(1), lines.slice(1))
  t.match(await verifyLog({ directory: forged, verifierKey }), { ok: true, unwitnessed: true })
  t.match(await verifyLog({ directory: forged, verifierKey, savedCheckpoint: saved }), {
    ok: false, unwitnessed: true, problems: [{ what: 'the first 300 records do not have the root of the saved checkpoint' }]
  })
})

t.test('a log that ends before a saved checkpoint is found short', async (t) => {
  const { directory, saved } = await makeLog(t)
  const short = path.join(directory, '../short')
  const log = await openTestLog(short)
  await appendAll(log, 0, 299)
  await log.close()
  t.match(await verifyLog({ directory: short, verifierKey, savedCheckpoint: saved }), {
    ok: false, problems: [{ seq: 299, what: 'record 299 is missing: the saved checkpoint covers 300' }]
  })
})

t.test('a checkpoint that is missing, malformed, of another key or another root is reported', async (t) => {
  const { directory, saved } = await makeLog(t)
  const file = path.join(directory, 'checkpoint')
  const good = readFileSync(file, 'utf8')
  const [, size = '', root = ''] = good.split('\n')
  const lying = await signNote(`${origin}\n${size}\n${Buffer.alloc(32).toString('base64')}\n`, origin, signer)
  const elsewhere = await signNote(`example.com/other\n${size}\n${root}\n`, origin, signer)
  for (const [note, signature, what] of [
    [good.replace('\n600\n', '\n601\n'), 'invalid', /does not verify/],
    ['garbage', 'invalid', /note with/],
    [elsewhere, 'invalid', /another origin/],
    [lying, 'verified', /the first 600 records do not have the root of the checkpoint/]
  ] as const) {
    writeFileSync(file, note)
    t.match(await verifyLog({ directory, verifierKey }), { ok: false, signature, problems: [{ seq: undefined, what }] })
  }
  writeFileSync(file, elsewhere)
  t.match(await verifyLog({ directory, savedCheckpoint: saved }), { ok: false, problems: [{ what: `checkpoints/1970-01-01T00 is of ${origin}, the log is example.com/other` }, { what: `the saved checkpoint is of ${origin}, the log is example.com/other` }] })
  rmSync(file)
  t.match(await verifyLog({ directory, verifierKey, savedCheckpoint: saved }), { ok: false, checkpointSize: 0, problems: [{ what: 'the checkpoint is missing' }] })
  mkdirSync(file)
  await t.rejects(verifyLog({ directory, verifierKey }), { code: 'EISDIR' })
})

t.test('what the caller got wrong is thrown, not reported', async (t) => {
  const { directory, saved } = await makeLog(t)
  await t.rejects(verifyLog({ directory, verifierKey: 'no key' }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(verifyLog({ directory, verifierKey, savedCheckpoint: saved.replace('\n300\n', '\n299\n') }), { code: 'FMG_ERR_LOG_INCONSISTENT' })
  await t.rejects(verifyLog({ directory, savedCheckpoint: 'garbage' }), { code: 'FMG_ERR_LOG_INCONSISTENT' })
  await t.rejects(verifyLog({ directory: path.join(directory, 'nowhere'), verifierKey }), { code: 'FMG_ERR_FILE' })
})

t.test('a torn line is a record being written at the end, and a fault anywhere else', async (t) => {
  const { directory } = await makeLog(t)
  const names = segmentNames(directory).map((name) => path.join(directory, 'segments', name))
  const copy = path.join(directory, '../copy')
  cpSync(directory, copy, { recursive: true })
  writeFileSync(names.at(-1) ?? '', '{"action"', { flag: 'a' })
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 640, tornBytes: 9 })
  truncateSync(names[0] ?? '', 100)
  t.match(await verifyLog({ directory, verifierKey }), { ok: false, problems: [{ seq: 0, what: 'record 0 is torn, and is not the last' }] })
  const second = path.join(copy, 'segments', path.basename(names[1] ?? ''))
  rmSync(second)
  t.match(await verifyLog({ directory: copy, verifierKey }), { ok: false, problems: [{ seq: 250, what: 'record 250 is missing: the next segment begins with 500' }] })
})

t.test('several threads find what one does, where and how', { timeout: 120_000 }, async (t) => {
  const { directory, saved } = await makeLog(t)
  const lines = readLines(directory)
  const same = async (name: string, ok: boolean): Promise<void> => {
    const [one, several] = [await verifyLog({ directory, verifierKey, savedCheckpoint: saved, workers: 0 }), await verifyLog({ directory, verifierKey, savedCheckpoint: saved, workers: 3 })]
    t.same(several, one, name)
    t.equal(several.ok, ok)
  }
  await same('a log as it was written', true)
  for (const index of [0, 249, 250, 512, 599]) {
    writeLines(directory, lines.with(index, auditLine({ ...record(index), status: 'denied' }, index)))
    await same(`record ${index} changed`, false)
    writeLines(directory, lines.toSpliced(index, 1))
    await same(`record ${index} removed`, false)
    writeLines(directory, lines.with(index, `${lines[index] ?? ''} `))
    await same(`record ${index} not canonical`, false)
  }
  writeLines(directory, lines)
  const last = path.join(directory, 'segments', segmentNames(directory).at(-1) ?? '')
  truncateSync(last, readFileSync(last).length - 5)
  await same('a torn last line', true)
  const first = path.join(directory, 'segments', segmentNames(directory)[0] ?? '')
  await compressSegment(first, new AbortController().signal)
  await same('a compressed segment', true)
  const whole = readFileSync(`${first}.gz`)
  writeFileSync(`${first}.gz`, whole.subarray(0, whole.length - 20))
  await same('a compressed segment that is cut', false)
})

t.test('a log of more than 32 MiB is hashed by others than this thread, where there are cores', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { maxSegmentBytes: 20_000_000 })
  const detail = Object.fromEntries(Array.from({ length: 19 }, (_, index) => [`member${index}`, 'x'.repeat(500)]))
  for (let index = 0; index < 3500; index += 500) await Promise.all(Array.from({ length: 500 }, async (_, more) => await append(log, { ...record(index + more), detail })))
  await log.close()
  t.ok(segmentNames(directory).reduce((sum, name) => sum + statSync(path.join(directory, 'segments', name)).size, 0) > 33_554_432)
  let started = 0
  const count = (): void => { started++ }
  process.on('worker', count)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 3500, checkpointSize: 3500 })
  process.off('worker', count)
  t.equal(started, availableParallelism() > 1 ? 2 : 0)
})

t.test('a line is taken only when it is canonical, whichever way it is read', async (t) => {
  const seqOf = (line: string | Buffer): number | undefined => lineSeq(Buffer.from(line), 0, Buffer.byteLength(line))
  const plain = auditLine({ ...record(7), duration_ms: 1.5, http_status: 200 }, 7)
  t.equal(seqOf(plain), 7)
  t.equal(seqOf(auditLine({ ...record(7), org: '€"', detail: { seq: 8 }, duration_ms: 1e-7 }, 7)), 7)
  t.equal(seqOf('{"seq":0}'), 0)
  for (const number of ['0', '0.001', '999999999.999999', '1234567890.1234567', '1e+30']) t.equal(seqOf(plain.replace('1.5', number)), 7, number)
  for (const line of [
    '', '{}', 'null', '7', '"seq"', '[{"seq":7}]', '{"seq":"7"}', '{"seq":7.5}', '{"seq":7 }', '{"seq":07}', '{"seq":7,"seq":7}', '{"seq":1e400}', '{"b":1,"a":1,"seq":7}',
    plain.replace('1.5', '1.50'), plain.replace('1.5', '1.0'), plain.replace('1.5', '1.'), plain.replace('1.5', '01.5'), plain.replace('1.5', '1.0000000000000000000001'), plain.replace('1.5', '1.5.5'), plain.replace('1.5', '.5'), plain.replace('200', '0200'), plain.replace('"success"', '"\\u0073uccess"'),
    plain + ' ', ' ' + plain, plain.replace('{', '{"status":"success",'), plain.replace('predict', 'pre\x01dict'), `{"a":"${'x'.repeat(65_530)}","seq":7}`,
    Buffer.from([...Buffer.from('{"a":"'), 0xff, ...Buffer.from('","seq":7}')]), Buffer.from('{"a":"\\ud800","seq":7}')
  ]) t.equal(seqOf(line), undefined, line.toString().slice(0, 80))
  t.equal(lineSeq(Buffer.from(`\n${plain}\n`), 1, plain.length + 1), 7)
})
