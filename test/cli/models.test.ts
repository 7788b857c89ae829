import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { command, modelGuard, run, type Ended } from '../helpers/command.ts'
import { listen } from '../helpers/listen.ts'
import { addVersion } from '../helpers/model-versions.ts'
import { startServer } from '../helpers/server.ts'

/** Runs `model-guard models` with an API key in the environment. */
async function models (key: string, url: string, ...words: readonly string[]): Promise<Ended> {
  return await run(process.execPath, [command, 'models', ...words, '--server', url, '--api-key', 'env:GUARD_KEY'], { env: { ...process.env, GUARD_KEY: key } })
}

t.test('versions of a running server are listed, loaded, promoted, rolled back and unloaded by command', async (t) => {
  const { url, data, keys: { admin, analyst }, app } = await startServer(t)
  await addVersion(data, '1.1.0')
  const ask = async (...words: readonly string[]): Promise<Ended> => await models(admin, url, ...words)
  t.match(await ask('list'), { status: 0, stdout: /^models:\n {2}digits {2}1\.0\.0 {2}current {2}ready {2}\d+ {2}MB {2}sha256:/, stderr: '' })
  t.match(await ask('load', 'digits', '1.1.0', '--requested-by', 'eve', '--reason', 'a better one'), { status: 0, stdout: /^digits 1\.1\.0 is loaded: sha256:[0-9a-f]{64}; it serves once it is promoted\n$/ })
  t.match(await ask('promote', 'digits', '1.1.0'), { status: 0, stdout: 'digits 1.1.0 serves now\n' })
  t.match(await ask('rollback', 'digits', '--reason', 'it is worse'), { status: 0, stdout: 'digits 1.0.0 serves again\n' })
  t.match(await ask('rollback', 'digits'), { status: 1, stdout: '', stderr: /^FMG_ERR_MODEL_CONFLICT: .*there is no previous version\n$/ })
  t.match(await ask('unload', 'digits', '1.0.0'), { status: 1, stderr: /^FMG_ERR_MODEL_CONFLICT: / })
  const file = path.join(data.root, 'admin-key')
  await writeFile(file, `${admin}\n`, { mode: 0o600 })
  t.match(await modelGuard('models', 'unload', 'digits', '1.1.0', '--reason', 'gone', '--server', `${url}/`, '--api-key', file), { status: 0, stdout: 'digits 1.1.0 is unloaded, once what runs is over\n' })
  t.match(await ask('unload', 'digits', '1.1.0'), { status: 1, stderr: /^FMG_ERR_MODEL_UNKNOWN: no such model \(there is no such model or version, or/ })
  t.match(JSON.parse((await ask('list', '--json')).stdout), { models: [{ model: 'digits', canary: null, versions: [{ version: '1.0.0' }] }] })
  t.match(await ask('load', 'digits', '9.9.9'), { status: 1, stderr: /^FMG_ERR_BUNDLE_INVALID: / })
  t.match(await models(analyst, url, 'promote', 'digits', '1.0.0'), { status: 1, stderr: /^FMG_ERR_ACCESS_DENIED: access denied \(the server knows this API key, and its policy does not allow/ })
  t.match(await models('fmg_live_nobody', url, 'list'), { status: 1, stderr: /^FMG_ERR_CREDENTIAL_INVALID: .* \(the server does not know this API key/ })
  t.same(app.models.list().map(({ version }) => version), ['1.0.0'])

  t.match(await modelGuard('models', 'list', '--server', url, '--api-key', admin), { status: 2, stdout: '', stderr: /^--api-key says where the key is/ })
  t.notMatch((await modelGuard('models', 'list', '--server', url, '--api-key', admin)).stderr, admin.slice(-20))
})

t.test('what cannot be asked is not asked, and what is no answer is told', async (t) => {
  let asked = 0
  const answers = ['<html>', '{}', '{"models":[{"versions":[]}]}', '{"models":[{"versions":[{"model":"m","version":"1","digest":"d","state":"loaded","ready":false,"memory":{"plaintextBytes":1}}]}]}', '{"code":"X"}', '{"code":"Y\\u001b[2J","error":"z"}']
  const { url, stop } = await listen(t, (request, response) => {
    const text = answers[asked++] ?? ''
    response.statusCode = text.includes('code') ? 418 : 200
    if (asked > answers.length) response.writeHead(302, { location: 'https://elsewhere.example/' })
    response.end(text)
  })
  const list = async (server: string): Promise<Ended> => await models('key', server, 'list')
  for (const server of ['http://elsewhere.example', 'ftp://127.0.0.1', `${url}/?x=1`, 'nothing']) t.match(await list(server), { status: 2, stderr: /^--server is an https URL, or an http URL of this machine/ }, server)
  for (const word of ['..', 'a/b', '.', '']) t.match(await models('key', url, 'promote', 'digits', word), { status: 2, stderr: /VERSION (is a word|is required)/ }, word)
  t.match(await models('key', url, 'rollback', '..'), { status: 2, stderr: /MODEL is a word/ })
  t.match(await models('', url, 'list'), { status: 1, stderr: /^FMG_ERR_KEY_UNAVAILABLE/ })
  t.equal(asked, 0)
  t.match(await list(url), { status: 1, stderr: /^no answer to be read from 127\.0\.0\.1:\d+: SyntaxError/ })
  t.match(await list(url), { status: 1, stderr: /answer\.models must be a list/ })
  t.match(await list(url), { status: 0, stdout: 'no models\n' })
  t.match(await list(url), { status: 0, stdout: 'models:\n  m  1  loaded  not ready  1  MB  d\n' })
  t.match(await list(url), { status: 1, stderr: 'X: it is refused\n' })
  t.match(await list(url), { status: 1, stderr: 'Y\\u001b[2J: z\n' })
  t.match(await list(url), { status: 1, stderr: /^no answer to be read from .*redirect/ })
  stop()
  t.match(await list(url), { status: 1, stderr: /^no answer to be read from 127\.0\.0\.1:\d+: .*ECONNREFUSED/ })
})
