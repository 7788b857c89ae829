import fs, { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { compressSegment } from '../../src/audit/compress-segment.ts'
import { auditLine } from '../../src/audit/line.ts'
import type { AuditLog } from '../../src/audit/log.ts'
import type { LogOptions } from '../../src/audit/log-options.ts'
import { hashLeaf, hashNode, verifyInclusion } from '../../src/audit/merkle.ts'
import { readRecords } from '../../src/audit/read-records.ts'
import type { AuditRecord } from '../../src/audit/record.ts'
import { firstTime } from '../../src/audit/segment-time.ts'
import { tileHashes } from '../../src/audit/tile-hashes.ts'
import { readTile } from '../../src/audit/tiles.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import type { Signer } from '../../src/secrets/signer.ts'
import { append, openTestLog, readLines, record, segmentNames, signer, verifierKey } from './log-fixture.ts'
import { until } from '../helpers/until.ts'

const dayMs = 86_400_000
const inconsistent = { code: 'FMG_ERR_LOG_INCONSISTENT' }

/** A record of a day, counted from the epoch. */
function dated (index: number, day: number): AuditRecord {
  return { ...record(index), timestamp: new Date(day * dayMs + 1000).toISOString() }
}

interface Days {
  readonly directory: string
  /** Opens the log on this day. */
  readonly open: (day: number, more?: Partial<LogOptions>) => Promise<AuditLog>
}

/** A log of four days with 300 records each, a segment a day. */
async function makeLog (t: Test, name = 'log'): Promise<Days> {
  const directory = path.join(name === 'log' ? t.testdir() : t.testdirName, name)
  let now = 0
  const open: Days['open'] = async (day, more = {}) => {
    now = day * dayMs
    return await openTestLog(directory, { clock: () => now, ...more })
  }
  const log = await open(0)
  for (let day = 0; day < 4; day++) {
    now = day * dayMs
    await Promise.all(Array.from({ length: 300 }, async (_, index) => await append(log, dated(day * 300 + index, day))))
  }
  await log.close()
  return { directory, open }
}

const starts = (directory: string): number[] => segmentNames(directory).map((name) => Number(name.slice(0, 20)))

const bundles = (directory: string): string[] => readdirSync(path.join(directory, 'tile/entries')).sort()

const noteIn = (directory: string): unknown => JSON.parse(readFileSync(path.join(directory, 'retired'), 'utf8'))

async function whenRetired (directory: string, before: number): Promise<void> {
  await until(() => existsSync(path.join(directory, 'retired')) && (noteIn(directory) as { from: number }).from === before)
}

/** A log whose first two days are gone. */
async function makeRetired (t: Test, name = 'log'): Promise<Days> {
  const days = await makeLog(t, name)
  const log = await days.open(4.5, { retainSeconds: 2 * 86_400 })
  await whenRetired(days.directory, 600)
  await log.close()
  return days
}

t.test('a segment is followed by a new one when it has grown old, also one that was begun by another process', async (t) => {
  const { directory, open } = await makeLog(t)
  t.same(starts(directory), [0, 300, 600, 900])
  const same = await open(3.5)
  await append(same, dated(1200, 3))
  await same.close()
  t.same(starts(directory), [0, 300, 600, 900])
  const next = await open(4.5)
  await append(next, dated(1201, 4))
  await next.close()
  t.same(starts(directory), [0, 300, 600, 900, 1201])
  const empty = path.join(directory, '../empty')
  await (await openTestLog(empty)).close()
  writeFileSync(path.join(empty, 'segments', `${'0'.repeat(20)}.jsonl`), '')
  let now = 0
  const log = await openTestLog(empty, { clock: () => now })
  now = 9 * dayMs
  await append(log, record(0))
  t.same(starts(empty), [0], 'but not by one of the same name')
  await log.close()
})

t.test('old records go, their hashes stay, a record says so, and the log verifies', async (t) => {
  const { directory, open } = await makeLog(t)
  const root = Buffer.from(await tileHashes(directory, 1200)(0, 600), 'latin1').toString('base64')
  const hashes = readFileSync(path.join(directory, 'tile/0/001'))
  const log = await open(4.5, { retainSeconds: 2 * 86_400 })
  await whenRetired(directory, 600)
  t.same(starts(directory), [600, 900, 1200])
  t.same(bundles(directory), ['002', '003', '004.p'], 'entry bundles that lie wholly in them too')
  t.same(readFileSync(path.join(directory, 'tile/0/001')), hashes)
  t.match(JSON.parse(readLines(directory).at(-1) ?? ''), { seq: 1200, action: 'log:retire', status: 'success', reason: 'retention', detail: { before: 600, root } })
  t.same(noteIn(directory), { from: 600, before: 600, seq: 1200 })
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, problems: [], size: 1201, retiredBefore: 600, checkpointSize: 1201 })
  await log.close()
  const again = await open(4.5, { retainSeconds: 2 * 86_400 })
  t.equal(again.size, 1201)
  t.equal(await append(again, dated(1201, 4)), 1201)
  await again.checkpoint()
  await again.close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 1202, retiredBefore: 600 }, 'and is not retired twice')
  const seqs: number[] = []
  for await (const records of readRecords({ directory })) seqs.push(...records.map(({ seq }) => seq))
  t.same(seqs, Array.from({ length: 602 }, (_, index) => 600 + index))
})

