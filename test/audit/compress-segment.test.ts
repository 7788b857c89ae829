import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { compressSegment } from '../../src/audit/compress-segment.ts'
import type { LogOptions } from '../../src/audit/log-options.ts'
import { auditLine } from '../../src/audit/line.ts'
import { readRecords } from '../../src/audit/read-records.ts'
import { listSegments, readLineBlocks, segmentsFolder } from '../../src/audit/segment-files.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { append, appendAll, fileHandleMethods, isLocked, openTestLog, record, segmentNames, verifierKey } from './log-fixture.ts'
import { until } from '../helpers/until.ts'

const inconsistent = { code: 'FMG_ERR_LOG_INCONSISTENT' }
const never = new AbortController().signal

/** A closed log of 700 records in three segments: 0, 250 and 500. */
async function makeLog (t: Test): Promise<string> {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000 })
  for (let from = 0; from < 700; from += 50) await appendAll(log, from, from + 50)
  await log.close()
  return directory
}

const pathOf = (directory: string, firstSeq: number): string => path.join(directory, 'segments', `${String(firstSeq).padStart(20, '0')}.jsonl`)

async function seqsIn (directory: string): Promise<number[]> {
  const seqs: number[] = []
  for await (const records of readRecords({ directory })) seqs.push(...records.map(({ seq }) => seq))
  return seqs
}

const upTo = (size: number): number[] => Array.from({ length: size }, (_, seq) => seq)

/** Opens and closes; what is to be done with closed segments is done in between. */
async function reopen (directory: string, more: Partial<LogOptions> = {}): Promise<number> {
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000, ...more })
  const { size } = log
  await log.close()
  return size
}

t.test('segments that are no longer written are compressed, for zcat, and everything reads them', async (t) => {
  const directory = await makeLog(t)
  const [first, second] = [pathOf(directory, 0), pathOf(directory, 250)]
  const text = readFileSync(first, 'utf8')
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000, compressSegments: true })
  await until(() => !existsSync(second))
  t.same(segmentNames(directory).map((name) => name.slice(17)), ['000.jsonl.gz', '250.jsonl.gz', '500.jsonl'], 'but for the newest, and what follows the last full bundle of the checkpoint')
  t.equal(spawnSync('zcat', [`${first}.gz`], { encoding: 'utf8' }).stdout, text)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 700, problems: [] })
  t.same(await seqsIn(directory), upTo(700))
  t.equal(await append(log, record(700)), 700)
  await log.close()
  t.equal(await reopen(directory), 701)
  rmSync(path.join(directory, 'tile'), { recursive: true })
  t.equal(await reopen(directory), 702, 'a tree is rebuilt from them')
  rmSync(path.join(directory, 'checkpoint'))
  t.equal(await reopen(directory), 703)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 703 })
})

t.test('a log leaves its segments as they are unless it is told otherwise', async (t) => {
  const directory = await makeLog(t)
  const names = segmentNames(directory)
  await reopen(directory)
  t.same(segmentNames(directory), names)
})

t.test('a segment is compressed while the log goes on, after the checkpoint that settles it', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { maxSegmentBytes: 24_000, compressSegments: true })
  for (let from = 0; from < 500; from += 50) await appendAll(log, from, from + 50)
  await log.checkpoint()
  t.same(segmentNames(directory).map((name) => name.slice(17)), ['000.jsonl', '250.jsonl'])
  await appendAll(log, 500, 520)
  await log.checkpoint()
  await until(() => existsSync(`${pathOf(directory, 0)}.gz`) && !existsSync(pathOf(directory, 0)))
  t.ok(existsSync(pathOf(directory, 250)))
  await log.close()
  const other = path.join(t.testdirName, 'other')
  const few = await openTestLog(other, { maxSegmentBytes: 5000, compressSegments: true })
  for (let from = 0; from < 300; from += 50) await appendAll(few, from, from + 50)
  await few.checkpoint()
  const last = (): number => Math.max(...segmentNames(other).filter((name) => name.endsWith('.gz')).map((name) => Number(name.slice(0, 20))), -1)
  await until(() => last() === 200)
  await few.close()
  t.equal(last(), 200, 'the segment in which the last full bundle ends is read when the log is opened, and stays')
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 520 })
})

