import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { rewrapModel } from '../../src/model/rewrap-model.ts'
import { createSigningKey, createWrappingKey } from '../../src/secrets/create-keys.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { loadConfig } from '../../src/server/config.ts'
import { reportKeys, type KeysReport } from '../../src/server/keys-report.ts'
import { referencesIn } from '../../src/server/kept-keys.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { parseYaml } from '../../src/yaml-text.ts'
import { modelGuard } from '../helpers/command.ts'

const guard = 'listen: { port: 0 }\ndata: data\n'

/** What a server leaves behind that was started once and asked once. */
async function serverData (folder: string): Promise<string> {
  const file = path.join(folder, 'guard.yaml')
  writeFileSync(file, guard)
  const { app, url, firstKeys } = await runServer(await loadConfig(file))
  const { request } = await exampleImage(0)
  await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'x-api-key': firstKeys?.analyst ?? '', 'content-type': 'application/json' }, body: JSON.stringify(request) })
  await stopServer(app)
  return folder
}

const made = serverData(t.testdir({}))

/** A copy of that folder, and a configuration in it. */
async function copy (t: Test, configuration = guard): Promise<{ inFolder: (name: string) => string, report: () => Promise<KeysReport>, bad: () => Promise<string[]> }> {
  const folder = t.testdir({})
  await cp(await made, folder, { recursive: true })
  const inFolder = (name: string): string => path.join(folder, name)
  const file = inFolder('guard.yaml')
  await writeFile(file, configuration)
  const report = async (): Promise<KeysReport> => await reportKeys(await loadConfig(file), file, referencesIn(parseYaml(await readFile(file, 'utf8'), file)))
  const bad = async (): Promise<string[]> => {
    const { keys, bundles, ok } = await report()
    const names = [...keys.filter(({ ok }) => !ok).map(({ name }) => name), ...bundles.filter(({ ok }) => !ok).map(({ bundle }) => bundle)]
    t.equal(ok, names.length === 0)
    return names
  }
  return { inFolder, report, bad }
}

async function secretFile (file: string, text: string): Promise<void> {
  await writeFile(file, text)
  await chmod(file, 0o600)
}

const own = [
  ['pepper', 'pepper'],
  ['log-signing-key.pem', 'log signing key'],
  ['identities.jsonl', 'audit digest keys and identities'],
  ['token-signing-keys.json', 'token and session signing keys'],
  ['model-signing-key.pem', 'model signing key'],
  ['sketch-key', 'sketch key'],
  ['model-wrapping-key.json', 'model key 1']
] as const