t.test('who holds the line of a record that is gone can still prove it', async (t) => {
  const { directory } = await makeRetired(t)
  const tile = await readTile(directory, 0, 0, 256)
  const leaf = hashLeaf(Buffer.from(auditLine(dated(5, 0), 5)))
  t.equal(Buffer.from(tile ?? []).toString('latin1', 5 * 32, 6 * 32), leaf)
  // The first 256 records: their tile is all that a proof needs.
  const hash = (at: number, count: number): string => count === 1 ? Buffer.from(tile ?? []).toString('latin1', at * 32, at * 32 + 32) : hashNode(hash(at, count / 2), hash(at + count / 2, count / 2))
  const proof = [[4, 1], [6, 2], [0, 4], [8, 8], [16, 16], [32, 32], [64, 64], [128, 128]].map(([at = 0, count = 0]) => Buffer.from(hash(at, count), 'latin1'))
  t.ok(verifyInclusion({ index: 5, size: 256, leaf: Buffer.from(leaf, 'latin1'), root: Buffer.from(await tileHashes(directory, 1201)(0, 256), 'latin1'), proof }))
})

t.test('a saved checkpoint of records that are gone still holds the log to its word', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  let now = 0
  const log = await openTestLog(directory, { clock: () => now, retainSeconds: 86_400 })
  for (let index = 0; index < 200; index++) log.append(dated(index, 0), () => {})
  const { note: savedCheckpoint } = await log.checkpoint()
  for (let index = 200; index < 300; index++) log.append(dated(index, 0), () => {})
  await log.checkpoint()
  now = 2 * dayMs
  for (let index = 300; index < 600; index++) log.append(dated(index, 2), () => {})
  await log.checkpoint()
  now = 4 * dayMs
  await append(log, dated(600, 4))
  await log.checkpoint()
  await whenRetired(directory, 300)
  await log.close()
  t.match(await verifyLog({ directory, verifierKey, savedCheckpoint }), { ok: true, retiredBefore: 300, witnessedSize: 200 })
  const forged = await openTestLog(path.join(directory, '../forged'))
  for (let index = 0; index < 200; index++) forged.append(dated(index + 1, 0), () => {})
  const { note: foreign } = await forged.checkpoint()
  await forged.close()
  t.match(await verifyLog({ directory, verifierKey, savedCheckpoint: foreign }), { ok: false, problems: [{ what: /the first 200 records do not have the root of the saved/ }] })
})

t.test('a log whose beginning was deleted without a record of it does not hold, nor open', async (t) => {
  const { directory } = await makeLog(t)
  rmSync(path.join(directory, 'segments', segmentNames(directory)[0] ?? ''))
  t.match(await verifyLog({ directory, verifierKey }), { ok: false, problems: [{ seq: 0, what: /record 0 is missing: the first segment begins with 300, and no record says/ }] })
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /the first segment is missing: record 0,/ })
})

