import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { followLog, type FollowLogOptions } from '../../src/audit/follow-log.ts'
import { compressSegment } from '../../src/audit/compress-segment.ts'
import { lineReader } from '../../src/audit/line-reader.ts'
import type { AuditLog } from '../../src/audit/log.ts'
import type { LineBatch, Sink } from '../../src/audit/sink.ts'
import { append, appendAll, openTestLog, origin, readLines, record, segmentNames } from './log-fixture.ts'
import { until } from '../helpers/until.ts'

interface Kept extends Sink {
  readonly lines: Map<number, string>
  batches: number
  /** Thrown instead of taking the next batch. */
  failure: unknown
  closed: boolean
}

/** A sink in this process. */
function keep (more: Partial<Sink> = {}): Kept {
  const kept: Kept = {
    lines: new Map(),
    batches: 0,
    failure: undefined,
    closed: false,
    async deliver ({ firstSeq, lines, origin: from }: LineBatch) {
      if (kept.failure !== undefined) throw kept.failure as Error
      if (from !== origin) throw new Error('of another log')
      kept.batches++
      for (const [index, line] of lines.entries()) kept.lines.set(firstSeq + index, line)
      return undefined
    },
    close: async () => { kept.closed = true },
    ...more
  }
  return kept
}

interface Place {
  readonly directory: string
  readonly positionFile: string
}

function place (t: Test): Place {
  const folder = t.testdir()
  return { directory: path.join(folder, 'log'), positionFile: path.join(folder, 'sinks', 'kept.json') }
}

const follow = async (log: AuditLog, { positionFile }: Place, sink: Sink, more: Partial<FollowLogOptions> = {}): ReturnType<typeof followLog> => await followLog({ log, sink, positionFile, ...more })

const texts = (kept: Kept): string[] => [...kept.lines].sort(([a], [b]) => a - b).map(([, line]) => line)

t.test('a sink gets every durable line, exactly, in order, as it comes', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory, { maxSegmentBytes: 3000 })
  await appendAll(log, 0, 50)
  const sink = keep()
  const follower = await follow(log, where, sink, { maxLines: 7 })
  await until(() => follower.next === 50)
  t.ok(sink.batches >= 8)
  for (let index = 50; index < 120; index++) await append(log, record(index))
  await until(() => follower.next === 120)
  await follower.close()
  t.ok(sink.closed)
  await log.close()
  t.same(texts(sink), readLines(where.directory))
  t.same(JSON.parse(readFileSync(where.positionFile, 'utf8')), { origin: log.origin, next: 120 })
})

t.test('a sink goes on where it was, in a segment that was read or compressed meanwhile', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory, { maxSegmentBytes: 3000 })
  for (let index = 0; index < 60; index++) await append(log, record(index))
  const first = keep()
  mkdirSync(path.dirname(where.positionFile))
  writeFileSync(where.positionFile, JSON.stringify({ origin: log.origin, next: 5 }))
  await compressSegment(path.join(where.directory, 'segments', segmentNames(where.directory)[0] ?? ''), new AbortController().signal)
  const follower = await follow(log, where, first, { maxLines: 9 })
  await until(() => follower.next === 60)
  await follower.close()
  t.equal(Math.min(...first.lines.keys()), 5)
  t.equal(first.lines.size, 55)
  const second = keep({ overlap: 10 })
  writeFileSync(where.positionFile, JSON.stringify({ origin: log.origin, next: 43 }))
  const again = await follow(log, where, second)
  await until(() => again.next === 60)
  await again.close()
  t.equal(Math.min(...second.lines.keys()), 43, 'found in the middle of a segment')
  t.same(JSON.parse(readFileSync(where.positionFile, 'utf8')), { origin: log.origin, next: 50 }, 'and its position lags by what it may yet lose')
  await log.close()
})

t.test('what a sink has had is not kept for it any longer, while it goes on', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory, { maxSegmentBytes: 24_000, compressSegments: true })
  const sink = keep()
  sink.failure = new Error('down')
  const follower = await follow(log, where, sink, { retryMs: 1, onError: () => {} })
  for (let from = 0; from < 700; from += 50) await appendAll(log, from, from + 50)
  await log.checkpoint()
  t.notOk(segmentNames(where.directory).some((name) => name.endsWith('.gz')), 'nothing is compressed before')
  sink.failure = undefined
  await until(() => follower.next === 700)
  await append(log, record(700))
  await log.checkpoint()
  await until(() => segmentNames(where.directory).some((name) => name.endsWith('.gz')))
  await follower.close()
  await log.close()
})