t.test('a crash at any moment of compressing leaves one good copy', async (t) => {
  const directory = await makeLog(t)
  const first = pathOf(directory, 0)
  const whole = gzipSync(readFileSync(first))
  for (const [moment, leave] of Object.entries({
    'the temporary file is begun': (file: string) => { writeFileSync(`${file}.gz.tmp`, whole.subarray(0, 100)) },
    'it is complete': (file: string) => { writeFileSync(`${file}.gz.tmp`, whole) },
    'it has its name': (file: string) => { writeFileSync(`${file}.gz`, whole) },
    'the original is gone': (file: string) => { writeFileSync(`${file}.gz`, whole); rmSync(file) }
  })) {
    const copy = path.join(directory, '../copy')
    rmSync(copy, { recursive: true, force: true })
    cpSync(directory, copy, { recursive: true })
    leave(pathOf(copy, 0))
    t.match(await verifyLog({ directory: copy, verifierKey }), { ok: true, size: 700 }, moment)
    t.same(await seqsIn(copy), upTo(700))
    const log = await openTestLog(copy, { compressSegments: true })
    await until(() => !existsSync(pathOf(copy, 0)) && !existsSync(pathOf(copy, 250)))
    await log.close()
    t.same(segmentNames(copy).map((name) => name.slice(17)), ['000.jsonl.gz', '250.jsonl.gz', '500.jsonl'])
    writeFileSync(`${pathOf(copy, 250)}.gz.tmp`, 'left by a process that was killed')
    await reopen(copy)
    t.notOk(existsSync(`${pathOf(copy, 250)}.gz.tmp`))
    t.match(await verifyLog({ directory: copy, verifierKey }), { ok: true, size: 700 })
  }
})

t.test('the original stays when what was written does not inflate to it, and when it cannot be written', async (t) => {
  const directory = await makeLog(t)
  const first = pathOf(directory, 0)
  const methods = await fileHandleMethods()
  const swapping = t.intercept(methods, 'sync', { value: async () => { writeFileSync(`${first}.gz.tmp`, gzipSync('something else')) } })
  await t.rejects(compressSegment(first, never), { code: 'FMG_ERR_FILE', message: /does not inflate to/ })
  swapping.restore()
  const cutting = t.intercept(methods, 'sync', { value: async () => { truncateSync(`${first}.gz.tmp`, 100) } })
  await t.rejects(compressSegment(first, never), { code: 'Z_BUF_ERROR' })
  cutting.restore()
  await t.rejects(compressSegment(first, AbortSignal.abort()), { name: 'AbortError' })
  t.same(segmentNames(directory).length, 3)
  const failing = t.intercept(methods, 'sync', { value: async () => { throw new Error('EIO') } })
  const errors: Error[] = []
  let now = 0
  const log = await openTestLog(directory, { compressSegments: true, clock: () => now, onError: (error) => { errors.push(error) } })
  await until(() => errors.length > 0)
  failing.restore()
  t.match(errors, [{ message: 'EIO' }])
  await append(log, record(700))
  await log.checkpoint()
  await append(log, record(701))
  now = 60_000
  t.same(segmentNames(directory).length, 3, 'and is let be for a while')
  await log.checkpoint()
  await until(() => !existsSync(first))
  await log.close()
})

t.test('what is not an error is one by then', async (t) => {
  const directory = await makeLog(t)
  const failing = t.intercept(await fileHandleMethods(), 'sync', { value: async () => { throw 'a string' as unknown as Error } })
  const errors: Error[] = []
  const log = await openTestLog(directory, { compressSegments: true, onError: (error) => { errors.push(error) } })
  await until(() => errors.length > 0)
  failing.restore()
  t.match(errors, [{ message: 'upkeep failed', cause: 'a string' }])
  await log.close()
})

t.test('closing stops compressing, and lets go of nothing before', async (t) => {
  const directory = await makeLog(t)
  const log = await openTestLog(directory, { compressSegments: true })
  await until(() => existsSync(`${pathOf(directory, 0)}.gz.tmp`))
  await log.close()
  t.same(segmentNames(directory).map((name) => name.slice(17)), ['000.jsonl', '250.jsonl', '500.jsonl'])
  t.notOk(isLocked(directory))
  t.match(await verifyLog({ directory, verifierKey }), { ok: true })
  let release: (() => void) | undefined
  const hanging = t.intercept(await fileHandleMethods(), 'sync', { value: async () => { await new Promise<void>((resolve) => { release = resolve }) } })
  const stuck = await openTestLog(directory, { compressSegments: true, closeTimeoutMs: 20 })
  await until(() => release !== undefined)
  await t.rejects(stuck.close(), { message: /within 20 ms/ })
  t.ok(isLocked(directory), 'a folder that may still be written to stays locked')
  hanging.restore()
  release?.()
  rmSync(path.join(directory, 'lock'))
})

