import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request as httpsRequest } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { guardError } from '../../src/errors.ts'
import { defaultConfig, loadConfig } from '../../src/server/config.ts'
import { dataFolder } from '../../src/server/data-folder.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { sendError } from '../../src/server/send-error.ts'
import { modelGuard, run } from '../helpers/command.ts'
import { startServer } from '../helpers/server.ts'

t.test('paths in a configuration are relative to its file', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'data: here\npolicy: ./p.yaml\npolicyKeyFiles: [keys/p.pub]\nlisten: { tls: { keyFile: tls/key.pem, certificateFile: ../cert.pem } }\n', 'empty.yaml': '', 'guard.json': '{ "listen": { "port": 0 } }' })
  t.match(await loadConfig(path.join(folder, 'guard.yaml')), { data: path.join(folder, 'here'), policy: path.join(folder, 'p.yaml'), policyKeyFiles: [path.join(folder, 'keys/p.pub')], listen: { tls: { keyFile: path.join(folder, 'tls/key.pem'), certificateFile: path.join(folder, '../cert.pem') } } })
  t.match(await loadConfig(path.join(folder, 'empty.yaml')), { ...defaultConfig, data: path.join(folder, 'data') })
  t.match(await loadConfig(path.join(folder, 'guard.json')), { listen: { host: '127.0.0.1', port: 0 } })
})

t.test('with a certificate it serves over TLS, on any address', async (t) => {
  // Not the test's own folder, which would be removed before the server stops.
  const folder = await mkdtemp(path.join(tmpdir(), 'model-guard-tls-'))
  t.teardown(async () => { await rm(folder, { recursive: true, force: true }) })
  const [keyFile, certificateFile] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')]
  t.match(await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile, '-out', certificateFile, '-subj', '/CN=localhost', '-days', '2']), { status: 0 })
  const { app, keys } = await startServer(t, { listen: { ...defaultConfig.listen, host: '0.0.0.0', port: 0, tls: { keyFile, certificateFile } } })
  const { port } = app.server.address() as { port: number }
  const client = httpsRequest({ port, host: '127.0.0.1', path: '/v2', headers: { 'x-api-key': keys.analyst }, ca: await readFile(certificateFile), servername: 'localhost' })
  client.end()
  const [response] = await once(client, 'response') as [IncomingMessage]
  t.equal(response.statusCode, 200)
  response.resume()
})

t.test('plaintext on any address wants the word of the operator', async (t) => {
  const { app } = await startServer(t, { listen: { ...defaultConfig.listen, host: '0.0.0.0', port: 0, plaintext: 'allow' } })
  t.ok(app.server.listening)
})

t.test('load is shed by the order of the tiers: of this server\'s own, or as the configuration says', async (t) => {
  t.same(defaultConfig.limits.load?.order, ['trial', 'standard', 'unlimited'])
  const folder = t.testdir({ 'guard.yaml': 'limits: { defaultTier: pro, tiers: { pro: { windows: [{ name: second, quota: 1, windowSeconds: 1 }] } } }\n' })
  t.equal((await loadConfig(path.join(folder, 'guard.yaml'))).limits.load, undefined, 'nobody said which tier is lowest')
  const { limits } = defaultConfig
  await t.rejects(startServer(t, { limits: { ...limits, load: { order: ['trial', 'standard', 'unlimitd'] } } }), { code: 'FMG_ERR_OPTION_INVALID', message: /rateLimit\.load\.order must be a list with the tier unlimited/ })
  const { url, keys } = await startServer(t, { limits })
  t.equal((await fetch(`${url}/v2`, { headers: { 'x-api-key': keys.analyst } })).status, 200)
})

