import { appendFileSync, chmodSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readPseudonyms } from '../../src/audit/identity-file.ts'
import { openIdentities } from '../../src/audit/identities.ts'
import { readRecords, type LoggedRecord, type ReadRecordsOptions } from '../../src/audit/read-records.ts'
import { append, appendAll, openTestLog, record, segmentNames } from './log-fixture.ts'

async function collect (options: ReadRecordsOptions): Promise<readonly LoggedRecord[]> {
  const all: LoggedRecord[] = []
  for await (const records of readRecords(options)) all.push(...records)
  return all
}

const seqs = (records: readonly LoggedRecord[]): number[] => records.map(({ seq }) => seq)

t.test('records come in their order, over all segments, while the log is in use', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { maxSegmentBytes: 2000 })
  t.teardown(() => log.close())
  await appendAll(log, 0, 50)
  await appendAll(log, 50, 100)
  t.ok(segmentNames(directory).length > 1)
  const records = await collect({ directory })
  t.same(seqs(records), Array.from({ length: 100 }, (_, index) => index))
  t.match(records[7], { ...record(7), seq: 7 })
  const last = path.join(directory, 'segments', segmentNames(directory).at(-1) ?? '')
  appendFileSync(last, `${JSON.stringify({ ...record(100), seq: 100, detail: {}, member_of_a_later_version: null })}\n{"action":"pre`)
  t.equal((await collect({ directory })).length, 101, 'what is being written is no record yet')
})

t.test('only records of the window come, but for facts', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  for (const [action, hour] of [['facts', 1], ['predict', 1], ['predict', 2], ['predict', 3], ['facts', 4], ['predict', 4]] as const) {
    await append(log, { timestamp: `2026-11-22T0${hour}:00:00.000Z`, action, status: 'success' })
  }
  await log.close()
  const time = (hour: number): number => Date.parse(`2026-11-22T0${hour}:00:00Z`)
  t.same(seqs(await collect({ directory, since: time(2) })), [0, 2, 3, 4, 5])
  t.same(seqs(await collect({ directory, until: time(3) })), [0, 1, 2, 4])
  t.same(seqs(await collect({ directory, since: time(2), until: time(3) })), [0, 2, 4])
})

t.test('what is no record is said, with its place', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { maxSegmentBytes: 200 })
  await appendAll(log, 0, 3)
  await appendAll(log, 3, 9)
  await log.close()
  const [first = '', ...others] = segmentNames(directory).map((name) => path.join(directory, 'segments', name))
  t.ok(others.length > 0)
  const good = readFileSync(first, 'utf8')
  const [line = ''] = good.split('\n')
  for (const bad of ['', '{', '7', 'null', '{}', line.replace('"action":"predict",', ''), line.replace('"seq":0', '"seq":"0"'), line.replace('"success"', 'null'), line.replace('{', '{"detail":null,')]) {
    writeFileSync(first, good.replace(line, bad))
    await t.rejects(collect({ directory }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /00000000000000000000\.jsonl holds no record at byte 0$/ }, bad)
  }
  writeFileSync(first, `${line}\n${line.slice(0, 20)}`)
  await t.rejects(collect({ directory }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: new RegExp(`at byte ${line.length + 1}$`) }, 'a torn line that others follow')
  writeFileSync(first, good)
  appendFileSync(others.at(-1) ?? '', 'x'.repeat(70_000))
  await t.rejects(collect({ directory }), { code: 'FMG_ERR_LOG_INCONSISTENT' }, 'a line that is longer than any')
  await t.rejects(collect({ directory: path.join(directory, 'none') }), { code: 'FMG_ERR_FILE' })
})

t.test('who stands behind the pseudonyms can be read while the map is in use', async (t) => {
  const file = path.join(t.testdir(), 'identities.jsonl')
  const identities = await openIdentities({ file })
  t.teardown(() => identities.close())
  const pseudonyms = ['ann', 'bob'].map((id) => identities.principal(id).pseudonym)
  identities.credential('ann', 'key')
  await identities.flush()
  appendFileSync(file, '{"princ')
  t.same([...await readPseudonyms(file)], [[pseudonyms[0], 'ann'], [pseudonyms[1], 'bob']])
  t.match(readFileSync(file, 'utf8'), /\{"princ$/, 'and nothing is changed')
  chmodSync(file, 0o644)
  await t.rejects(readPseudonyms(file), { code: 'FMG_ERR_FILE', message: /others may read it/ })
  await t.rejects(readPseudonyms(`${file}.none`), { code: 'FMG_ERR_FILE' })
})