t.test('a log of which more was deleted than its record says does not hold, nor open', async (t) => {
  const { directory } = await makeRetired(t)
  rmSync(path.join(directory, 'segments', segmentNames(directory)[0] ?? ''))
  const { ok, problems } = await verifyLog({ directory, verifierKey })
  t.notOk(ok)
  t.match(problems[0], { seq: 600, what: /record 600 is missing: the first segment begins with 900/ })
  await t.rejects(openTestLog(directory), { ...inconsistent, message: /the first segment is missing: record 600,/ })
})

t.test('a record of a retirement counts only under the checkpoint, and only with the root of what it lets go', async (t) => {
  const { directory, open } = await makeLog(t)
  const root = Buffer.from(await tileHashes(directory, 1200)(0, 300), 'latin1').toString('base64')
  const retirement = (detail: Readonly<Record<string, unknown>>): AuditRecord => ({ ...dated(0, 3), action: 'log:retire', detail })
  const copy = path.join(directory, '../copy')
  const problemWith = async (detail: Readonly<Record<string, unknown>>, isPublished = true): Promise<unknown> => {
    rmSync(copy, { recursive: true, force: true })
    cpSync(directory, copy, { recursive: true })
    const checkpoint = readFileSync(path.join(copy, 'checkpoint'))
    const log = await openTestLog(copy, { clock: () => 3 * dayMs })
    await append(log, retirement(detail))
    await log.close()
    if (!isPublished) writeFileSync(path.join(copy, 'checkpoint'), checkpoint)
    rmSync(path.join(copy, 'segments', segmentNames(copy)[0] ?? ''))
    return (await verifyLog({ directory: copy, verifierKey })).problems[0]
  }
  t.equal(await problemWith({ before: 300, root }), undefined)
  t.match(await problemWith({ before: 300, root }, false), { seq: 0, what: /record 0 is missing/ })
  t.match(await problemWith({ before: 300, root: root.replace(/^./, root.startsWith('A') ? 'B' : 'A') }), { seq: 1200, what: 'record 1200 does not say the root of the first 300' })
  t.match(await problemWith({ before: 299, root }), { seq: 299 })
  t.match(await problemWith({ before: '300', root }), { seq: 0 })
  t.match(await problemWith({ before: 300, root: 7 }), { seq: 0 })
  t.match(await problemWith({ before: 1e9, root }), { seq: 0 })
  t.ok(open)
})

t.test('what stands for retired records is held against the checkpoint', async (t) => {
  const { directory } = await makeRetired(t)
  for (const [name, change, problem] of [
    ['tile/0/001', (bytes: Buffer) => bytes.fill(0, 0, 32), { seq: 256, records: 256 }],
    ['tile/0/001', (bytes: Buffer) => bytes.subarray(1), { seq: 256, what: /record 256 is missing: tile\/0\/001, which stands for it, is not whole/ }],
    ['tile/0/000', () => undefined, { seq: 0, what: /record 0 is missing/ }],
    ['tile/entries/002', () => undefined, { seq: 512, what: /record 512 is missing: tile\/entries\/002/ }],
    ['tile/entries/002', (bytes: Buffer) => bytes.subarray(0, 90), { seq: 512 }],
    ['tile/entries/002', (bytes: Buffer) => bytes.subarray(0, 2 + bytes.readUInt16BE(0)), { seq: 512, what: /record 512 is missing: the bundle/ }],
    ['tile/entries/002', (bytes: Buffer) => bytes.fill('x', 10, 11), { seq: 512 }]
  ] as const) {
    const file = path.join(directory, name)
    const bytes = readFileSync(file)
    const changed = change(Buffer.from(bytes))
    if (changed === undefined) rmSync(file)
    else writeFileSync(file, changed)
    const { ok, problems } = await verifyLog({ directory, verifierKey })
    t.notOk(ok)
    t.match(problems.find(({ seq }) => seq === problem.seq), problem, name)
    writeFileSync(file, bytes)
  }
  t.ok((await verifyLog({ directory, verifierKey })).ok)
})

t.test('the tree of a log with retired records is rebuilt from their hashes', async (t) => {
  const { directory, open } = await makeRetired(t)
  rmSync(path.join(directory, 'tile/1'), { recursive: true })
  await (await open(4)).close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 1202, retiredBefore: 600 })
  rmSync(path.join(directory, 'tile/1'), { recursive: true })
  rmSync(path.join(directory, 'tile/0/000'))
  await t.rejects(open(4), { ...inconsistent, message: /record 0 is missing: tile\/0\/000, which stands for it/ })
})

