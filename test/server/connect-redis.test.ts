import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { freePort, startPrivateRedis, startRedisCluster, startSentinels } from '../../scripts/redis.js'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { redisKeyStore } from '../../src/authn/redis-key-store.ts'
import { redisLimiter, type RedisLimiter } from '../../src/limits/redis-limiter.ts'
import { defaultConfig, loadConfig } from '../../src/server/config.ts'
import { connectRedis, type ConnectedRedis, type WhenLost } from '../../src/server/connect-redis.ts'
import { readRedisPlace, type RedisPlace } from '../../src/server/redis-place.ts'
import { placesBy } from '../../src/server/places.ts'
import { runServer } from '../../src/server/run-server.ts'
import { fileSecret } from '../../src/secrets/file-secret.ts'
import type { SecretSource } from '../../src/secrets/secret-source.ts'
import { createKey, pepper } from '../authn/key-store-suite.ts'
import { drain, limitRequest } from '../limits/limiter-suite.ts'
import { startServer } from '../helpers/server.ts'
import { asPem, issueNow, server, serverAuthority } from '../helpers/tls.ts'
import { until } from '../helpers/until.ts'

const nodes = issueNow({ subject: 'nodes', isAuthority: true })
const node = issueNow({ subject: 'node', issuer: nodes })

async function connected (t: Test, place: RedisPlace, whenLost: WhenLost = 'fail'): Promise<ConnectedRedis> {
  const client = await connectRedis(place, whenLost)
  t.teardown(() => { client.disconnect() })
  await client.connect()
  return client
}

/** A limiter that bears the other tests on this machine. */
async function limiterAt (t: Test, place: RedisPlace, timeoutMs = 20_000): Promise<RedisLimiter> {
  return redisLimiter({ client: await connected(t, place), timeoutMs })
}

/** The files of a node, and of its Redis, in a folder of the test's own. */
function certificateFiles (t: Test): Readonly<Record<'ca' | 'cert' | 'key' | 'other' | 'nodes' | 'serverCert' | 'serverKey' | 'open', string>> {
  const [mine, its] = [asPem(node), asPem(server)]
  const folder = t.testdir({})
  const write = (name: string, text: string, mode = 0o600): string => {
    const file = path.join(folder, name)
    writeFileSync(file, text, { mode })
    return file
  }
  return {
    ca: write('ca.pem', serverAuthority.certificate.toString()),
    cert: write('cert.pem', mine.cert),
    key: write('key.pem', mine.key),
    other: write('other.pem', its.key),
    open: write('open.pem', mine.key, 0o644),
    nodes: write('nodes.pem', nodes.certificate.toString()),
    serverCert: write('server.pem', its.cert),
    serverKey: write('server-key.pem', its.key)
  }
}

t.test('a Redis that wants a certificate of its clients is reached with one, and not without', async (t) => {
  const files = certificateFiles(t)
  const port = await freePort()
  const redis = await startPrivateRedis(await freePort(), ['--port', '0', '--tls-port', `${port}`, '--tls-cert-file', files.serverCert, '--tls-key-file', files.serverKey, '--tls-ca-cert-file', files.nodes, '--tls-auth-clients', 'yes'])
  t.teardown(redis.stop)
  const url = `rediss://localhost:${port}`
  const tls = { caFile: files.ca, certificateFile: files.cert, keyFile: files.key }
  t.equal(await drain(await limiterAt(t, { url, tls })), 10)
  t.equal(await drain(await limiterAt(t, { url: url.replace('localhost', '127.0.0.1'), tls: { ...tls, serverName: 'localhost' } })), 0)
  for (const [place, why] of [
    [{ url, tls: { caFile: files.ca } }, 'no certificate'],
    [{ url, tls: { ...tls, caFile: files.nodes } }, 'an authority of others'],
    [{ url, tls: { ...tls, caFile: undefined } }, 'no authority'],
    [{ url, tls: { ...tls, serverName: 'redis.example' } }, 'another name'],
    [url, 'nothing said of TLS'],
    [{ url }, 'nothing said of TLS but in the URL'],
    [`redis://localhost:${port}`, 'no TLS']
  ] as const) await t.rejects(connected(t, place), why)

  for (const [wrong, message] of [
    [{ ...tls, keyFile: files.other }, /cert\.pem, .*other\.pem cannot be used for TLS/],
    [{ ...tls, keyFile: files.open }, /open\.pem holds a secret but others may read it/],
    [{ ...tls, caFile: 'missing.pem' }, /cannot read missing\.pem/]
  ] as const) await t.rejects(connectRedis({ url, tls: wrong }, 'fail'), { code: 'FMG_ERR_FILE', message })
})

