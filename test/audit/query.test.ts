import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { openIndexBlock, searchedMembers, writeIndexBlock } from '../../src/audit/index-block.ts'
import { blockRecords, indexLog } from '../../src/audit/log-index.ts'
import { queryLog, selectRecords, type QueryOptions } from '../../src/audit/query.ts'
import type { LoggedRecord } from '../../src/audit/read-records.ts'
import type { RecordFilter } from '../../src/audit/record-filter.ts'
import type { AuditRecord } from '../../src/audit/record.ts'
import { openTestLog, readRecords } from './log-fixture.ts'
import { until } from '../helpers/until.ts'

const minute = 60_000
const start = Date.parse('2026-11-01T00:00:00Z')
const size = 2 * blockRecords + 700
const digestOf = (text: string): string => `hmac-sha256:k_1:${Buffer.from(text).toString('hex').padStart(64, '0')}`
const statuses = ['success', 'denied', 'limited', 'error'] as const

function recordAt (index: number): AuditRecord {
  return {
    timestamp: new Date(start + index * minute).toISOString(),
    action: index % 50 === 0 ? 'key:create' : 'predict',
    status: statuses[index % 4] ?? 'error',
    ...index % 4 === 0 ? {} : { reason: `reason-${index % 3}` },
    ...index % 10 === 0 ? {} : { user_id: `u_${index % 300}` },
    org: 'acme',
    model_id: `model-${index % 20}`,
    credential_id: `c_${index % 301}`,
    input_hash: digestOf(`input ${index % 40_000}`),
    output_hash: digestOf(`output ${index}`)
  }
}

/** One log for all tests: two blocks and a part of one, its last records not under a checkpoint. */
const directory = path.join(t.testdir(), 'log')
let all: readonly LoggedRecord[] = []
t.before(async () => {
  const log = await openTestLog(directory, { durability: 'async', maxSegmentBytes: 9_000_000 })
  for (let index = 0; index < size; index++) {
    if (index === size - 300) await log.checkpoint()
    log.append(recordAt(index), () => {})
    // What waits is bounded.
    if (index % 10_000 === 0) await log.checkpoint()
  }
  const checkpoint = readFileSync(path.join(directory, 'checkpoint'))
  await log.close()
  writeFileSync(path.join(directory, 'checkpoint'), checkpoint)
  all = readRecords(directory)
})

/** What a query should find, by reading everything. */
function expected ({ since = -Infinity, until = Infinity, where = {}, digests }: RecordFilter): readonly LoggedRecord[] {
  return all.filter((record) => {
    const time = Date.parse(record.timestamp)
    return time >= since && time < until &&
      searchedMembers.every((member) => where[member]?.some((text) => text.endsWith('*') ? record[member]?.startsWith(text.slice(0, -1)) : record[member] === text) ?? true) &&
      (digests === undefined || digests.has(record.input_hash ?? '') || digests.has(record.output_hash ?? ''))
  })
}

async function sameAsReading (t: Test, filter: RecordFilter, limit = 100): Promise<void> {
  const wanted = expected(filter)
  const { matches, records } = await queryLog({ directory, ...filter, limit })
  t.equal(matches, wanted.length, JSON.stringify(filter))
  t.equal(JSON.stringify(records), JSON.stringify(wanted.slice(Math.max(0, wanted.length - limit))))
}

t.test('a query finds what reading everything finds, the newest of it, in order', async (t) => {
  for (const filter of [
    {},
    { where: { user_id: ['u_7'] } },
    { where: { user_id: ['u_7', 'u_8'], status: ['denied'] } },
    { where: { action: ['key:*'] } },
    { where: { user_id: ['nobody'] } },
    { where: { model_id: ['model-1'], reason: ['reason-1'], org: ['acme'], credential_id: ['c_2*'] } },
    { since: start + 1000 * minute, until: start + 2000 * minute },
    { since: start + (blockRecords - 5) * minute, until: start + (blockRecords + 5) * minute },
    { since: start + (size - 10) * minute },
    { until: start },
    { since: start + size * minute },
    { since: start + 99 * minute, until: start + 101 * minute, where: { action: ['key:create'] } },
    { digests: new Set([digestOf('input 77'), digestOf('output 131500'), digestOf('none')]) },
    { digests: new Set([digestOf('input 77')]), since: start + 50_000 * minute, where: { status: ['denied'] } }
  ]) await sameAsReading(t, filter)
  for (const limit of [0, 1, 500, size + 1]) await sameAsReading(t, { where: { status: ['denied'] } }, limit)
})

