import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { anomalyOf, sketchesOf } from '../../src/server/anomaly.ts'
import { defaultConfig, loadConfig } from '../../src/server/config.ts'
import { dataFolder } from '../../src/server/data-folder.ts'
import { startServer } from '../helpers/server.ts'
import { recordsIn } from '../helpers/guard.ts'
import { until } from '../helpers/until.ts'

const quiet = { ...defaultConfig.anomaly, learnDays: 0 }

t.test('an operator sees what the rules found and what is done about it, and lifts it; others may not', async (t) => {
  const reactions = { ...defaultConfig.anomaly.reactions, ceiling: { mode: 'enforce', actions: [{ action: 'suspend', seconds: 600, mode: 'enforce' }] } } as const
  const { url, data, keys, app } = await startServer(t, { anomaly: { ...quiet, reactions, rules: { ...quiet.rules, ceiling: { requests: 5, windowSeconds: 60 } } } })
  const ask = async (key: string, place: string, method = 'GET'): Promise<{ status: number, body: unknown }> => {
    const response = await fetch(`${url}${place}`, { method, headers: { 'x-api-key': key } })
    return { status: response.status, body: await response.json() }
  }
  for (let index = 0; index < 6; index++) t.equal((await ask(keys.analyst, '/v2')).status, 200)
  await until(() => app.anomalies.list().length === 1)
  t.match(await ask(keys.analyst, '/v2'), { status: 403, body: { code: 'FMG_ERR_ACCESS_DENIED' } })
  const subject = app.anomalies.list()[0]?.subject ?? ''
  t.match(await ask(keys.admin, '/admin/anomalies'), { status: 200, body: { alerts: [{ rule: 'ceiling', subject, time: /Z$/ }], reactions: [{ action: 'suspend', subject, until: /Z$/ }] } })
  t.match(await ask(keys.admin, `/admin/anomalies/${subject}?action=explode`, 'DELETE'), { status: 400 })
  t.match(await ask(keys.admin, `/admin/anomalies/${subject}?action=coarsen`, 'DELETE'), { status: 404 })
  t.match(await ask(keys.admin, `/admin/anomalies/${subject}?action=suspend`, 'DELETE'), { status: 200, body: { lifted: true, subject } })
  t.equal((await ask(keys.analyst, '/v2')).status, 200)
  for (const [place, method] of [['/admin/anomalies', 'GET'], [`/admin/anomalies/${subject}`, 'DELETE']] as const) t.equal((await ask(keys.analyst, place, method)).status, 403)
  t.match(recordsIn(data.root).find(({ action }) => action === 'anomaly:lift'), { user_id: subject, reason: 'ceiling' })
})

t.test('by default the rules run, inputs are sketched under a key of the server\'s own, and nothing is done', async (t) => {
  const data = dataFolder(t.testdir())
  const options = await anomalyOf(defaultConfig, data)
  t.match(options, { learnFrom: { directory: data.audit, days: 28 }, tightRequestsAMinute: 10, reactions: { ceiling: { mode: 'enforce', actions: [] } }, watch: { rules: { ceiling: { requests: 1000 } } } })
  t.notOk('webhook' in options)
  const sketches = await sketchesOf(defaultConfig, data)
  t.equal(sketches?.secret.byteLength, 32)
  t.same(await sketchesOf(defaultConfig, data), sketches, 'the same at the next start')
  t.equal(await sketchesOf({ ...defaultConfig, anomaly: { ...quiet, sketches: false } }, data), undefined)
  t.notOk('learnFrom' in await anomalyOf({ ...defaultConfig, anomaly: quiet }, data))
})

t.test('secrets stand in files, beside the configuration', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'anomaly: { webhook: { url: "https://example.com/", secret: file:hook }, sketchKey: file:key }\n' })
  const data = dataFolder(folder)
  const config = await loadConfig(path.join(folder, 'guard.yaml'))
  const secret = Buffer.alloc(32, 1)
  writeFileSync(path.join(folder, 'hook'), `whsec_${secret.toString('base64')}\n`, { mode: 0o600 })
  writeFileSync(path.join(folder, 'key'), `${secret.toString('base64')}\n`, { mode: 0o600 })
  t.match(await anomalyOf(config, data), { webhook: { url: 'https://example.com/', secret } })
  t.same(await sketchesOf(config, data), { secret })
  writeFileSync(path.join(folder, 'hook'), secret.toString('base64'))
  await t.rejects(anomalyOf(config, data), { code: 'FMG_ERR_OPTION_INVALID', message: /webhook\.secret must be/ })
})