t.test('a Redis behind a unix socket, and another database of it', async (t) => {
  // The path of a socket holds a hundred characters or so.
  const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const socket = path.join(folder, 'redis.sock')
  const redis = await startPrivateRedis(undefined, ['--unixsocket', socket])
  t.teardown(redis.stop)
  t.equal(await drain(await limiterAt(t, `unix:${socket}`)), 10)
  t.equal(await drain(await limiterAt(t, redis.url)), 0)
  t.equal(await drain(await limiterAt(t, `${redis.url}/1`)), 10)
})

t.test('a password stands in the URL, or is a secret that others cannot read', async (t) => {
  const redis = await startPrivateRedis(undefined, ['--requirepass', 'p@ss word'])
  t.teardown(redis.stop)
  const folder = t.testdir({})
  const inFile = (name: string, text: string, mode: number): SecretSource => {
    const file = path.join(folder, name)
    writeFileSync(file, text, { mode })
    return fileSecret(file)
  }
  const password = inFile('password', 'p@ss word\n', 0o600)
  const { url } = redis
  t.equal(await drain(await limiterAt(t, { url, password })), 10)
  t.equal(await drain(await limiterAt(t, { url, username: 'default', password })), 0)
  for (const credentials of [':p%40ss%20word@', 'default:p%40ss%20word@']) t.equal(await drain(await limiterAt(t, url.replace('//', `//${credentials}`))), 0)
  for (const place of [url, { url, password: inFile('wrong', 'p@ss word \n', 0o600) }, { url, username: 'other', password }]) await t.rejects(connected(t, place).then(async (client) => await client.call('PING')))
  await t.rejects(connectRedis({ url, password: inFile('open', 'p@ss word\n', 0o644) }, 'fail'), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-file' })
})

t.test('a cluster of three counts each group on one node, keeps keys, and tells all nodes of changes', async (t) => {
  const redis = await startRedisCluster()
  t.teardown(redis.stop)
  const place = { cluster: redis.addresses.slice(0, 1) }
  const limiters = [await limiterAt(t, place), await limiterAt(t, place)] as const
  for (const group of ['acme', 'globex', 'initech', 'umbrella', 'hooli']) {
    const outcomes = await Promise.all(Array.from({ length: 40 }, async (_, index) => await limiters[index % 2 === 0 ? 0 : 1].consume(limitRequest({ group }))))
    t.equal(outcomes.filter(({ allowed }) => allowed).length, 10, group)
  }
  const openStore = async (): Promise<KeyStore> => await redisKeyStore({ client: await connected(t, place, 'wait'), pepper })
  const [one, two] = [await openStore(), await openStore()]
  const { keyId } = await createKey(one)
  await until(() => two.recall?.(keyId) != null)
  await Promise.all([one.close(), two.close()])
  const impatient = await limiterAt(t, place, 200)
  await Promise.all(redis.nodes.map(({ stop }) => stop()))
  await t.rejects(impatient.consume(limitRequest()), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
})

t.test('where Sentinels watch, the replica that was promoted goes on counting', async (t) => {
  const redis = await startSentinels()
  t.teardown(redis.stop)
  const place = { sentinels: redis.addresses, name: 'primary' }
  const [client, limiter, paused] = [await connected(t, place), await limiterAt(t, place), await limiterAt(t, { ...place, database: 1 })]
  t.equal(await drain(limiter, { cost: 4 }), 2)
  t.equal(await drain(paused, { cost: 5 }), 2)
  await client.call('WAIT', 1, 0)
  // Its connections stay as they are: only the Sentinels tell that it is over.
  process.kill(redis.primary.pid, 'SIGSTOP')
  const remaining = async (limiter: RedisLimiter): Promise<number> => await limiter.consume(limitRequest({ cost: 5 })).then(({ remaining }) => remaining, async () => await remaining(limiter))
  t.equal(await remaining(limiter), 2)
  t.equal(await remaining(paused), 0)
  process.kill(redis.primary.pid, 'SIGCONT')
})

t.test('Sentinels that want a password, and Redis behind them, are reached by TLS', async (t) => {
  const files = certificateFiles(t)
  const [redisPort, sentinelPort] = [await freePort(), await freePort()]
  const encrypted = (port: number): string[] => ['--port', '0', '--tls-port', `${port}`, '--tls-cert-file', files.serverCert, '--tls-key-file', files.serverKey, '--tls-ca-cert-file', files.ca, '--tls-auth-clients', 'no', '--tls-replication', 'yes']
  const redis = await startPrivateRedis(redisPort, encrypted(redisPort))
  t.teardown(redis.stop)
  const sentinel = await startPrivateRedis(sentinelPort, [...encrypted(sentinelPort), '--requirepass', 'sesame', '--sentinel', 'resolve-hostnames', 'yes', '--sentinel', 'announce-hostnames', 'yes', '--sentinel', 'monitor', 'primary', 'localhost', `${redisPort}`, '1', '--sentinel'])
  t.teardown(sentinel.stop)
  const passwordFile = path.join(path.dirname(files.ca), 'password')
  writeFileSync(passwordFile, 'sesame', { mode: 0o600 })
  const place = { sentinels: [`localhost:${sentinelPort}`], name: 'primary', tls: { caFile: files.ca }, sentinelPassword: fileSecret(passwordFile) }
  t.equal(await drain(await limiterAt(t, place)), 10)
})

t.test('a cluster is reached by TLS under the names that its certificates hold', async (t) => {
  const files = certificateFiles(t)
  const port = 20_000 + await freePort() % 10_000
  const redis = await startPrivateRedis(port, ['--port', '0', '--tls-port', `${port}`, '--tls-cert-file', files.serverCert, '--tls-key-file', files.serverKey, '--tls-ca-cert-file', files.ca, '--tls-auth-clients', 'no', '--tls-cluster', 'yes',
    '--cluster-enabled', 'yes', '--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type', 'hostname'])
  t.teardown(redis.stop)
  const tls = { caFile: files.ca }
  const only = await connected(t, { url: `rediss://localhost:${port}`, tls })
  await only.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
  while (!String(await only.call('CLUSTER', 'INFO')).includes('cluster_state:ok'));
  t.equal(await drain(await limiterAt(t, { cluster: [`localhost:${port}`], tls })), 10)
})

t.test('a command that is waited for is given up when nobody answers', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = await connected(t, redis.url, 'wait')
  process.kill(redis.pid, 'SIGSTOP')
  await t.rejects(client.call('PING'), { message: 'no answer in 5000 ms' })
  process.kill(redis.pid, 'SIGCONT')
  t.equal(await client.call('PING'), 'PONG')
  await redis.stop()
  await t.rejects(client.call('PING'))
})

t.test('a place is read strictly, its files beside the configuration', async (t) => {
  const read = (value: unknown): RedisPlace => readRedisPlace(placesBy((file) => `/etc/${file}`))(value, 'redis')
  const cluster = ['10.0.0.1:6379', '[::1]:6379', 'redis-0.example:6379']
  for (const place of ['redis://127.0.0.1:6379', 'rediss://:secret@redis.example', 'unix:/run/redis.sock', { url: 'redis://h' }, { cluster }, { sentinels: cluster, name: 'primary' }]) t.match(read(place), place)
  for (const [place, message] of [
    [7, 'redis must be redis://…, rediss://… or unix:/…, got 7'],
    [null, 'redis must be'],
    ['http://127.0.0.1', 'redis must be'],
    ['redis:', 'redis must be'],
    [{}, 'redis.url must be'],
    [{ url: 'redis://h', host: 'h' }, 'redis.host is not an option'],
    [{ url: 'redis://h', cluster }, 'redis.url is not an option'],
    [{ sentinels: cluster, name: 'primary', cluster }, 'redis.cluster is not an option'],
    [{ sentinels: cluster }, 'redis.name must be'],
    [{ sentinels: [], name: 'primary' }, 'redis.sentinels must be a list of at least one'],
    [{ cluster: [] }, 'redis.cluster must be a list of at least one'],
    [{ cluster: ['h'] }, 'redis.cluster[0] must be host:port'],
    [{ cluster: ['user:secret@h:1'] }, 'redis.cluster[0] must be host:port'],
    [{ cluster, password: 'secret' }, 'redis.password must be file:… or '],
    [{ cluster, pasword: 'secret' }, 'redis.pasword is not an option'],
    [{ cluster, tls: { certificateFile: 'c' } }, 'redis.tls must be given certificateFile and keyFile together'],
    [{ cluster, tls: { keyFile: 'k' } }, 'redis.tls must be given certificateFile and keyFile together'],
    [{ cluster, tls: { rejectUnauthorized: false } }, 'redis.tls.rejectUnauthorized is not an option'],
    [{ url: 'redis://h', tls: {} }, 'redis.tls must be given with rediss:// alone'],
    [{ url: 'redis://:secret@h', password: 'file:p' }, 'redis.password must be left out where the url has a password'],
    [{ url: 'redis://ann@h', username: 'bob' }, 'redis.username must be left out where the url has one']
  ] as const) t.throws(() => read(place), { code: 'FMG_ERR_OPTION_INVALID', message: `option invalid: ${message}` }, message)

  const tls = { caFile: 'ca', certificateFile: 'cert', keyFile: 'key' }
  t.match(read({ cluster, tls, password: 'file:p' }), { cluster, tls: { caFile: '/etc/ca', certificateFile: '/etc/cert', keyFile: '/etc/key' }, password: { read: Function } })
  t.match(read({ sentinels: cluster, name: 'primary', sentinelPassword: 'file:s' }), { sentinelPassword: { read: Function }, tls: undefined })
  const folder = t.testdir({ 'guard.yaml': '{ redis: { url: rediss://h, tls: { caFile: ca.pem } } }' })
  t.match(await loadConfig(path.join(folder, 'guard.yaml')), { redis: { tls: { caFile: path.join(folder, 'ca.pem') } } })
})

t.test('a server counts in the Redis that its configuration describes, whichever it is', async (t) => {
  const redis = await startRedisCluster()
  t.teardown(redis.stop)
  const limits = { defaultTier: 'standard', tiers: { standard: { windows: [{ name: 'hour', quota: 3, windowSeconds: 3600 }] } } }
  const place = { cluster: redis.addresses }
  const folder = t.testdir()
  const servers = [await startServer(t, { data: path.join(folder, 'one'), redis: place, limits }), await startServer(t, { data: path.join(folder, 'two'), redis: place, limits })]
  const statuses: number[] = []
  for (const { url, keys } of [...servers, ...servers]) statuses.push((await fetch(`${url}/v2`, { headers: { 'x-api-key': keys.analyst } })).status)
  t.same(statuses, [200, 200, 200, 429])
  await Promise.all(redis.nodes.map(({ stop }) => stop()))
  await t.rejects(runServer({ ...defaultConfig, data: path.join(folder, 'three'), redis: place }), { code: 'FMG_ERR_LIMITER_UNAVAILABLE' })
})
