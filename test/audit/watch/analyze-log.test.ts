import t from 'tap'
import { analyzeLog } from '../../../src/audit/watch/analyze-log.ts'
import { createWatch } from '../../../src/audit/watch/watch.ts'
import { readRecords } from '../../../src/audit/read-records.ts'
import type { AuditRecord } from '../../../src/audit/record.ts'
import { handMade } from '../../helpers/recorded.ts'
import { sketchOf } from '../../helpers/month/inputs.ts'

const at = (second: number): string => new Date(Date.UTC(2026, 10, 22, 12) + second * 1000).toISOString()
const failing = (from: number, count: number, more: Partial<AuditRecord> = {}): Partial<AuditRecord>[] =>
  Array.from({ length: count }, (_, index) => ({ timestamp: at(from + index), status: 'error', http_status: 500, ...more }))

t.test('a log is judged as it would have been while it was written', async (t) => {
  const directory = await handMade(t, [...failing(0, 60), ...failing(3600, 60, { user_id: 'u_2' }), { timestamp: at(4000), sketch: sketchOf('m', new Float32Array(64)) ?? '' }])
  const { records, alerts } = await analyzeLog({ directory })
  t.equal(records, 122)
  t.match(alerts, [{ id: 'errors-50', subject: 'u_1' }, { id: 'errors-110', subject: 'u_2' }])
  t.equal(alerts.length, 2)
  const online = createWatch()
  const told: unknown[] = []
  for await (const batch of readRecords({ directory })) for (const record of batch) told.push(...online.see(record, record.seq))
  t.same(told, alerts)
})

t.test('what came before is learnt from, and not told; what comes after is not read', async (t) => {
  const directory = await handMade(t, [...failing(0, 60), ...failing(3600, 60, { user_id: 'u_2' })])
  t.match(await analyzeLog({ directory, since: Date.parse(at(3600)) }), { alerts: [{ subject: 'u_2' }], records: 121 })
  t.match(await analyzeLog({ directory, until: Date.parse(at(3600)) }), { alerts: [{ subject: 'u_1' }], records: 61 })
  t.same((await analyzeLog({ directory, watch: { rules: { errors: 'off' } } })).alerts, [])
})

t.test('there is nothing to judge where there is no log', async (t) => {
  await t.rejects(analyzeLog({ directory: t.testdir() }), { code: 'FMG_ERR_FILE' })
})