t.test('whatever is asked, it is what reading finds', async (t) => {
  const texts = { action: ['predict', 'key:*'], model_id: ['model-3', 'model-1*'], reason: ['reason-0', 'reason-2'], status: ['success', 'limited'], user_id: ['u_1', 'u_2*', 'u_299'] }
  const member = fc.constantFrom('action', 'model_id', 'reason', 'status', 'user_id').chain((name) => fc.tuple(fc.constant(name), fc.subarray(texts[name], { minLength: 1 })))
  const time = fc.option(fc.integer({ min: -10, max: size + 10 }).map((index) => start + index * minute), { nil: undefined })
  await fc.assert(fc.asyncProperty(fc.array(member, { maxLength: 3 }), time, time, fc.integer({ min: 0, max: 200 }), async (where, since, until, limit) => {
    await sameAsReading(t, { where: Object.fromEntries(where), since, until }, limit)
  }), { numRuns: 25 })
})

t.test('everything that fits comes batch by batch, in order', async (t) => {
  const filter = { where: { status: ['denied'] }, since: start + 65_000 * minute }
  const seqs: number[] = []
  for await (const records of selectRecords({ directory, ...filter })) seqs.push(...records.map(({ seq }) => seq))
  t.equal(seqs.join(), expected(filter).map(({ seq }) => seq).join())
})

t.test('the index is made once, and again where it is not of this log or damaged', async (t) => {
  const index = path.join(t.testdir(), 'index')
  const make = async (): Promise<number> => {
    const { records, made } = await indexLog({ directory, index })
    t.equal(records, 2 * blockRecords)
    return made / blockRecords
  }
  t.equal(await make(), 2)
  t.equal(await make(), 0)
  const [first = '', second = ''] = readdirSync(index).map((name) => path.join(index, name))
  const whole = readFileSync(first)
  writeFileSync(second, whole)
  t.equal(await make(), 1, 'a block of other records')
  const head = whole.toString('utf8', 12, 12 + whole.readUInt32LE(8))
  const damages = [
    () => { rmSync(first) },
    () => { truncateSync(first, whole.length - 1) },
    () => { truncateSync(first, 5) },
    () => { writeFileSync(first, whole.subarray(4)) },
    () => { writeFileSync(first, Buffer.concat([whole.subarray(0, 12), Buffer.alloc(whole.length - 12, 32)])) },
    () => { writeFileSync(first, Buffer.concat([whole.subarray(0, 12), Buffer.from(head.replace('"status":', '"states":')), whole.subarray(12 + head.length)])) }
  ]
  for (const damage of damages) {
    damage()
    t.equal(await make(), 1)
    t.same(readFileSync(first), whole)
  }
})

t.test('a log without a checkpoint is searched all the same', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  mkdirSync(path.join(directory, 'segments'), { recursive: true })
  writeFileSync(path.join(directory, 'segments', '00000000000000000000.jsonl'), '{"action":"a","seq":0,"status":"success","timestamp":"2026-11-01T00:00:00.000Z"}\n{"action":"b","seq":1,"status":"success","timestamp":"no time"}\n')
  t.match(await queryLog({ directory }), { matches: 2, records: [{ seq: 0, action: 'a' }, { seq: 1, action: 'b' }] })
  t.match(await queryLog({ directory, until: 1 }), { matches: 1, records: [{ action: 'b' }] }, 'what is no time is before all others')
  rmSync(path.join(directory, 'segments', '00000000000000000000.jsonl'))
  t.same(await queryLog({ directory }), { matches: 0, records: [] })
})

