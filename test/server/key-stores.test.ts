import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { inspectModel } from '../../src/model/inspect-model.ts'
import { loadConfig } from '../../src/server/config.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'
import { awsDouble } from '../helpers/aws-double.ts'
import { vaultDouble } from '../helpers/vault-double.ts'
import { prepareVault, startVault, type VaultAddress } from '../helpers/vault.ts'

/** Starts a server with this configuration, and has it answer. */
async function answers (t: Test, folder: string): Promise<readonly string[]> {
  const { app, url, data, firstKeys } = await runServer(await loadConfig(path.join(folder, 'guard.yaml')))
  const { request } = await exampleImage(0)
  const answer = await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'x-api-key': firstKeys?.analyst ?? '', 'content-type': 'application/json' }, body: JSON.stringify(request) })
  t.equal(answer.status, 200)
  await stopServer(app)
  t.notOk(existsSync(data.modelWrappingKey))
  return (await inspectModel(path.join(data.models, 'digits'))).recipients?.map(({ keyId }) => keyId) ?? []
}

async function suite (t: Test, address: VaultAddress): Promise<void> {
  const place = await prepareVault(t, address)
  await place.admin('POST', 'secret/data/model-guard', { data: { pepper: randomBytes(32).toString('base64') } })
  const configuration = (key: string): string => `
listen: { port: 0 }
data: ${key}
vault:
  url: ${place.url}
  login:
    appRole: { roleId: ${place.roleId}, secretId: file:secret-id }
keys: { pepper: 'vault:secret/model-guard#pepper' }
models: { keys: ['vault:transit/${key}'] }
`
  const folder = t.testdir({})
  const before = await place.count()
  await writeFile(path.join(folder, 'secret-id'), await place.newSecretId(1), { mode: 0o600 })
  await writeFile(path.join(folder, 'guard.yaml'), configuration('model'))
  t.strictSame(await answers(t, folder), ['vault:transit/model'])
  t.equal(await place.count(), before, 'its token is revoked with it')
  t.notOk(existsSync(path.join(folder, 'model', 'secrets', 'pepper')))

  await writeFile(path.join(folder, 'secret-id'), await place.newSecretId(1), { mode: 0o600 })
  const { status, stdout } = await modelGuard('keys', 'doctor', '--config', path.join(folder, 'guard.yaml'), '--json')
  t.match([status, JSON.parse(stdout)], [0, { ok: true, keys: [{ from: 'vault:secret/model-guard#pepper', rotated: /^20\d\d-/, state: 'readable' }] }])
  t.equal(await place.count(), before, 'so is that of a command')

  await writeFile(path.join(folder, 'guard.yaml'), configuration('other'))
  await writeFile(path.join(folder, 'secret-id'), await place.newSecretId(1), { mode: 0o600 })
  await t.rejects(runServer(await loadConfig(path.join(folder, 'guard.yaml'))), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'store-denied' })
  t.equal(await place.count(), before)

  const login = async (file: string): Promise<unknown> => {
    const { stdout } = await modelGuard('keys', 'doctor', '--config', path.join(folder, file), '--json')
    return (JSON.parse(stdout) as { keys: { name: string }[] }).keys.find(({ name }) => name === 'Vault login')
  }
  t.match(await login('guard.yaml'), { from: 'appRole: file:secret-id', state: /FMG_ERR_KEY_UNAVAILABLE/, ok: false }, 'the secret id was good for one login')
  await writeFile(path.join(folder, 'token.yaml'), configuration('model').replace(/appRole: .*/, 'token: file:token'))
  for (const [token, ok] of [[await place.newToken(3600), true], ['none', false]] as const) {
    await writeFile(path.join(folder, 'token'), token, { mode: 0o600 })
    t.match(await login('token.yaml'), { from: 'token: file:token', ok })
  }
}

t.test('a server with its pepper in KV and its model key in transit starts and answers', async (t) => { await suite(t, await vaultDouble(t)) })

t.test('the same of a real Vault', async (t) => {
  const address = await startVault(t)
  if (address === undefined) t.pass('# skip: neither bao nor vault is here; FMG_PEERS=all npm test builds one', { skip: true })
  else await suite(t, address)
})

t.test('a server with its model key in AWS KMS starts and answers', async (t) => {
  const double = await awsDouble(t)
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret } = process.env
  t.teardown(() => { Object.assign(process.env, { ...id !== undefined && { AWS_ACCESS_KEY_ID: id }, ...secret !== undefined && { AWS_SECRET_ACCESS_KEY: secret } }) })
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: double.credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: double.credentials.secretAccessKey })
  const folder = t.testdir({
    'guard.yaml': `
listen: { port: 0 }
data: data
aws: { region: ${double.region}, endpoint: '${double.endpoint}' }
models: { keys: ['aws-kms:alias/model', 'aws-kms:${double.keys.rsa}#RSA-OAEP-256'] }
`
  })
  t.strictSame(await answers(t, folder), ['aws-kms:alias/model', `aws-kms:${double.keys.rsa}`])
  t.match(await readFile(path.join(folder, 'guard.yaml'), 'utf8'), 'alias/model')
})

t.test('a configuration whose key stores cannot be does not load', async (t) => {
  const wrong: Readonly<Record<string, readonly [text: string, message: RegExp]>> = {
    a: ['keys: { pepper: "vault:secret/x#y" }', /keys\.pepper must be where a Vault is known/],
    b: ['vault: { url: "http://vault.example", login: { token: "file:t" } }', /vault\.url must be an https URL/],
    c: ['vault: { url: "https://vault.example", login: { token: "vault:a/b#c" } }', /b\.token must be|login\.token must be where a Vault is known/],
    d: ['vault: { url: "https://vault.example", login: { token: sesame } }', /^(?!.*sesame).*vault\.login\.token must be file:…/],
    e: ['vault: { url: "https://vault.example", login: { token: "file:t" }, caFile: x }', /vault\.caFile is not an option/],
    f: ['aws: { regoin: eu-central-1 }', /did you mean region/],
    g: ['vault: { url: "https://vault.example", login: { token: "file:t" } }\nkeys: { pepper: "vault:secret/x" }', /keys\.pepper must be vault:MOUNT\/PATH#MEMBER/],
    h: ['vault: { url: "https://vault.example", login: { token: "file:t" } }\nmodels: { keys: ["vault:x"] }', /models\.keys\[0\] must be vault:MOUNT\/NAME/]
  }
  const folder = t.testdir(Object.fromEntries(Object.entries(wrong).map(([name, [text]]) => [`${name}.yaml`, text])))
  for (const [name, [, message]] of Object.entries(wrong)) await t.rejects(loadConfig(path.join(folder, `${name}.yaml`)), { code: 'FMG_ERR_OPTION_INVALID', message }, name)
})
