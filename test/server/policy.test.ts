import { generateKeyPairSync, hash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { loadPolicy } from '../../src/authz/file-policy.ts'
import { watchPolicy } from '../../src/authz/watched-policy.ts'
import { defaultConfig } from '../../src/server/config.ts'
import { defaultPolicy } from '../../src/server/default-policy.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { openShadow, recordReloads } from '../../src/server/open-policy.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'
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
  const load = records.find(({ action }) => action === 'policy:load')
  const [first, last] = ['success', 'denied'].map((wanted) => records.find(({ action, status }) => action === 'read' && status === wanted))
  t.match(reload, { status: 'success', policy: last?.['policy'], detail: { before: first?.['policy'] } })
  t.equal(load?.['policy'], first?.['policy'])
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
  await until(() => said.length > 1)
  t.same(said, ['policy loaded, and not recorded', 'policy reloaded, and not recorded'])
})

t.test('a candidate that goes bad stays as it was, and that is said', async (t) => {
  const file = path.join(t.testdir({ 'next.yaml': 'version: 1' }), 'next.yaml')
  const said: string[] = []
  const app = Fastify({ logger: { level: 'error', stream: { write: (line) => { said.push(line) } } } })
  t.teardown(() => app.close())
  const shadow = await openShadow(app, { ...defaultConfig, shadowPolicy: file })
  const { id } = shadow ?? {}
  writeFileSync(file, 'version: 2')
  await until(() => said.length > 0)
  t.match(said[0], /the shadow policy stays as it was/)
  t.equal(shadow?.id, id)
})

t.test('a server that is told whose policy to take takes no other', async (t) => {
  const folder = t.testdir({ 'trusted.pem': String(generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })) })
  const config = { ...defaultConfig, data: path.join(folder, 'data'), listen: { ...defaultConfig.listen, port: 0 }, policyKeyFiles: [path.join(folder, 'trusted.pem')] }
  await t.rejects(runServer(config), { code: 'FMG_ERR_FILE', message: /policy\.yaml\.sig/ })
  await t.rejects(runServer({ ...config, policyKeyFiles: [path.join(folder, 'gone.pem')] }), { code: 'FMG_ERR_FILE', message: /gone\.pem/ })
})

t.test('a server that wants two signatures takes a policy of two people, and records whose keys they are', async (t) => {
  const folder = t.testdir()
  const keyFiles = ['ann', 'bob'].map((name) => path.join(folder, `${name}.pem`))
  const fingerprints = keyFiles.map((file) => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
    writeFileSync(`${file}.pub`, publicKey.export({ type: 'spki', format: 'pem' }))
    return `sha256:${hash('sha256', publicKey.export({ type: 'spki', format: 'der' }))}`
  })
  const policy = path.join(folder, 'policy.yaml')
  writeFileSync(policy, defaultPolicy)
  const config = { ...defaultConfig, data: path.join(folder, 'data'), listen: { ...defaultConfig.listen, port: 0 }, policy, policyKeyFiles: [...keyFiles, keyFiles[0] ?? ''].map((file) => `${file}.pub`), policySignatures: 2 }
  await modelGuard('policy', 'sign', policy, '--key', keyFiles[0] ?? '')
  await modelGuard('policy', 'sign', policy, '--key', keyFiles[0] ?? '', '--add')
  await t.rejects(runServer(config), { code: 'FMG_ERR_SIGNATURE_INVALID', message: /not signed by 2 keys that are trusted for policies/ }, 'one key twice is one')
  t.match(await modelGuard('policy', 'sign', policy, '--key', keyFiles[1] ?? '', '--add'), { status: 0 })
  const { app, data } = await runServer(config)
  await stopServer(app)
  const { policy: digest, detail } = recordsIn(data.root).find(({ action }) => action === 'policy:load') ?? {}
  t.equal(digest, `sha256:${hash('sha256', defaultPolicy)}`)
  t.same(detail, { signed_by: fingerprints })
})

t.test('outputs that the policy masks are in no prediction, in JSON and in binary', async (t) => {
  const { url, data, keys } = await startServer(t)
  const { request } = await exampleImage(0)
  const infer = async (wanted: object = {}): Promise<Response> =>
    await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'x-api-key': keys.analyst, 'content-type': 'application/json' }, body: JSON.stringify({ ...request, ...wanted }) })
  const names = async (response: Response): Promise<string[]> => ((await response.json()) as { outputs: { name: string }[] }).outputs.map(({ name }) => name)
  t.same((await names(await infer())).sort(), ['label', 'probabilities'])
  writeFileSync(data.policy, readFileSync(data.policy, 'utf8').replace(/^policies:\n/m, 'policies:\n  - { name: no probabilities, effect: oblige, resource: { type: model }, obligations: { mask: [probabilities], record: full-metadata } }\n'))
  while ((await names(await infer())).length > 1);
  t.same(await names(await infer()), ['label'])
  const binary = await infer({ parameters: { binary_data_output: true } })
  t.equal(binary.headers.get('content-type'), 'application/octet-stream')
  t.notMatch(await binary.text(), 'probabilities')
  const asked = await infer({ outputs: [{ name: 'probabilities' }] })
  t.equal(asked.status, 400)
  t.match(await asked.json(), { error: /no output/ })
  const described = await (await fetch(`${url}/v2/models/digits`, { headers: { 'x-api-key': keys.analyst } })).json() as { outputs: { name: string }[] }
  t.same(described.outputs.map(({ name }) => name), ['label'])
  t.equal((await fetch(`${url}/v2/models/digits/ready`, { headers: { 'x-api-key': keys.analyst } })).status, 200)
})

t.test('a tier that the limits do not know keeps a policy from being taken', async (t) => {
  const folder = t.testdir({ 'policy.yaml': 'version: 1\npolicies: [{ name: a, effect: oblige, obligations: { tier: trail } }]' })
  await t.rejects(startServer(t, { policy: path.join(folder, 'policy.yaml'), data: path.join(folder, 'data'), limits: defaultConfig.limits }), { code: 'FMG_ERR_POLICY_INVALID', message: /unknown tier "trail"; did you mean trial\?/ })
})

t.test('a candidate policy is rehearsed while the server runs, and keeps nobody from starting', async (t) => {
  const folder = t.testdir({ 'next.yaml': 'version: 1', 'bad.yaml': 'version: 2', a: {}, b: {} })
  const { app, url, data, keys } = await startServer(t, { data: path.join(folder, 'a'), shadowPolicy: path.join(folder, 'next.yaml') })
  const ask = async (at: string, key: string): Promise<number> => (await fetch(`${at}/v2/models/digits`, { headers: { 'x-api-key': key } })).status
  t.equal(await ask(url, keys.analyst), 200)
  await stopServer(app)
  const shadow = { policy: loadPolicy('version: 1', { source: 'next.yaml' }).id, decision: 'deny' }
  t.same(recordsIn(data.root).find(({ action }) => action === 'read')?.['detail'], { shadow })

  const other = await startServer(t, { data: path.join(folder, 'b'), shadowPolicy: path.join(folder, 'bad.yaml') })
  t.equal(await ask(other.url, other.keys.analyst), 200)
  await stopServer(other.app)
  t.equal(recordsIn(other.data.root).find(({ action }) => action === 'read')?.['detail'], undefined)
})