t.test('what one retirement could not delete, the next one does', async (t) => {
  const { directory, open } = await makeLog(t)
  const errors: Error[] = []
  const entries = path.join(directory, 'tile/entries')
  renameSync(path.join(entries, '000'), path.join(directory, 'kept'))
  // A folder in a file's place is not deleted.
  mkdirSync(path.join(entries, '000'))
  let now = 3.5 * dayMs
  const log = await open(3.5, { clock: () => now, retainSeconds: 2 * 86_400, onError: (error) => { errors.push(error) } })
  await until(() => errors.length > 0)
  t.same(starts(directory).slice(0, 2), [300, 600])
  rmSync(path.join(entries, '000'), { recursive: true })
  renameSync(path.join(directory, 'kept'), path.join(entries, '000'))
  now = 4.5 * dayMs
  await append(log, dated(1200, 4.5))
  await log.checkpoint()
  await whenRetired(directory, 600)
  await log.close()
  t.same(bundles(directory).slice(0, 2), ['002', '003'])
})

t.test('a crash at any moment of a retirement leaves a log that holds, and that finishes it', async (t) => {
  const { directory, open } = await makeLog(t)
  const made = await makeLog(t, 'made')
  const { directory: copy } = await makeRetired(t, 'retired')
  const note = { from: 0, before: 600, seq: 1200 }
  // All that a crash can leave between the note and the end: some of the segments, some of the bundles.
  for (const [gone, bundlesGone] of [[0, 0], [1, 0], [2, 0], [2, 1]] as const) {
    rmSync(directory, { recursive: true, force: true })
    cpSync(copy, directory, { recursive: true })
    for (const name of [...segmentNames(made.directory).slice(gone, 2)]) cpSync(path.join(made.directory, 'segments', name), path.join(directory, 'segments', name))
    for (const name of ['000', '001'].slice(bundlesGone)) cpSync(path.join(made.directory, 'tile/entries', name), path.join(directory, 'tile/entries', name))
    writeFileSync(path.join(directory, 'retired'), JSON.stringify(note))
    t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 1201 }, `${gone} segments gone`)
    const log = await open(4)
    await whenRetired(directory, 600)
    await log.close()
    t.same([starts(directory), bundles(directory)], [[600, 900, 1200], ['002', '003', '004.p']])
    t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 1201, retiredBefore: 600 })
  }
})

t.test('nothing is deleted before its record is durable and under a checkpoint', async (t) => {
  const { directory, open } = await makeLog(t)
  const errors: Error[] = []
  let fails = true
  const sign: Signer['sign'] = async (data) => {
    if (fails) throw new Error('no signature')
    return await signer.sign(data)
  }
  const log = await open(4.5, { retainSeconds: 2 * 86_400, signer: { ...signer, sign }, onError: (error) => { errors.push(error) } })
  await until(() => errors.length > 0)
  t.same(starts(directory), [0, 300, 600, 900, 1200])
  t.notOk(existsSync(path.join(directory, 'retired')))
  fails = false
  await log.close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, retiredBefore: 0 })
})

t.test('a record of a retirement that cannot be written deletes nothing', async (t) => {
  const { directory, open } = await makeLog(t)
  const before = starts(directory)
  const errors: Error[] = []
  const log = await open(4.5, { retainSeconds: 2 * 86_400, maxWaitingUnits: 1, onError: (error) => { errors.push(error) } })
  await until(() => errors.length > 0)
  t.match(errors, [{ code: 'FMG_ERR_AUDIT_UNAVAILABLE' }])
  await log.close()
  t.same(starts(directory), before)
})

