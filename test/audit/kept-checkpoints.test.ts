import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { signCheckpoint } from '../../src/audit/checkpoint.ts'
import { listKept } from '../../src/audit/kept-checkpoints.ts'
import { toDigest } from '../../src/audit/merkle.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { append, appendAll, openTestLog, readLines, record, segmentNames, signer, verifierKey } from './log-fixture.ts'
import { leafHash, treeHash } from './merkle-by-the-book.ts'

const hour = 3_600_000

/** A log that was checkpointed at 10, 20, … 100 records, every half an hour from midnight on. */
async function makeLog (t: Test): Promise<string> {
  const directory = path.join(t.testdir(), 'log')
  let now = 0
  const log = await openTestLog(directory, { clock: () => now })
  for (let size = 10; size <= 100; size += 10) {
    await appendAll(log, size - 10, size)
    await log.checkpoint()
    now += hour / 2
  }
  await log.close()
  return directory
}

function sizesIn (directory: string): Record<string, string | undefined> {
  const folder = path.join(directory, 'checkpoints')
  return Object.fromEntries(readdirSync(folder).sort().map((name) => [name, readFileSync(path.join(folder, name), 'utf8').split('\n')[1]]))
}

t.test('the first checkpoint of each hour is kept', async (t) => {
  const directory = await makeLog(t)
  t.same(sizesIn(directory), { '1970-01-01T00': '10', '1970-01-01T01': '30', '1970-01-01T02': '50', '1970-01-01T03': '70', '1970-01-01T04': '90' })
  t.same(await listKept(directory), Array.from({ length: 5 }, (_, index) => `checkpoints/1970-01-01T0${index}`))
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, keptCheckpoints: 5, unwitnessed: true })
  t.match(await verifyLog({ directory }), { ok: true, keptCheckpoints: 5 })
})

t.test('a checkpoint of nothing is not kept, and one that is kept is not replaced, over a restart neither', async (t) => {
  const directory = t.testdir()
  let log = await openTestLog(directory)
  t.notOk(existsSync(path.join(directory, 'checkpoints')))
  await append(log, record(0))
  await log.close()
  t.same(sizesIn(directory), { '1970-01-01T00': '1' })
  log = await openTestLog(directory)
  await append(log, record(1))
  await log.close()
  t.same(sizesIn(directory), { '1970-01-01T00': '1' })
})

t.test('a checkpoint that cannot be kept is not published', async (t) => {
  const directory = t.testdir({ checkpoints: 'in the way' })
  const log = await openTestLog(directory)
  await append(log, record(0))
  await t.rejects(log.checkpoint(), { code: 'EEXIST' })
  t.equal(readFileSync(path.join(directory, 'checkpoint'), 'utf8').split('\n')[1], '0')
  rmSync(path.join(directory, 'checkpoints'))
  t.match(await log.checkpoint(), { size: 1 })
  await log.close()
  t.same(sizesIn(directory), { '1970-01-01T00': '1' })
})

t.test('a log that was written anew contradicts the checkpoints that it kept', async (t) => {
  const directory = await makeLog(t)
  const kept = (await listKept(directory)).map((name) => ({ name, note: readFileSync(path.join(directory, name)) }))
  // By someone who has its key: all of it is whole, but what was kept.
  const forged = path.join(directory, '../forged')
  const log = await openTestLog(forged)
  await appendAll(log, 0, 42)
  await append(log, { ...record(42), status: 'denied' })
  await appendAll(log, 43, 100)
  await log.close()
  rmSync(path.join(forged, 'checkpoints'), { recursive: true })
  t.match(await verifyLog({ directory: forged, verifierKey }), { ok: true, keptCheckpoints: 0 }, 'of what was deleted nothing can be told')
  mkdirSync(path.join(forged, 'checkpoints'))
  for (const { name, note } of kept) writeFileSync(path.join(forged, name), note)
  t.same((await verifyLog({ directory: forged, verifierKey })).problems, ['50', '70', '90'].map((size, index) => ({
    what: `the first ${size} records do not have the root of checkpoints/1970-01-01T0${index + 2}`
  })), 'the change is between the last that fits and the first that does not')
})

t.test('a log that lost its last checkpoint and the end of its lines is found short', async (t) => {
  const directory = await makeLog(t)
  const [segment = ''] = segmentNames(directory)
  writeFileSync(path.join(directory, 'segments', segment), readLines(directory).slice(0, 60).map((line) => `${line}\n`).join(''))
  rmSync(path.join(directory, 'checkpoint'))
  rmSync(path.join(directory, 'tile'), { recursive: true })
  await (await openTestLog(directory)).close()
  const { problems } = await verifyLog({ directory, verifierKey })
  t.same(problems.map(({ seq, what }) => [seq, what]), [
    [61, 'record 61 is missing: checkpoints/1970-01-01T03 covers 70'], [61, 'record 61 is missing: checkpoints/1970-01-01T04 covers 90']
  ])
})

t.test('a kept checkpoint that is damaged, of another key or another log is named', async (t) => {
  const directory = await makeLog(t)
  const file = path.join(directory, 'checkpoints/1970-01-01T02')
  const good = readFileSync(file, 'utf8')
  const other = await signCheckpoint('example.com/other', 50, toDigest(treeHash(readLines(directory).slice(0, 50).map((line) => leafHash(Buffer.from(line))))), signer)
  for (const [note, key, what] of [
    ['garbage', verifierKey, /^checkpoints\/1970-01-01T02: log inconsistent: note with no blank line/],
    ['garbage', undefined, /^checkpoints\/1970-01-01T02: log inconsistent: note with no blank line/],
    [good.replace('\n50\n', '\n51\n'), verifierKey, /^checkpoints\/1970-01-01T02: .*does not verify/],
    [good.replace('\n50\n', '\n51\n'), undefined, /^the first 51 records do not have the root of checkpoints\/1970-01-01T02/],
    [other.note, undefined, /^checkpoints\/1970-01-01T02 is of example.com\/other, the log is example.com\/audit/]
  ] as const) {
    writeFileSync(file, note)
    t.match(await verifyLog({ directory, verifierKey: key }), { ok: false, unwitnessed: true, problems: [{ what }] })
  }
  writeFileSync(file, good)
  writeFileSync(`${file}.1234.tmp`, 'left by a crash')
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, keptCheckpoints: 5, signature: 'verified' })
  rmSync(file)
  mkdirSync(file)
  await t.rejects(verifyLog({ directory, verifierKey }), { code: 'EISDIR' })
})
