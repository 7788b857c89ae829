import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { modelGuard } from '../helpers/command.ts'
import { handMade } from '../helpers/recorded.ts'

const at = (second: number): string => new Date(Date.UTC(2026, 10, 22, 12) + second * 1000).toISOString()

t.test('analyze tells what the rules find, by names where the map is given, and holds when that is nothing', async (t) => {
  const directory = await handMade(t, Array.from({ length: 60 }, (_, index) => ({ timestamp: at(index), status: 'error', http_status: 500 })))
  const found = await modelGuard('audit', 'analyze', directory)
  t.match(found, { status: 1, stderr: '' })
  t.equal(found.stdout, ['61 records, 1 alert', 'alerts:', `  ${at(49)}  errors  u_1    1 of 0.5  records 48, 49, 50`, ''].join('\n'))
  const identities = path.join(t.testdir(), 'identities.jsonl')
  writeFileSync(identities, '{"principal":"ann","pseudonym":"u_1"}\n', { mode: 0o600 })
  t.match(JSON.parse((await modelGuard('audit', 'analyze', directory, '--identities', identities, '--json')).stdout), { records: 61, alerts: [{ rule: 'errors', subject: 'u_1', name: 'ann', time: at(49) }] })
  t.match(await modelGuard('audit', 'analyze', directory, '--identities', identities), { stdout: /errors {2}ann/ })
  t.match(await modelGuard('audit', 'analyze', directory, '--since', at(60)), { status: 0, stdout: '61 records, no alert\n' })
  t.match(await modelGuard('audit', 'analyze', directory, '--until', at(0)), { status: 0, stdout: '1 records, no alert\n' })
  t.match(await modelGuard('audit', 'analyze', directory, '--since', 'yesterday'), { status: 2 })
  t.match(await modelGuard('audit', 'analyze'), { status: 2, stderr: /FOLDER/ })
})

t.test('two alerts are two', async (t) => {
  const directory = await handMade(t, Array.from({ length: 120 }, (_, index) => ({ timestamp: at(index), status: 'error', http_status: 500, user_id: `u_${index % 2}` })))
  t.match(await modelGuard('audit', 'analyze', directory), { status: 1, stdout: /^121 records, 2 alerts\n/ })
})