t.test('of a log whose oldest records are retired, what is left is found, and its index holds no other', { timeout: 200_000 }, async (t) => {
  const copy = path.join(t.testdir(), 'log')
  for (const days of [25, 65]) {
    rmSync(copy, { recursive: true, force: true })
    cpSync(directory, copy, { recursive: true })
    const clock = (): number => start + days * 1440 * minute
    const log = await openTestLog(copy, { retainSeconds: 3600, clock })
    await until(() => existsSync(path.join(copy, 'retired')) && /"from":([0-9]+),"before":\1,/.test(readFileSync(path.join(copy, 'retired'), 'utf8')))
    await log.close()
    const left = readRecords(copy)
    const names = (): string[] => readdirSync(path.join(copy, 'index'))
    t.ok(Number(left[0]?.seq) > (days === 25 ? 0 : blockRecords))
    t.same(names(), days === 25 ? ['00000000000000065536.block'] : [])
    for (const filter of [{}, { where: { status: ['denied'] } }, { until: start + 50_000 * minute }]) {
      const wanted = left.filter(({ timestamp, status }) => Date.parse(timestamp) < (filter.until ?? Infinity) && (filter.where === undefined || status === 'denied'))
      for (const limit of [50, 200_000]) {
        const { matches, records } = await queryLog({ directory: copy, ...filter, limit })
        t.equal(matches, wanted.length)
        t.equal(JSON.stringify(records), JSON.stringify(wanted.slice(-limit)))
      }
      let selected = 0
      for await (const records of selectRecords({ directory: copy, ...filter })) selected += records.length
      t.equal(selected, wanted.length)
    }
    t.equal((await indexLog({ directory: copy })).records, days === 25 ? blockRecords : 0)
  }
})

t.test('what is missing or no record is named', async (t) => {
  const empty: Partial<QueryOptions> = { index: path.join(t.testdir(), 'index') }
  await t.rejects(queryLog({ directory: path.join(t.testdirName, 'none') }), { code: 'FMG_ERR_FILE', message: /none/ })
  const bundle = path.join(directory, 'tile', 'entries', '003')
  const whole = readFileSync(bundle)
  rmSync(bundle)
  await t.rejects(queryLog({ directory, ...empty }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /tile\/entries\/003 is missing/ })
  writeFileSync(bundle, Buffer.concat([Buffer.of(0, 2), Buffer.from('[]'), whole]))
  await t.rejects(queryLog({ directory, ...empty }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /tile\/entries\/003 holds 257 entries/ })
  const length = 2 + whole.readUInt16BE(0)
  writeFileSync(bundle, Buffer.concat([Buffer.of(0, 2), Buffer.from('[]'), whole.subarray(length)]))
  await t.rejects(queryLog({ directory, ...empty }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /tile\/entries\/003 holds what is no record/ })
  writeFileSync(bundle, whole)
})

t.test('codes are as wide as they must be, and a time that is none is before all others', async (t) => {
  const file = path.join(t.testdir(), 'block')
  for (const [different, width] of [[255, 1], [256, 2], [65_535, 2], [65_536, 4]] as const) {
    const records = Array.from({ length: different }, (_, index) => ({ timestamp: 'no time', action: 'a', status: 'success' as const, user_id: `u_${index}` }))
    writeFileSync(file, writeIndexBlock(records, 'a tile'))
    const block = await openIndexBlock(file)
    t.match(block, { tile: 'a tile', records: different, earliest: 0, latest: 0 })
    const [texts = [], codes = []] = [block?.texts('user_id'), await block?.codes('user_id')]
    t.equal('BYTES_PER_ELEMENT' in codes && codes.BYTES_PER_ELEMENT, width)
    t.ok(records.every(({ user_id: user }, row) => texts[codes[row] ?? 0] === user))
    t.same(await block?.codes('reason'), new Uint8Array(different))
    await block?.close()
  }
})
