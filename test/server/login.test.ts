import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { fileSecret } from '../../src/secrets/file-secret.ts'
import { defaultConfig, loadConfig, type ServerConfig } from '../../src/server/config.ts'
import { browser } from '../helpers/browser.ts'
import { startGithub } from '../helpers/github.ts'
import { startServer } from '../helpers/server.ts'

async function freePort (): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

const image = { inputs: [{ name: 'image', shape: [1, 64], datatype: 'FP32', data: Array.from({ length: 64 }, () => 0) }] }

t.test('people log in to the reference server, and ask its models from their browser', async (t) => {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const github = await startGithub(t, `${origin}/login/github/callback`)
  const folder = t.testdir()
  const clientSecretFile = path.join(folder, 'secret')
  writeFileSync(clientSecretFile, `${github.clientSecret}\n`, { mode: 0o600 })
  const login: ServerConfig['login'] = {
    origin: undefined,
    sessionSeconds: 28_800,
    providers: [{ kind: 'github', url: github.url, clientId: github.clientId, clientSecret: fileSecret(clientSecretFile), members: [{ org: 'acme', roles: ['analyst'], principalOrg: 'acme' }], tier: 'standard' }]
  }
  const { url } = await startServer(t, { data: path.join(folder, 'data'), listen: { ...defaultConfig.listen, port }, login })
  t.equal(url, origin)
  const ann = browser()
  t.equal((await ann.ask(`${origin}/v2`)).status, 401)
  t.match(await ann.visit(`${origin}/login/github?returnTo=/v2`), { status: 200, url: `${origin}/v2` })
  t.match([...ann.cookies(origin).keys()], /model-guard-session/, 'http on loopback goes without __Host-')
  const infer = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(image) }
  t.equal((await ann.ask(`${origin}/v2/models/digits/infer`, infer)).status, 200)
  t.equal((await ann.ask(`${origin}/v2/models/digits/infer`, { ...infer, from: 'http://127.0.0.1:1' })).status, 401, 'a page of another port sends no cookie here')
  t.equal((await ann.ask(`${origin}/admin/keys`)).status, 403)
  const exchanged = await ann.ask(`${origin}/oauth/token`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'grant_type=client_credentials' })
  const token = String(Reflect.get(Object(JSON.parse(exchanged.text)), 'access_token'))
  const asks = async (): Promise<number> => (await fetch(`${origin}/v2`, { headers: { authorization: `Bearer ${token}` } })).status
  t.equal(await asks(), 200)
  t.equal((await ann.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204)
  t.equal((await ann.submit(`${origin}/logout`)).status, 303)
  t.equal((await ann.ask(`${origin}/v2`)).status, 401)
  t.equal(await asks(), 401, 'what was made from the session ends with it')
  chmodSync(clientSecretFile, 0o644)
  t.equal((await ann.visit(`${origin}/login/github`)).status, 503, 'a secret that others may read is none')
})

t.test('a login that is not understood, or that nobody could come back to, stops the start', async (t) => {
  const provider = { kind: 'github', clientId: 'c', clientSecret: fileSecret('secret'), members: [], tier: 'standard' } as const
  const login: ServerConfig['login'] = { origin: undefined, sessionSeconds: 60, providers: [provider] }
  await t.rejects(startServer(t, { login: { ...login, providers: [] } }), { code: 'FMG_ERR_OPTION_INVALID', message: /login\.providers/ })
  await t.rejects(startServer(t, { data: t.testdir({}), login: { ...login, origin: 'https://models.example/a' } }), { code: 'FMG_ERR_OPTION_INVALID', message: /origin/ })
  const elsewhere = { ...defaultConfig.listen, host: '0.0.0.0', port: 0, plaintext: 'allow' as const }
  await t.rejects(startServer(t, { data: t.testdir({}), listen: elsewhere, login }), { code: 'FMG_ERR_OPTION_INVALID', message: /tokens\.issuer/ })
})

t.test('a configuration file names where the secret is, from where it stands itself', async (t) => {
  const file = (text: string): string => path.join(t.testdir({ 'guard.yaml': text }), 'guard.yaml')
  const good = file('login: { providers: [{ kind: github, clientId: c, clientSecret: file:secrets/github, members: [], tier: standard }] }')
  mkdirSync(path.join(path.dirname(good), 'secrets'))
  writeFileSync(path.join(path.dirname(good), 'secrets', 'github'), 'of this client', { mode: 0o600 })
  const { login } = await loadConfig(good)
  t.match(login, { sessionSeconds: 28_800, providers: [{ kind: 'github' }] })
  t.equal(Buffer.from(await login?.providers[0]?.clientSecret.read() ?? []).toString(), 'of this client')
  for (const wrong of ['{ kind: github, clientId: c, clientSecret: text }', '{ kind: github, clientId: c }', '{ clientSecret: 7 }', 'github', 'null']) {
    await t.rejects(loadConfig(file(`login: { providers: [${wrong}] }`)), { code: 'FMG_ERR_OPTION_INVALID', message: /guard\.yaml\.login\.providers\[0\]/ }, wrong)
  }
})