t.test('a compressed segment that is cut, damaged, swollen or torn is a problem with a name', async (t) => {
  const directory = await makeLog(t)
  const first = pathOf(directory, 0)
  const text = readFileSync(first, 'utf8')
  rmSync(first)
  const good = gzipSync(text)
  const flipped = Buffer.from(good)
  flipped[good.length >> 1] = (flipped[good.length >> 1] ?? 0) ^ 1
  for (const [why, bytes, message] of [
    ['cut', good.subarray(0, -1), /000\.jsonl\.gz is not whole$/],
    ['cut to nothing', Buffer.alloc(0), /is not whole$/],
    ['damaged', flipped, /is not whole$|is missing|not a canonical/],
    ['no gzip', Buffer.from(text), /is not whole$/],
    ['swollen', gzipSync(Buffer.alloc(250 * 65_536 + 1, text)), /inflates to more than its records may hold|is missing/],
    ['of one line without an end', gzipSync(Buffer.alloc(60_000_000, 'x')), /inflates to more|does not end with a line/],
    ['torn', gzipSync(text.slice(0, -1)), /does not end with a line$/]
  ] as const) {
    writeFileSync(`${first}.gz`, bytes)
    const { ok, problems } = await verifyLog({ directory, verifierKey })
    t.notOk(ok, why)
    t.match(problems[0]?.what, message, why)
    t.type(problems[0]?.seq, 'number')
    rmSync(path.join(directory, 'checkpoint.away'), { force: true })
    renameSync(path.join(directory, 'checkpoint'), path.join(directory, 'checkpoint.away'))
    await t.rejects(openTestLog(directory), inconsistent, why)
    renameSync(path.join(directory, 'checkpoint.away'), path.join(directory, 'checkpoint'))
    if (why !== 'swollen') await t.rejects(seqsIn(directory), inconsistent)
  }
  writeFileSync(`${first}.gz`, good)
  t.ok((await verifyLog({ directory, verifierKey })).ok)
})

t.test('a segment that inflates to more than its place among the others allows is read no further', async (t) => {
  const directory = await makeLog(t)
  const first = pathOf(directory, 0)
  rmSync(first)
  const line = `${auditLine(record(0), 0)}\n`
  writeFileSync(`${first}.gz`, gzipSync(Buffer.alloc(250 * 65_536 + 1_048_576, line)))
  let bytes = 0
  await t.rejects(async () => {
    const [segment] = await listSegments(segmentsFolder(directory))
    for await (const block of readLineBlocks(segment?.file ?? '', { maxBytes: segment?.maxBytes ?? 0 })) bytes += block.bytes.length - 1
  }, { ...inconsistent, message: /inflates to more than its records may hold/ })
  t.ok(bytes <= 250 * 65_536)
})

t.test('a log that ends with a compressed segment has lost what followed it', async (t) => {
  const directory = await makeLog(t)
  await compressSegment(pathOf(directory, 500), never)
  t.match(await verifyLog({ directory, verifierKey }), { ok: false, problems: [{ seq: 700, what: /the last segment is compressed/ }] })
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /record 700 is missing: the last segment is compressed/ })
})

t.test('a segment that was compressed by hand where the log goes on is read from its beginning', async (t) => {
  const directory = await makeLog(t)
  const log = await openTestLog(directory, { maxSegmentBytes: 1 })
  await append(log, record(700))
  await log.close()
  const bytes = readFileSync(pathOf(directory, 500))
  writeFileSync(`${pathOf(directory, 500)}.gz`, gzipSync(bytes))
  rmSync(pathOf(directory, 500))
  t.equal(await reopen(directory), 701)
  t.same(gunzipSync(readFileSync(`${pathOf(directory, 500)}.gz`)), bytes)
})

t.test('who reads a segment that is compressed under his eyes reads on', async (t) => {
  const directory = await makeLog(t)
  const [segment] = await listSegments(segmentsFolder(directory))
  await compressSegment(pathOf(directory, 0), never)
  let lines = 0
  for await (const { bytes } of readLineBlocks(segment?.file ?? '')) lines += bytes.filter((byte) => byte === 10).length
  t.equal(lines, 250)
  const text = gunzipSync(readFileSync(`${pathOf(directory, 0)}.gz`)).toString()
  const from = text.indexOf('\n', 20_000) + 1
  let rest = ''
  for await (const { bytes } of readLineBlocks(segment?.file ?? '', { from })) rest += bytes.toString('utf8', 1)
  t.equal(rest, text.slice(from), 'from where he was')
  rmSync(`${pathOf(directory, 0)}.gz`)
  await t.rejects(async () => { for await (const block of readLineBlocks(segment?.file ?? '')) t.fail(String(block.offset)) }, { code: 'ENOENT', path: pathOf(directory, 0) })
  mkdirSync(`${pathOf(directory, 0)}.gz`)
  await t.rejects(verifyLog({ directory, verifierKey }), { code: 'EISDIR' }, 'what the disk says is not said of the log')
})
