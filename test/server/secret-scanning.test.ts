import { generateKeyPairSync, sign } from 'node:crypto'
import t from 'tap'
import { defaultConfig } from '../../src/server/config.ts'
import { listen } from '../helpers/listen.ts'
import { startServer } from '../helpers/server.ts'

t.test('a key that GitHub found in public is good until it was found, where the server takes its alerts', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const published = { public_keys: [{ key_identifier: 'one', key: publicKey.export({ type: 'spki', format: 'pem' }), is_current: true }] }
  const { url: keysUrl } = await listen(t, (_request, response) => { response.end(JSON.stringify(published)) })
  const { url, keys } = await startServer(t, { secretScanning: { path: undefined, keysUrl } })
  const ask = async (): Promise<number> => (await fetch(`${url}/v2`, { headers: { 'x-api-key': keys.analyst } })).status
  const body = JSON.stringify([{ token: keys.analyst, type: 'fmg_api_key', url: '', source: 'commit' }])
  const alert = async (signature: string): Promise<Response> => await fetch(`${url}/secret-scanning/github`, {
    method: 'POST', body, headers: { 'content-type': 'application/json', 'github-public-key-identifier': 'one', 'github-public-key-signature': signature }
  })
  const signature = sign('sha256', Buffer.from(body), privateKey).toString('base64')
  t.equal(await ask(), 200)
  t.equal((await alert(signature.replace(/^..../, 'AAAA'))).status, 403)
  t.equal(await ask(), 200)
  t.match(await (await alert(signature)).json(), [{ label: 'true_positive' }])
  t.equal(await ask(), 401)
})

t.test('by default there is no such route', async (t) => {
  t.equal(defaultConfig.secretScanning, undefined)
  const { url, keys } = await startServer(t)
  const headers = { 'content-type': 'application/json', 'x-api-key': keys.admin }
  t.equal((await fetch(`${url}/secret-scanning/github`, { method: 'POST', body: '[]', headers })).status, 404)
})

t.test('a path that is taken stops the start, and leaves the data folder to the next one', async (t) => {
  const data = t.testdir()
  await t.rejects(startServer(t, { data, secretScanning: { path: '/oauth/token', keysUrl: undefined } }), { code: 'FST_ERR_DUPLICATED_ROUTE' })
  // The log's folder is locked by whoever has it open; keys of the first start are there already.
  await t.rejects(startServer(t, { data }), { message: 'the data folder was not empty' })
})
