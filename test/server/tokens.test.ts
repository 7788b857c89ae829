import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { defaultConfig, loadConfig, type ServerConfig } from '../../src/server/config.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'
import { startServer } from '../helpers/server.ts'
import { asPem, server } from '../helpers/tls.ts'
import { exchangeOf } from '../helpers/token-server.ts'

interface Answer {
  readonly status: number
  readonly access_token: string
  readonly refresh_token: string
}

async function post (url: string, path: string, form: Readonly<Record<string, string>>): Promise<Answer> {
  const response = await fetch(`${url}${path}`, { method: 'POST', body: new URLSearchParams(form) })
  const body = await response.text()
  return { status: response.status, ...body === '' ? {} : JSON.parse(body) as object } as Answer
}

const image = { inputs: [{ name: 'image', shape: [1, 64], datatype: 'FP32', data: Array.from({ length: 64 }, () => 0) }] }

async function infer (url: string, token: string): Promise<number> {
  const response = await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` }, body: JSON.stringify(image) })
  await response.text()
  return response.status
}

async function folder (t: Test): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'model-guard-server-'))
  t.teardown(() => rm(made, { recursive: true }))
  return made
}

t.test('with no configuration keys are exchanged for tokens, which a restart does not end, nor bring back', async (t) => {
  const data = await folder(t)
  const first = await startServer(t, { data })
  const token = (await post(first.url, '/oauth/token', exchangeOf(first.keys.analyst))).access_token
  const ended = (await post(first.url, '/oauth/token', exchangeOf(first.keys.analyst, { scope: 'model:predict:digits' }))).access_token
  const elsewhere = (await post(first.url, '/oauth/token', exchangeOf(first.keys.analyst, { scope: 'model:predict:other' }))).access_token
  t.equal(await infer(first.url, token), 200)
  t.equal(await infer(first.url, ended), 200)
  t.equal(await infer(first.url, elsewhere), 403)
  t.equal((await post(first.url, '/oauth/revoke', { token: ended })).status, 200)
  t.equal((await stat(path.join(data, 'secrets', 'token-signing-keys.json'))).mode & 0o777, 0o600)
  const stranger = await fetch(`${first.url}/v2`)
  t.match(stranger.headers.get('www-authenticate'), /resource_metadata="http:\/\/127\.0\.0\.1:0\/\.well-known\/oauth-protected-resource"/)
  t.match(await (await fetch(`${first.url}/.well-known/oauth-protected-resource`)).json(), { authorization_servers: ['http://127.0.0.1:0'], tls_client_certificate_bound_access_tokens: true })
  t.match(await (await fetch(`${first.url}/.well-known/jwks.json`)).json(), { keys: [{ kty: 'EC', alg: 'ES256' }] })
  t.match(await (await fetch(`${first.url}/.well-known/oauth-authorization-server`)).json(), { issuer: 'http://127.0.0.1:0' })
  await stopServer(first.app)
  const second = await runServer({ ...defaultConfig, data, listen: { ...defaultConfig.listen, port: 0 } })
  t.teardown(() => stopServer(second.app))
  t.equal(await infer(second.url, token), 200)
  t.equal(await infer(second.url, ended), 401)
})

t.test('nodes with one Redis and one pepper take each other’s tokens, refresh each other’s families, and end them', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const place = await folder(t)
  const pepper = path.join(place, 'pepper')
  writeFileSync(pepper, randomBytes(32).toString('base64'), { mode: 0o600 })
  const text = (data: string): string => `{ listen: { port: 0 }, data: ${data}, redis: '${redis.url}', keys: { store: redis, pepper: file:pepper }, tokens: { issuer: 'https://models.acme.example', algorithm: EdDSA, lifetimeSeconds: 300 } }`
  const nodes = await Promise.all(['one', 'two'].map(async (data) => {
    const file = path.join(place, `${data}.yaml`)
    writeFileSync(file, text(data))
    return await runServer(await loadConfig(file))
  }))
  t.teardown(async () => { await Promise.all(nodes.map(({ app }) => stopServer(app))) })
  const [one = '', two = ''] = nodes.map(({ url }) => url)
  const { key, keyId } = JSON.parse((await modelGuard('keys', 'create', '--id', 'ann', '--org', 'acme', '--role', 'analyst', '--tier', 'standard', '--store', redis.url, '--pepper', pepper, '--json')).stdout) as { key: string, keyId: string }
  const exchanged = await post(one, '/oauth/token', exchangeOf(key, { scope: 'offline_access' }))
  t.match(decodeJwt(exchanged.access_token), { iss: 'https://models.acme.example', sub: 'ann' })
  for (const url of [one, two]) while (await infer(url, exchanged.access_token) !== 200);
  const refreshed = await post(two, '/oauth/token', { grant_type: 'refresh_token', refresh_token: exchanged.refresh_token })
  t.equal(await infer(one, refreshed.access_token), 200)
  t.equal((await post(one, '/oauth/token', { grant_type: 'refresh_token', refresh_token: exchanged.refresh_token })).status, 400, 'a second use, at another node')
  for (const url of [one, two]) while (await infer(url, refreshed.access_token) !== 401);
  const other = await post(one, '/oauth/token', exchangeOf(key))
  t.equal(await infer(two, other.access_token), 200)
  await modelGuard('keys', 'revoke', keyId, '--store', redis.url, '--pepper', pepper)
  for (const url of [one, two]) while (await infer(url, other.access_token) !== 401);
  t.pass('revoked everywhere')
})

t.test('where others reach the server there are no tokens until it is told its name', async (t) => {
  const { issuer, ...tokens } = defaultConfig.tokens
  t.equal(issuer, undefined)
  const listen = (host: string): ServerConfig['listen'] => ({ ...defaultConfig.listen, host, port: 0, plaintext: 'allow' })
  const nameless = await startServer(t, { data: await folder(t), listen: listen('0.0.0.0') })
  const url = nameless.url.replace('0.0.0.0', '127.0.0.1')
  t.equal((await post(url, '/oauth/token', exchangeOf(nameless.keys.analyst))).status, 401, 'like any unknown path')
  t.equal((await fetch(`${url}/v2`)).headers.get('www-authenticate'), 'Bearer realm="model-guard"')
  const named = await startServer(t, { data: await folder(t), listen: listen('0.0.0.0'), tokens: { ...tokens, issuer: 'https://models.acme.example' } })
  t.equal((await post(named.url.replace('0.0.0.0', '127.0.0.1'), '/oauth/token', exchangeOf(named.keys.analyst))).status, 200)
  const place = await folder(t)
  const { key, cert } = asPem(server)
  const tls = { keyFile: path.join(place, 'key.pem'), certificateFile: path.join(place, 'certificate.pem') }
  writeFileSync(tls.keyFile, key, { mode: 0o600 })
  writeFileSync(tls.certificateFile, cert)
  const secure = await startServer(t, { data: await folder(t), listen: { ...listen('127.0.0.1'), tls } })
  t.match((await secure.app.inject({ url: '/.well-known/oauth-authorization-server' })).json(), { issuer: 'https://127.0.0.1:0' })
  const six = await startServer(t, { data: await folder(t), listen: listen('::1') })
  t.match(await (await fetch(`${six.url}/.well-known/oauth-authorization-server`)).json(), { issuer: 'http://[::1]:0' })
})
