import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { defaultConfig, loadConfig } from '../../src/server/config.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'

t.test('nodes with one Redis and one pepper know each other’s keys, and a revoked one is refused by all of them', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const folder = t.testdir({
    'one.yaml': `{ listen: { port: 0 }, data: one, redis: '${redis.url}', keys: { store: redis, pepper: file:pepper, maxLifetimeDays: 30 } }`,
    'two.yaml': `{ listen: { port: 0 }, data: two, redis: '${redis.url}', keys: { store: redis, pepper: file:pepper } }`
  })
  const pepper = path.join(folder, 'pepper')
  writeFileSync(pepper, randomBytes(32).toString('base64'), { mode: 0o600 })
  const nodes = await Promise.all(['one.yaml', 'two.yaml'].map(async (name) => await runServer(await loadConfig(path.join(folder, name)))))
  t.teardown(async () => { await Promise.all(nodes.map(({ app }) => stopServer(app))) })
  t.same(nodes.map(({ firstKeys }) => firstKeys), [null, null], 'keys of many nodes are made by command')

  const { key, keyId } = JSON.parse((await modelGuard('keys', 'create', '--id', 'ann', '--store', redis.url, '--pepper', pepper, '--json')).stdout) as { key: string, keyId: string }
  const ask = async (): Promise<number[]> => await Promise.all(nodes.map(async ({ url }) => (await fetch(`${url}/v2`, { headers: { 'x-api-key': key } })).status))
  while ((await ask()).some((status) => status !== 200));
  await modelGuard('keys', 'revoke', keyId, '--store', redis.url, '--pepper', pepper)
  while ((await ask()).some((status) => status !== 401));
  t.same(await ask(), [401, 401])
})

t.test('a key lives no longer than the server lets it, whatever its record says', async (t) => {
  const { app, url, firstKeys } = await runServer({ ...defaultConfig, data: t.testdir(), listen: { ...defaultConfig.listen, port: 0 }, keys: { ...defaultConfig.keys, maxLifetimeDays: 30 } })
  t.teardown(() => stopServer(app))
  const { keys } = await (await fetch(`${url}/admin/keys`, { headers: { 'x-api-key': firstKeys?.admin ?? '' } })).json() as { keys: { expiresAt: string }[] }
  for (const { expiresAt } of keys) t.ok(Date.parse(expiresAt) <= Date.now() + 30 * 86_400_000)
})

t.test('keys in Redis need a Redis that is there, and a pepper for all nodes', async (t) => {
  const folder = t.testdir({ 'a.yaml': 'keys: { store: redis }', 'b.yaml': "{ redis: 'redis://127.0.0.1:1', keys: { store: redis } }", 'c.yaml': "{ redis: 'redis://127.0.0.1:1', keys: { store: redis, pepper: file:pepper } }" })
  for (const name of ['a.yaml', 'b.yaml']) await t.rejects(loadConfig(path.join(folder, name)), { code: 'FMG_ERR_OPTION_INVALID', message: /yaml\.keys must be given with redis and keys\.pepper/ })
  const config = await loadConfig(path.join(folder, 'c.yaml'))
  await t.rejects(runServer(config), { code: 'FMG_ERR_KEY_UNAVAILABLE', cause: { message: /pepper/ } })
  writeFileSync(path.join(folder, 'pepper'), randomBytes(32).toString('base64'), { mode: 0o600 })
  await t.rejects(runServer(config), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
})