t.test('of a server that runs by itself every key is named, read, and dated', async (t) => {
  const { report } = await copy(t)
  const { keys, bundles, ok } = await report()
  t.ok(ok)
  t.same(keys.map(({ name }) => name).sort(), own.map(([, name]) => name).sort())
  for (const { from, rotated, state, permissions, loss } of keys) t.match({ from, rotated, state, permissions, loss }, { from: /^file:\//, rotated: /^20\d\d-\d\d-\d\dT/, state: 'readable', permissions: null, loss: /\w/ })
  t.match(bundles, [{ bundle: 'models/digits', opensWith: [/^key-/], others: [], onlyOne: true, problem: null }])
})

for (const [file, name] of own) {
  t.test(`${name}: broken, readable by others, or gone`, async (t) => {
    const { inFolder, report, bad } = await copy(t)
    const key = inFolder(`data/secrets/${file}`)
    const bundle = name === 'model key 1' ? ['models/digits'] : []
    await chmod(key, 0o644)
    t.same(await bad(), [name, ...bundle])
    t.match((await report()).keys.find((finding) => finding.name === name), { permissions: /chmod 600/, ok: false })
    await chmod(key, 0o600)
    t.same(await bad(), [])
    await writeFile(key, 'sesame-open\n')
    t.same(await bad(), [name, ...bundle])
    t.notMatch(JSON.stringify(await report()), 'sesame')
    await rm(key)
    const isMadeLater = ['identities.jsonl', 'token-signing-keys.json', 'sketch-key'].includes(file)
    t.same(await bad(), isMadeLater ? [] : [name, ...bundle])
    if (isMadeLater) t.match((await report()).keys.find((finding) => finding.name === name), { state: 'not-made-yet', rotated: 'unknown' })
  })
}

const full = `${guard.replace('listen: { port: 0 }', 'listen: { port: 0, tls: { keyFile: vault/tls.key, certificateFile: vault/tls.pem } }')}
redis: { url: rediss://127.0.0.1:1, password: file:vault/redis, tls: { certificateFile: vault/node.pem, keyFile: vault/node.key } }
keys: { pepper: file:vault/pepper }
decisionPoint: { url: https://pdp.acme.example, token: file:vault/pdp }
login: { providers: [{ kind: github, clientId: a, clientSecret: file:vault/github, tier: standard, members: [] }] }
anomaly: { sketchKey: file:vault/sketches, webhook: { url: https://alerts.acme.example, secret: file:vault/webhook } }
audit: { signer: file:vault/log.pem }
models: { keys: [file:data/secrets/model-wrapping-key.json, file:vault/next.json], trustFile: trust.yaml }
`

const given = [
  ['tls.key', 'TLS key'], ['redis', 'Redis password'], ['node.key', 'Redis client key'], ['pepper', 'pepper'], ['pdp', 'decision point token'], ['github', 'login secret 1 (github)'],
  ['sketches', 'sketch key'], ['webhook', 'webhook secret'], ['log.pem', 'log signing key'], ['next.json', 'model key 2']
] as const

t.test('of a server that is told of its keys each is looked at where it is', async (t) => {
  const { inFolder, report, bad } = await copy(t, full)
  await cp(inFolder('data/secrets'), inFolder('vault'), { recursive: true })
  for (const [name] of given) await secretFile(inFolder(`vault/${name}`), `${Buffer.alloc(32, 1).toString('base64')}\n`)
  for (const name of ['log.pem', 'next.json']) await rm(inFolder(`vault/${name}`))
  await createSigningKey(inFolder('vault/log.pem'), 'log')
  await createWrappingKey(inFolder('vault/next.json'), 'next')
  t.same(await bad(), [])
  const { keys } = await report()
  t.same(keys.map(({ name, from }) => [from, name]).sort(), [
    ...given.map(([file, name]) => [/\.key$/.test(file) ? `file:${inFolder(`vault/${file}`)}` : `file:vault/${file}`, name]),
    ['file:data/secrets/model-wrapping-key.json', 'model key 1'], [`file:${inFolder('data/secrets/identities.jsonl')}`, 'audit digest keys and identities']
  ].sort(), 'and token keys, which are in Redis, are not')
  for (const [file, name] of given) {
    const kept = readFileSync(inFolder(`vault/${file}`))
    await chmod(inFolder(`vault/${file}`), 0o640)
    t.same(await bad(), [name], file)
    await rm(inFolder(`vault/${file}`))
    t.same(await bad(), [name], file)
    await secretFile(inFolder(`vault/${file}`), '')
    t.same(await bad(), [name], file)
    await writeFile(inFolder(`vault/${file}`), kept)
  }
  t.same(await bad(), [])
})

t.test('a secret in a variable has no date, and a Sentinel has a password of its own', async (t) => {
  const { report } = await copy(t, `${guard}redis: { sentinels: ['127.0.0.1:1'], name: primary, sentinelPassword: 'env:FMG_TEST_SENTINEL', password: 'env:FMG_TEST_NONE' }\nanomaly: { sketches: false }\n`)
  process.env['FMG_TEST_SENTINEL'] = 'sesame-open'
  const { keys } = await report()
  t.match(keys.find(({ name }) => name === 'Sentinel password'), { from: 'env:FMG_TEST_SENTINEL', rotated: 'unknown', state: 'readable', permissions: null, ok: true })
  t.match(keys.find(({ name }) => name === 'Redis password'), { state: /FMG_ERR_KEY_UNAVAILABLE: a key cannot be reached; .*FMG_TEST_NONE is not set/, ok: false })
  t.notOk(keys.some(({ name }) => name === 'sketch key'))
  t.notMatch(JSON.stringify(keys), 'sesame')
})

t.test('a folder in the place of a key is no key', async (t) => {
  const { inFolder, report } = await copy(t)
  await rm(inFolder('data/secrets/pepper'))
  await mkdir(inFolder('data/secrets/pepper'), { mode: 0o700 })
  t.match((await report()).keys[0], { name: 'pepper', state: 'cannot be read (Error)', ok: false })
})

t.test('bundles are tried: a recipient\'s name is not enough', async (t) => {
  const { inFolder, report, bad } = await copy(t)
  const key = inFolder('data/secrets/model-wrapping-key.json')
  await createWrappingKey(inFolder('other.json'), 'break-glass')
  const [held, other] = [await keyFromFile(key), await keyFromFile(inFolder('other.json'))]
  await cp(inFolder('data/models/digits'), inFolder('data/model-versions/digits/2'), { recursive: true })
  await rewrapModel({ directory: inFolder('data/models/digits'), keys: [held], add: [other] })
  t.match((await report()).bundles, [{ bundle: 'models/digits', opensWith: [held.keyId], others: ['break-glass'], onlyOne: false }, { bundle: 'model-versions/digits/2', others: [], onlyOne: true }])
  await writeFile(inFolder('guard.yaml'), `${guard}models: { keys: [file:data/secrets/model-wrapping-key.json, file:wrong.json] }\n`)
  await createWrappingKey(inFolder('wrong.json'), 'break-glass')
  t.match((await report()).bundles[0], { opensWith: [held.keyId], others: ['break-glass'], problem: /^break-glass: .*does not open it/, ok: false }, 'nor that another opens it')
  await writeFile(inFolder('guard.yaml'), guard)
  await rewrapModel({ directory: inFolder('data/models/digits'), keys: [other], remove: [held.keyId] })
  t.match((await report()).bundles[0], { opensWith: [], others: ['break-glass'], onlyOne: false, problem: /none of the configured keys/ })
  t.same(await bad(), ['models/digits'])
  await rm(key)
  await createWrappingKey(key, held.keyId)
  t.match((await report()).bundles[1], { opensWith: [], others: [held.keyId], problem: /does not open it/ })
  await writeFile(inFolder('data/model-versions/digits/2/key.jwe.json'), '{}')
  t.match((await report()).bundles[1], { opensWith: [], others: [], problem: /FMG_ERR_BUNDLE_INVALID/ })
  for (const folder of ['models', 'model-versions']) await rm(inFolder(`data/${folder}`), { recursive: true })
  t.same((await report()).bundles, [])
  cpSync(inFolder('guard.yaml'), inFolder('data/models'))
  await t.rejects(report(), { code: 'ENOTDIR' })
})

t.test('the command says it in words and in JSON, by its exit status, and never a secret', async (t) => {
  const { inFolder } = await copy(t)
  const secrets = readdirSync(inFolder('data/secrets')).filter((name) => !name.endsWith('.pub')).map((name) => readFileSync(inFolder(`data/secrets/${name}`), 'utf8').trim())
  const json = await modelGuard('keys', 'doctor', '--config', inFolder('guard.yaml'), '--json')
  t.match(json, { status: 0, stdout: /"ok":true}\n$/ })
  const words = await modelGuard('keys', 'doctor', '--data', inFolder('data'))
  t.match(words, { status: 0, stdout: /alone: if that is lost, so is this\nevery key can be read/ })
  await createWrappingKey(inFolder('other.json'), 'break-glass')
  await rewrapModel({ directory: inFolder('data/models/digits'), keys: [await keyFromFile(inFolder('data/secrets/model-wrapping-key.json'))], recipients: [await keyFromFile(inFolder('other.json'))] })
  await chmod(inFolder('data/secrets/pepper'), 0o644)
  const wrong = await modelGuard('keys', 'doctor', '--config', inFolder('guard.yaml'))
  t.match(wrong, { status: 1, stdout: /! pepper\n[^!]*permissions +others may read it: chmod 600[^!]*! models\/digits\n +problem[^!]*also for +break-glass/ })
  for (const { stdout } of [json, words, wrong]) for (const secret of secrets) for (const line of secret.split('\n').filter((text) => text.length > 20)) t.notOk(stdout.includes(line))
  for (const args of [[], ['--config', 'a', '--data', 'b']]) t.match(await modelGuard('keys', 'doctor', ...args), { status: 2, stderr: /one of --config and --data/ })
})