t.test('compressed segments go as well, what is to go is not compressed before, and records that have no time stay', async (t) => {
  const { directory, open } = await makeLog(t)
  await compressSegment(path.join(directory, 'segments', segmentNames(directory)[0] ?? ''), new AbortController().signal)
  await compressSegment(path.join(directory, 'segments', segmentNames(directory)[1] ?? ''), new AbortController().signal)
  const log = await open(4.5, { retainSeconds: 2 * 86_400, compressSegments: true })
  await whenRetired(directory, 600)
  await until(() => segmentNames(directory)[0] === `${'0'.repeat(17)}600.jsonl.gz`)
  await log.close()
  t.same(starts(directory), [600, 900, 1200])
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, retiredBefore: 600 })
  const timeless = path.join(directory, '../timeless')
  const other = await openTestLog(timeless, { maxSegmentBytes: 1 })
  for (let index = 0; index < 300; index++) await append(other, { ...record(index), timestamp: 'never' })
  await other.close()
  let looked = 0
  const again = await openTestLog(timeless, { retainSeconds: 1, clock: () => 9 * dayMs + looked++ })
  await until(() => looked > 2)
  await again.close()
  t.equal(starts(timeless)[0], 0)
})

t.test('a log that gets no records looks for old ones by itself', async (t) => {
  const { directory } = await makeLog(t)
  let now = 0
  let looked = 0
  const clock = (): number => {
    looked++
    return now
  }
  const log = await openTestLog(directory, { retainSeconds: 1, clock })
  await append(log, dated(1200, 0))
  await log.checkpoint()
  // Twice: when the log is opened, and when there is a new checkpoint.
  await until(() => looked > 4)
  now = 3.5 * dayMs
  await until(() => existsSync(path.join(directory, 'retired')))
  await whenRetired(directory, 900)
  await log.close()
  t.same(starts(directory), [900])
})

t.test('a note that says nothing keeps a log without its beginning from opening, and is told of by one that has it', async (t) => {
  const { directory, open } = await makeRetired(t)
  const file = path.join(directory, 'retired')
  for (const note of ['{', '{}', '{"from":0,"before":600,"seq":"1200"}']) {
    writeFileSync(file, note)
    await t.rejects(open(4), { ...inconsistent, message: /does not say what was retired/ })
  }
  for (const note of [{ seq: 1201 }, { seq: 1199 }, { seq: 700 }]) {
    writeFileSync(file, JSON.stringify({ from: 600, before: 600, ...note }))
    await t.rejects(open(4), { message: /the first segment is missing: record 0,/ })
  }
  writeFileSync(file, JSON.stringify({ from: 600, before: 600, seq: 1200 }))
  cpSync(path.join(directory, 'tile/entries/004.p/177'), path.join(directory, 'away'))
  rmSync(path.join(directory, 'tile/entries/004.p/177'))
  await t.rejects(open(4), { message: /the first segment is missing/ })
  cpSync(path.join(directory, 'away'), path.join(directory, 'tile/entries/004.p/177'))
  rmSync(path.join(directory, 'checkpoint'))
  await t.rejects(open(4), { message: /the first segment is missing/ }, 'nothing else vouches for what is not there')
  const other = await makeLog(t, 'other')
  writeFileSync(path.join(other.directory, 'retired'), '{')
  const errors: Error[] = []
  const log = await other.open(4, { onError: (error) => { errors.push(error) } })
  await until(() => errors.length > 0)
  t.match(errors, [inconsistent])
  await log.close()
})

t.test('the time of a segment is that of its first record, if it has one', async (t) => {
  const file = path.join(t.testdir(), 'segment.jsonl')
  for (const [text, time] of [['{"timestamp":"1970-01-01T00:00:01.000Z"}\n{}\n', 1000], ['{"timestamp":"now"}\n', undefined], ['no JSON\n', undefined], ['{"timest', undefined], ['', undefined]] as const) {
    writeFileSync(file, text)
    t.equal(await firstTime(file), time, text)
  }
})

t.test('whatever the durability of a log is, nothing is deleted of which no record tells', async (t) => {
  for (const durability of ['async', 'best-effort'] as const) {
    const { directory, open } = await makeLog(t, durability === 'async' ? 'log' : durability)
    const errors: Error[] = []
    const failing = t.intercept(fs, 'fdatasync', { value: (fd: number, callback: (error: Error) => void) => { callback(new Error('EIO')) } })
    const log = await open(4.5, { durability, retainSeconds: 2 * 86_400, onError: (error) => { errors.push(error) } })
    await until(() => errors.length > 0)
    await log.close().catch(() => {})
    failing.restore()
    t.same(starts(directory).slice(0, 4), [0, 300, 600, 900])
    t.match(await verifyLog({ directory, verifierKey }), { ok: true, problems: [] })
    await (await open(4.5)).close()
  }
})
