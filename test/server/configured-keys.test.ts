import { existsSync } from 'node:fs'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { inspectModel } from '../../src/model/inspect-model.ts'
import { ensurePepper } from '../../src/pepper.ts'
import { createSigningKey, createWrappingKey } from '../../src/secrets/create-keys.ts'
import { loadConfig } from '../../src/server/config.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'

/** A folder with the keys a server needs, and a configuration that names them. */
async function keysElsewhere (t: Test): Promise<string> {
  const folder = t.testdir({
    'guard.yaml': `
listen: { port: 0 }
data: data
keys: { pepper: file:vault/pepper }
audit: { signer: file:vault/log.pem }
models: { keys: [file:vault/old.jwk, file:vault/new.jwk] }
`
  })
  const inVault = (name: string): string => path.join(folder, 'vault', name)
  await ensurePepper(inVault('pepper'))
  await createSigningKey(inVault('log.pem'), 'log')
  await createWrappingKey(inVault('old.jwk'), 'old')
  await createWrappingKey(inVault('new.jwk'), 'new')
  return folder
}

async function start (folder: string): Promise<RunningServer> {
  return await runServer(await loadConfig(path.join(folder, 'guard.yaml')))
}

t.test('a server whose keys are elsewhere makes none of them, and seals, signs and answers with those', async (t) => {
  const folder = await keysElsewhere(t)
  const { app, url, data, firstKeys } = await start(folder)
  const { request } = await exampleImage(0)
  const answer = await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'x-api-key': firstKeys?.analyst ?? '', 'content-type': 'application/json' }, body: JSON.stringify(request) })
  t.equal(answer.status, 200)
  await stopServer(app)
  for (const file of [data.pepper, data.logKey, data.modelWrappingKey]) t.notOk(existsSync(file), file)
  t.ok(existsSync(data.modelSigningKey), 'what was not named was made')
  const { recipients } = await inspectModel(path.join(data.models, 'digits'))
  t.same(recipients?.map(({ keyId }) => keyId), ['old', 'new'], 'either opens it')
  t.equal((await readFile(`${path.join(folder, 'vault', 'log.pem')}.pub`, 'utf8')).startsWith('-----BEGIN'), true)
  t.match(await verifyLog({ directory: data.audit, verifierKey: (await readFile(data.verifierKey, 'utf8')).trim() }), { ok: true })
})

t.test('a pepper comes from the environment or is a credential of systemd; so do keys', async (t) => {
  const folder = await keysElsewhere(t)
  const inVault = (name: string): string => path.join(folder, 'vault', name)
  const pepper = await readFile(inVault('pepper'), 'utf8')
  t.teardown(() => {
    delete process.env['GUARD_PEPPER']
    delete process.env['GUARD_KEY']
    delete process.env['CREDENTIALS_DIRECTORY']
  })
  process.env['CREDENTIALS_DIRECTORY'] = path.join(folder, 'vault')
  let admin = ''
  for (const [place, key] of [['env:GUARD_PEPPER', 'env:GUARD_KEY'], ['credential:pepper', 'credential:new.jwk']] as const) {
    process.env['GUARD_PEPPER'] = pepper
    process.env['GUARD_KEY'] = await readFile(inVault('new.jwk'), 'utf8')
    await writeFile(path.join(folder, 'guard.yaml'), `{ listen: { port: 0 }, data: data, keys: { pepper: '${place}' }, audit: { signer: 'credential:log.pem' }, models: { keys: ['${key}'] } }`)
    const { app, url, data, firstKeys } = await start(folder)
    admin ||= firstKeys?.admin ?? ''
    t.equal((await fetch(`${url}/admin/keys`, { headers: { 'x-api-key': admin } })).status, 200, place)
    await stopServer(app)
    for (const file of [data.pepper, data.logKey, data.modelWrappingKey]) t.notOk(existsSync(file), file)
    t.same(['GUARD_PEPPER', 'GUARD_KEY'].filter((name) => name in process.env), place.startsWith('env:') ? [] : ['GUARD_PEPPER', 'GUARD_KEY'], 'what was taken is gone, and nothing else')
  }
  delete process.env['GUARD_PEPPER']
  await writeFile(path.join(folder, 'guard.yaml'), "{ data: data, keys: { pepper: 'env:GUARD_PEPPER' } }")
  await t.rejects(start(folder), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-environment' })
})

t.test('a key that others may read, or that is none, does not let it start, and is not shown', async (t) => {
  const folder = await keysElsewhere(t)
  const inVault = (name: string): string => path.join(folder, 'vault', name)
  await chmod(inVault('new.jwk'), 0o644)
  await t.rejects(start(folder), { code: 'FMG_ERR_FILE', message: /new\.jwk/ })
  await chmod(inVault('new.jwk'), 0o600)
  await writeFile(inVault('log.pem'), 'sesame')
  await t.rejects(start(folder), { code: 'FMG_ERR_FILE', message: /log\.pem holds no private key/ })
  await chmod(inVault('pepper'), 0o640)
  await t.rejects(start(folder), { code: 'FMG_ERR_KEY_UNAVAILABLE', cause: { message: /pepper/ } })
})

t.test('a secret in the place of a reference is refused and not shown', async (t) => {
  const folder = t.testdir({ 'a.yaml': 'keys: { pepper: c2VzYW1l }', 'b.yaml': 'models: { keys: [vault/new.jwk] }', 'c.yaml': 'models: { keys: [] }', 'd.yaml': 'audit: { signer: "-----BEGIN PRIVATE KEY-----" }' })
  const refusals = { 'a.yaml': /^(?!.*c2Vz).*a\.yaml\.keys\.pepper must be file:…/, 'b.yaml': /b\.yaml\.models\.keys\[0\] must be file:…/, 'c.yaml': /models\.keys must be a list of at least one/, 'd.yaml': /^(?!.*PRIVATE).*audit\.signer must be file:…/ }
  for (const [name, message] of Object.entries(refusals)) await t.rejects(loadConfig(path.join(folder, name)), { code: 'FMG_ERR_OPTION_INVALID', message }, name)
})
