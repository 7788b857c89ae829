import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { defaultConfig, loadConfig, type ServerConfig } from '../../src/server/config.ts'
import { runServer } from '../../src/server/run-server.ts'
import { startPrivateRedis } from '../../scripts/redis.js'
import { readLines } from '../audit/log-fixture.ts'
import { connectRedis, keyPrefix, redisUrl } from '../helpers/redis.ts'
import { startServer } from '../helpers/server.ts'
import { until } from '../helpers/until.ts'

const withAudit = (audit: Partial<ServerConfig['audit']>): Pick<ServerConfig, 'audit'> => ({ audit: { ...defaultConfig.audit, ...audit } })

t.test('the log of a node is mirrored to a Redis stream and a pino transport, under the node\'s own name', async (t) => {
  const data = t.testdir()
  const client = connectRedis(t)
  const origin = `${keyPrefix.replace(':', '')}.example/audit`
  const file = path.join(data, 'mirror.jsonl')
  const { app, data: files, keys } = await startServer(t, {
    data,
    redis: redisUrl(),
    ...withAudit({ origin, sinks: [{ name: 'stream', redis: { key: undefined, maxLength: undefined }, pino: undefined }, { name: 'file', redis: undefined, pino: { target: 'pino/file', options: { destination: file }, overlap: undefined } }] })
  })
  t.equal((await app.inject({ url: '/v2/models/digits', headers: { authorization: `Bearer ${keys.analyst}` } })).statusCode, 200)
  const all = readLines(files.audit)
  await until(async () => await client.xlen(`audit:${origin}`) >= all.length)
  await until(() => existsSync(file) && readFileSync(file, 'utf8').split('\n').length > all.length)
  await app.close()
  const entries = await client.xrange(`audit:${origin}`, '-', '+')
  t.same(entries.map(([, [, , , line]]) => line).slice(0, all.length), all)
  t.same(readFileSync(file, 'utf8').split('\n').slice(0, all.length), all)
  t.ok(readFileSync(files.verifierKey, 'utf8').startsWith(`${origin}+`))
  await client.del(`audit:${origin}`)
})

t.test('a sink that is gone is told of in the server\'s log, and keeps no answer', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  let text = ''
  const config = {
    ...defaultConfig, listen: { ...defaultConfig.listen, port: 0 }, data: t.testdir(), redis: redis.url, ...withAudit({ sinks: [{ name: 'stream', redis: { key: 'x', maxLength: undefined }, pino: undefined }] })
  }
  const { app } = await runServer(config, { stream: { write (line) { text += line } } })
  t.teardown(() => app.close())
  await redis.stop()
  await until(async () => {
    await app.inject('/v2')
    await app.inject('/v2/health/live')
    return text.includes('the audit log is not mirrored') && text.includes('"sink":"stream","msg":"Redis"')
  })
  t.equal((await app.inject('/v2/health/live')).statusCode, 200)
})

t.test('a log that was begun under one name does not open under another', async (t) => {
  const data = t.testdir()
  const { app } = await startServer(t, { data })
  await app.close()
  const config = { ...defaultConfig, listen: { ...defaultConfig.listen, port: 0 }, data }
  await t.rejects(runServer({ ...config, ...withAudit({ origin: 'node-2.example/audit' }) }), { code: 'FMG_ERR_LOG_INCONSISTENT' })
  const again = await runServer(config)
  await again.app.close()
})

t.test('sinks are read strictly, and one that cannot be opened leaves the log to be opened again', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'guard.yaml')
  for (const sinks of ['[{ name: a }]', '[{ name: a, redis: {}, pino: { target: x } }]', '[{ name: ../a, redis: {} }]', '[{ name: a, redis: {} }, { name: a, pino: { target: x } }]', '[{ name: a, redis: { kee: x } }]']) {
    writeFileSync(file, `audit: { sinks: ${sinks} }\n`)
    await t.rejects(loadConfig(file), { code: 'FMG_ERR_OPTION_INVALID', message: /audit\.sinks/ }, sinks)
  }
  writeFileSync(file, 'audit: { origin: node-1.example/audit, compressSegments: true, retainSeconds: 86400, maxSegmentSeconds: 3600, events: { refusal: best-effort }, sinks: [{ name: a, redis: {} }] }\n')
  const config = { ...await loadConfig(file), listen: { ...defaultConfig.listen, port: 0 }, data: path.join(folder, 'data') }
  t.match(config.audit, { origin: 'node-1.example/audit', compressSegments: true, retainSeconds: 86_400, events: { refusal: 'best-effort' } })
  await t.rejects(runServer(config), { code: 'FMG_ERR_OPTION_INVALID', message: /audit\.sinks\.a must be given with redis/ })
  const again = await runServer({ ...config, audit: { ...config.audit, sinks: [] } })
  await again.app.close()
})