t.test('two nodes on one Redis share the limits; a node that starts without Redis refuses', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(() => redis.stop())
  const limits = { defaultTier: 'standard', tiers: { standard: { windows: [{ name: 'hour', quota: 5, windowSeconds: 3600 }] } } }
  const folder = t.testdir()
  const one = await startServer(t, { data: path.join(folder, 'one'), redis: redis.url, limits })
  const two = await startServer(t, { data: path.join(folder, 'two'), redis: redis.url, limits })
  const statuses: number[] = []
  for (let index = 0; index < 8; index++) {
    const { url, keys } = index % 2 === 0 ? one : two
    statuses.push((await fetch(`${url}/v2`, { headers: { 'x-api-key': keys.analyst } })).status)
  }
  t.same(statuses, [200, 200, 200, 200, 200, 429, 429, 429])
  await redis.stop()
  const response = await fetch(`${one.url}/v2`, { headers: { 'x-api-key': one.keys.analyst } })
  t.equal(response.status, 503)
  t.match(await response.json(), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
  await t.rejects(runServer({ ...defaultConfig, data: path.join(folder, 'three'), redis: redis.url }), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
})

t.test('a server with Redis in its configuration says when ioredis is missing', async (t) => {
  const folder = t.testdir({
    'guard.yaml': 'redis: redis://127.0.0.1:1\nlisten: { port: 0 }\n',
    'hide.mjs': "import { register } from 'node:module'\nregister('data:text/javascript,' + encodeURIComponent(`export function resolve (name, context, next) { if (name === 'ioredis') throw new Error('hidden'); return next(name, context) }`))\n"
  })
  const { status, stderr } = await run(process.execPath, ['--import', path.join(folder, 'hide.mjs'), path.join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.js'), 'serve', '--config', path.join(folder, 'guard.yaml')])
  t.equal(status, 1)
  t.match(stderr, /FMG_ERR_OPTION_INVALID: option invalid: redis needs the package ioredis: npm install ioredis/)
})

t.test('a key revoked on the command line is refused from then on', async (t) => {
  const { url, keys, data } = await startServer(t)
  const ask = async (): Promise<number> => (await fetch(`${url}/v2`, { headers: { 'x-api-key': keys.analyst } })).status
  t.equal(await ask(), 200)
  const { keys: listed } = JSON.parse((await modelGuard('keys', 'list', '--store', data.keys, '--json')).stdout) as { keys: { id: string, keyId: string }[] }
  t.match(await modelGuard('keys', 'revoke', listed.find(({ id }) => id === 'analyst')?.keyId ?? '', '--store', data.keys), { status: 0 })
  while (await ask() === 200) await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(await ask(), 401)
})

t.test('a model that was tampered with does not let the server start, and names the file', async (t) => {
  const server = await startServer(t)
  await stopServer(server.app)
  const sealed = path.join(server.data.models, 'digits', 'model.onnx.sealed')
  const bytes = await readFile(sealed)
  bytes[100] = (bytes[100] ?? 0) ^ 1
  await writeFile(sealed, bytes)
  const config = { ...defaultConfig, data: server.data.root, listen: { ...defaultConfig.listen, port: 0 } }
  await t.rejects(runServer(config), { code: 'FMG_ERR_MODEL_TAMPERED', message: /model\.onnx\.sealed/ })
  await rm(path.join(server.data.models, 'digits'), { recursive: true })
  const again = await runServer(config)
  t.equal(again.firstKeys, null, 'what is there already is kept, what is missing is made anew')
  t.equal(again.app.models.list().length, 1)
  await stopServer(again.app)
})

t.test('behind a proxy that is named, callers have their own addresses', async (t) => {
  let logged = ''
  const folder = t.testdir()
  const server = await runServer({ ...defaultConfig, data: folder, listen: { ...defaultConfig.listen, port: 0, trustProxy: ['127.0.0.1'] } }, { level: 'info', stream: { write: (line) => { logged += line } } })
  const statuses: number[] = []
  for (let index = 0; index < 305; index++) {
    statuses.push((await fetch(`${server.url}/v2?key=secret`, { headers: { 'x-forwarded-for': index < 303 ? '192.0.2.1' : '192.0.2.2' } })).status)
  }
  t.same(statuses.slice(299), [401, 429, 429, 429, 401, 401])
  t.notMatch(logged, 'secret')
  const long = await fetch(`${server.url}/v2/models/${'m'.repeat(300)}`)
  t.equal(long.status, 401, 'a long name is a name')
  await stopServer(server.app)
})

t.test('a port in use is said in one line', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'data: other\n' })
  const { port } = new URL((await startServer(t, { data: path.join(folder, 'data') })).url)
  const file = path.join(folder, 'guard.yaml')
  t.match(await modelGuard('serve', '--port', port, '--config', file), { status: 1, stderr: /^EADDRINUSE: listen EADDRINUSE: address already in use 127\.0\.0\.1:\d+\n$/ })
})

t.test('a connection that stays busy does not keep the server from ending', async (t) => {
  const { app, url } = await startServer(t)
  const { port } = new URL(url)
  const client = (await import('node:net')).connect(Number(port), '127.0.0.1')
  client.on('error', () => {})
  client.write('POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n')
  await once(app.server, 'connection')
  const closed = once(client, 'close')
  await stopServer(app, 50)
  await closed
  t.notOk(app.server.listening)
})

t.test('what nobody foresaw is logged, not told', async (t) => {
  let logged = ''
  const app = Fastify({ logger: { level: 'error', stream: { write: (line: string) => { logged += line } } } })
  app.setErrorHandler(sendError)
  app.get('/bug', async () => { throw new Error('inner workings') })
  app.get('/busy', async () => { throw guardError('FMG_ERR_MODEL_BUSY', { headers: { 'retry-after': '1' } }) })
  app.get('/bad', async () => { throw Object.assign(new Error('a bad request'), { statusCode: 400, code: 'X' }) })
  const bug = await app.inject('/bug')
  t.match(bug, { statusCode: 500 })
  t.same(bug.json(), { error: 'internal error', code: 'INTERNAL' })
  t.match(logged, /inner workings/)
  const busy = await app.inject('/busy')
  t.match(busy, { statusCode: 503, headers: { 'retry-after': '1' } })
  t.same(busy.json(), { error: 'the model is busy', code: 'FMG_ERR_MODEL_BUSY' })
  t.same((await app.inject('/bad')).json(), { error: 'a bad request', code: 'X' })
  await app.close()
})

t.test('everything a server keeps is below its data folder', async (t) => {
  for (const file of Object.values(dataFolder('/d'))) t.match(file, /^\/d/)
})