t.test('a sink that fails is tried again, and the log does not wait', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory)
  const sink = keep()
  const errors: Error[] = []
  const follower = await follow(log, where, sink, { retryMs: 1, onError: (error) => { errors.push(error) } })
  sink.failure = new Error('down')
  await appendAll(log, 0, 10)
  await until(() => errors.length > 2)
  sink.failure = 'a string'
  await until(() => errors.some(({ message }) => message === 'a sink failed'))
  t.equal(await append(log, record(10)), 10)
  t.notOk(existsSync(where.positionFile))
  sink.failure = undefined
  await until(() => follower.next === 11)
  sink.failure = new Error('down')
  await append(log, record(11))
  await until(() => errors.at(-1)?.message === 'down')
  await follower.close()
  await log.close()
  t.equal(sink.lines.size, 11)
  const warnings = t.capture(process, 'emitWarning', () => {})
  const again = await openTestLog(where.directory)
  const other = await follow(again, where, sink)
  await until(() => warnings().length > 0)
  await other.close()
  await again.close()
})

t.test('a sink that has lost lines gets them again', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory)
  await appendAll(log, 0, 20)
  const kept = keep()
  let asked = 0
  const sink = keep({
    async deliver (batch) {
      await kept.deliver(batch)
      return ++asked === 2 ? 3 : undefined
    }
  })
  const follower = await follow(log, where, sink, { maxLines: 10 })
  await until(() => asked === 4)
  await until(() => follower.next === 20)
  await follower.close()
  await log.close()
})

t.test('segments are neither compressed nor deleted before a sink has them, but for a bound', async (t) => {
  const where = place(t)
  const dayMs = 86_400_000
  let now = 0
  const log = await openTestLog(where.directory, { clock: () => now, compressSegments: true, retainSeconds: 86_400, maxHoldSeconds: 3 * 86_400 })
  const sink = keep()
  sink.failure = new Error('down')
  const errors: Error[] = []
  const follower = await follow(log, where, sink, { retryMs: 1, onError: (error) => { errors.push(error) } })
  const day = async (index: number): Promise<void> => {
    now = index * dayMs
    await Promise.all(Array.from({ length: 300 }, async () => await append(log, { ...record(index), timestamp: new Date(now).toISOString() })))
    await log.checkpoint()
  }
  for (const index of [0, 1, 2, 3]) await day(index)
  await until(() => errors.length > 5)
  t.same(segmentNames(where.directory).map((name) => name.slice(16)), ['0000.jsonl', '0300.jsonl', '0600.jsonl', '0900.jsonl'])
  await day(6)
  await until(() => !segmentNames(where.directory)[0]?.endsWith('0000.jsonl'))
  // What was deleted before is told. What was read right before it may still be delivered: the sink stays down until then.
  await until(() => errors.some((error) => String(Reflect.get(error, 'reason')) === 'sink-too-late'))
  sink.failure = undefined
  await until(() => follower.next === log.size)
  await day(7)
  await until(() => follower.next === log.size)
  await log.checkpoint()
  await append(log, record(0))
  await log.checkpoint()
  await until(() => segmentNames(where.directory).length < 4)
  await follower.close()
  await log.close()
})

t.test('a sink that hangs keeps closing for its time-out', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory)
  await append(log, record(0))
  let hangs = false
  const sink = keep({ deliver: async () => { hangs = true; return await new Promise(() => {}) } })
  const follower = await follow(log, where, sink)
  await until(() => hangs)
  await follower.close(10)
  t.ok(sink.closed)
  await log.close()
})

t.test('a position that says nothing, and options that are none, are refused', async (t) => {
  const where = place(t)
  const log = await openTestLog(where.directory)
  mkdirSync(path.dirname(where.positionFile))
  for (const text of ['{', JSON.stringify({ origin: log.origin, next: -1 }), '{"next":0}', '{}']) {
    writeFileSync(where.positionFile, text)
    await t.rejects(follow(log, where, keep()), { code: 'FMG_ERR_FILE', message: /does not say how far/ })
  }
  writeFileSync(where.positionFile, JSON.stringify({ origin: 'example.com/another', next: 3 }))
  await t.rejects(follow(log, where, keep()), { code: 'FMG_ERR_FILE', message: /a sink of the log example\.com\/another is, not of/ })
  rmSync(where.positionFile)
  const given: unknown = { log, sink: {}, positionFile: where.positionFile }
  await t.rejects(followLog(given as FollowLogOptions), { code: 'FMG_ERR_OPTION_INVALID', message: /followLog\.sink/ })
  await log.close()
})

t.test('a line that is being written is not read, nor anything beyond what is durable', async (t) => {
  const { directory } = place(t)
  const log = await openTestLog(directory)
  await appendAll(log, 0, 3)
  await log.close()
  const file = path.join(directory, 'segments', segmentNames(directory)[0] ?? '')
  const whole = readFileSync(file, 'utf8')
  writeFileSync(file, `${whole}{"action`)
  const reader = lineReader(directory)
  t.match(await reader.read(1, 9, 9), { firstSeq: 1, lines: whole.split('\n').slice(1, 3) })
  t.equal(await reader.read(3, 9, 9), undefined)
  t.match(await reader.read(0, 2, 9), { firstSeq: 0, lines: whole.split('\n').slice(0, 2) })
  t.equal(await reader.read(2, 2, 9), undefined)
  rmSync(file)
  t.equal(await reader.read(0, 9, 9), undefined)
})
