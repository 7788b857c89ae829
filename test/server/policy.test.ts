import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { watchPolicy } from '../../src/authz/watched-policy.ts'
import { defaultConfig } from '../../src/server/config.ts'
import { recordReloads } from '../../src/server/open-policy.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { auditIn, recordsIn } from '../helpers/guard.ts'
import { startServer } from '../helpers/server.ts'
import { until } from '../helpers/until.ts'

t.test('a changed policy counts without a restart, and the log says from which to which', async (t) => {
  const { app, url, data, keys } = await startServer(t)
  const ask = async (): Promise<number> => (await fetch(`${url}/v2/models/digits`, { headers: { 'x-api-key': keys.analyst } })).status
  t.equal(await ask(), 200)
  const text = readFileSync(data.policy, 'utf8')
  writeFileSync(data.policy, 'version: 1\nroles: {')
  t.equal(await ask(), 200, 'half of a file changes nothing')
  writeFileSync(data.policy, `${text}\n# nothing\n`.replace(/^policies:\n/m, 'policies:\n  - { name: nobody reads, effect: deny, action: read }\n'))
  while (await ask() === 200);
  t.equal(await ask(), 403)

  await stopServer(app)
  const records = recordsIn(data.root)
  const reload = records.find(({ action }) => action === 'policy:reload')
  const [first, last] = ['success', 'denied'].map((wanted) => records.find(({ action, status }) => action === 'read' && status === wanted))
  t.match(reload, { status: 'success', policy: last?.['policy'], detail: { before: first?.['policy'] } })
  t.ok(Number(first?.['seq']) < Number(reload?.['seq']) && Number(reload?.['seq']) < Number(last?.['seq']))
})

t.test('a change that the log cannot take counts all the same, and is said', async (t) => {
  const folder = t.testdir({ 'policy.yaml': 'version: 1' })
  const policy = await watchPolicy({ file: path.join(folder, 'policy.yaml'), stillMs: 1, heartbeatMs: 10 })
  t.teardown(() => policy.close())
  const { log } = await auditIn(path.join(folder, 'log'))
  await log.close()
  const said: string[] = []
  const logger = Object.assign(Fastify().log, { error: (_: unknown, message: string) => { said.push(message) } })
  recordReloads(policy, log, logger)
  writeFileSync(path.join(folder, 'policy.yaml'), 'version: 1 # again')
  await until(() => said.length > 0)
  t.same(said, ['policy reloaded, and not recorded'])
})

t.test('a server that is told whose policy to take takes no other', async (t) => {
  const folder = t.testdir({ 'trusted.pem': String(generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })) })
  const config = { ...defaultConfig, data: path.join(folder, 'data'), listen: { ...defaultConfig.listen, port: 0 }, policyKeyFiles: [path.join(folder, 'trusted.pem')] }
  await t.rejects(runServer(config), { code: 'FMG_ERR_FILE', message: /policy\.yaml\.sig/ })
  await t.rejects(runServer({ ...config, policyKeyFiles: [path.join(folder, 'gone.pem')] }), { code: 'FMG_ERR_FILE', message: /gone\.pem/ })
})
