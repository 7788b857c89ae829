import fs from 'node:fs'
import t, { type Test } from 'tap'
import type { Durability } from '../../src/audit/appender.ts'
import type { AuditLog } from '../../src/audit/log.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { append, openTestLog, readRecords, record, segmentNames, verifierKey } from './log-fixture.ts'

const unavailable = { code: 'FMG_ERR_AUDIT_UNAVAILABLE' }

interface Told {
  error: Error | null | undefined
  seq: number
}

/** Appends, and notes what was told when. */
function ask (log: AuditLog, index: number, durability?: Durability): Told {
  const told: Told = { error: undefined, seq: -2 }
  log.append(record(index), (error, seq) => { Object.assign(told, { error, seq }) }, durability)
  return told
}

function failSyncs (t: Test): { restore: () => void } {
  return t.intercept(fs, 'fdatasync', { value: (fd: number, callback: (error: Error) => void) => { callback(new Error('EIO')) } })
}

t.test('one log tells each caller when that caller wants to be told', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  const told = [ask(log, 0), ask(log, 1, 'async'), ask(log, 2, 'best-effort'), ask(log, 3, 'before-response')]
  t.same(told.map(({ seq }) => seq), [-2, 1, -2, -2])
  await log.checkpoint()
  t.same(told.map(({ seq }) => seq), [0, 1, 2, 3])
  await log.close()
  t.same(readRecords(directory).map(({ request_id: id }) => id), [0, 1, 2, 3].map((index) => `request-${index}`))
})

t.test('a log of one durability takes records of another', async (t) => {
  for (const durability of ['async', 'best-effort'] as const) {
    const log = await openTestLog(t.testdir(), { durability })
    t.equal(ask(log, 0).seq, durability === 'async' ? 0 : -2)
    t.equal(ask(log, 1, 'before-response').seq, -2)
    t.equal(await new Promise((resolve) => { log.append(record(2), (_error, seq) => { resolve(seq) }, 'before-response') }), 2)
    await log.close()
  }
})

t.test('when the disk fails, who waits is refused, who was told keeps the number, and what may be dropped is counted', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await append(log, record(0))
  const failing = failSyncs(t)
  const first = [ask(log, 1), ask(log, 2, 'async'), ask(log, 3, 'best-effort'), ask(log, 4, 'async'), ask(log, 5), ask(log, 6, 'best-effort')]
  await t.rejects(log.checkpoint(), unavailable)
  t.match(first.map(({ error, seq }) => [error, seq]), [[unavailable, -1], [null, 2], [null, -1], [null, 4], [unavailable, -1], [null, -1]])
  const second = [ask(log, 7), ask(log, 8, 'async')]
  await t.rejects(log.checkpoint(), unavailable)
  t.match(second.map(({ error }) => error), [unavailable, null])
  failing.restore()
  const last = ask(log, 9)
  await log.checkpoint()
  t.equal(last.error, null)
  await log.close()
  const records = readRecords(directory)
  for (const [index, told] of [[2, first[1]], [4, first[3]], [8, second[1]], [9, last]] as const) t.equal(records[told?.seq ?? NaN]?.request_id, `request-${index}`)
  for (const index of [1, 3, 5, 6, 7]) t.notOk(records.some(({ request_id: id }) => id === `request-${index}`), `${index} is not there`)
  const counted = (reason: string): number => records.filter((found) => found.reason === reason).reduce((sum, { count = 0 }) => sum + count, 0)
  t.equal(counted('write-failed'), 4, 'three that were refused, and the number of one that was dropped')
  t.equal(counted('dropped'), 1)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: records.length })
})

t.test('who was told keeps the number over an outage that lasts', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  const failing = failSyncs(t)
  const kept: Told[] = []
  for (let round = 0; round < 8; round++) {
    ask(log, 100 + round)
    kept.push(ask(log, round, 'async'))
    ask(log, 200 + round, 'best-effort')
    if (round % 3 === 0) ask(log, 300 + round)
    await t.rejects(log.checkpoint(), unavailable)
  }
  failing.restore()
  await log.close()
  const records = readRecords(directory)
  t.same(kept.map(({ seq }) => records[seq]?.request_id), kept.map((_, round) => `request-${round}`))
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: records.length })
})

t.test('no number is told twice, whatever was dropped', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  const failing = failSyncs(t)
  const told = [ask(log, 0, 'best-effort'), ask(log, 1, 'best-effort')]
  await log.checkpoint()
  failing.restore()
  told.push(ask(log, 2), ask(log, 3, 'async'), ask(log, 4, 'best-effort'))
  await log.checkpoint()
  t.same(told.map(({ seq }) => seq === -1), [true, true, false, false, false])
  await log.close()
  const records = readRecords(directory)
  for (const [index, { seq }] of told.entries()) if (seq !== -1) t.equal(records[seq]?.request_id, `request-${index}`)
})

t.test('a record that may be dropped takes no room from those that may not, and how many were is recorded', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { maxWaitingUnits: 1200 })
  const optional = Array.from({ length: 10 }, (_, index) => ask(log, index, 'best-effort'))
  const kept = optional.filter(({ seq }) => seq !== -1).length
  t.ok(kept > 1 && kept < 8)
  t.equal(ask(log, 20, 'async').error, null)
  t.match(Array.from({ length: 10 }, (_, index) => ask(log, 30 + index, 'async').error).at(-1), unavailable)
  await log.checkpoint()
  t.ok(optional.every(({ error }) => error === null))
  await log.close()
  t.match(readRecords(directory).filter(({ reason }) => reason === 'dropped'), [{ action: 'log:recover', status: 'error', count: 10 - kept }])
})

t.test('a failed sync is not believed when a second one says that all is well', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await append(log, record(0))
  const { fdatasync } = fs
  let asked = 0
  const failing = t.intercept(fs, 'fdatasync', {
    value: (fd: number, callback: (error: Error | null) => void) => {
      // As Linux does: the error is told once, the pages that were lost count as clean from then on.
      if (asked++ === 0) callback(new Error('EIO'))
      else fdatasync(fd, callback)
    }
  })
  await t.rejects(append(log, record(1)), unavailable)
  t.equal(await append(log, record(2)), 1)
  failing.restore()
  await log.close()
  t.same(segmentNames(directory), ['00000000000000000000.jsonl', '00000000000000000001.jsonl'], 'its file is not written to again')
  t.same(readRecords(directory).map(({ request_id: id }) => id).slice(0, 2), ['request-0', 'request-2'])
})

t.test('little free space is seen', async (t) => {
  const directory = t.testdir()
  for (const [reservedBytes, isLow] of [[0, false], [Number.MAX_SAFE_INTEGER, true]] as const) {
    const log = await openTestLog(directory, { reservedBytes })
    t.equal(await log.isLow(), isLow)
    await log.close()
  }
})

t.test('a tally that is dropped is counted as all that it stands for', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { maxWaitingUnits: 2000 })
  const failing = failSyncs(t)
  log.append({ ...record(0), count: 1000 }, () => {}, 'best-effort')
  log.append({ ...record(1), action: 'x'.repeat(500), model_id: 'x'.repeat(500), count: 30 }, () => {}, 'best-effort')
  await log.checkpoint().catch(() => {})
  failing.restore()
  await append(log, record(2))
  await log.close()
  t.equal(readRecords(directory).find(({ reason }) => reason === 'dropped')?.count, 1030)
})
