import { generateKeyPairSync, hash, randomBytes, sign } from 'node:crypto'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { rotateApiKey } from '../../src/authn/rotate-api-key.ts'
import { guardError } from '../../src/errors.ts'
import type { AuditOptions } from '../../src/plugins/audit.ts'
import { secretScanning, type SecretScanningOptions } from '../../src/plugins/secret-scanning.ts'
import { auditIn, guardedApp, guardOptions, recordsIn } from '../helpers/guard.ts'
import { listen } from '../helpers/listen.ts'

const pepper = randomBytes(32)
const url = '/secret-scanning/github'
const identifier = 'a'.repeat(64)
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = publicKey.export({ type: 'spki', format: 'pem' })
const published = { public_keys: [{ key_identifier: identifier, key: pem, is_current: true }] }
const principal = { id: 'ann', org: 'acme', tier: 'standard', roles: ['analyst'] }

interface Endpoint {
  readonly app: FastifyInstance
  readonly store: KeyStore
  readonly asked: readonly string[]
  /** Sends a message as GitHub does. */
  readonly alert: (message: unknown, changed?: Record<string, string>) => Promise<{ readonly statusCode: number, readonly body: string, readonly headers: Record<string, unknown>, readonly json: () => unknown }>
  readonly state: { answer: unknown, now: number }
}

/** A server that takes alerts, and a stand-in for GitHub's public keys. */
async function endpoint (t: Test, changed: Partial<SecretScanningOptions> = {}, folder = t.testdir(), audit?: AuditOptions): Promise<Endpoint> {
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper, onError: () => undefined })
  const asked: string[] = []
  const state = { answer: published as unknown, now: 1000 }
  const app = await guardedApp(t, guardOptions({ audit: audit ?? await auditIn(folder) }))
  app.addHook('onClose', async () => { await store.close() })
  await app.register(secretScanning, {
    store,
    pepper,
    clock: () => state.now,
    fetch: async (asking) => {
      asked.push(asking)
      return Response.json(state.answer)
    },
    ...changed
  })
  return {
    app,
    store,
    asked,
    state,
    async alert (message, headers = {}) {
      const payload = typeof message === 'string' ? message : JSON.stringify(message)
      const signature = sign('sha256', Buffer.from(payload), privateKey).toString('base64')
      return await app.inject({
        method: 'POST', url, payload, headers: { 'content-type': 'application/json', 'github-public-key-identifier': identifier, 'github-public-key-signature': signature, ...headers }
      })
    }
  }
}

const found = (token: string) => ({ token, type: 'fmg_api_key', url: 'https://github.com/octocat/Hello-World', source: 'commit' })
const feedback = (token: string, label: string) => ({ token_hash: hash('sha256', token, 'hex'), token_type: 'fmg_api_key', label })

t.test('a key that was found in public is ended, and GitHub is told that it was one, without it', async (t) => {
  const { alert, store, asked } = await endpoint(t)
  const [leaked, other] = [await createApiKey(store, pepper, { principal }), await createApiKey(store, pepper, { principal })]
  const inText = `curl -H "x-api-key: ${leaked.key}" https://models.example`
  const answer = await alert([found(leaked.key), found(inText), found('nothing of ours')])
  t.equal(answer.statusCode, 200)
  t.same(answer.json(), [feedback(leaked.key, 'true_positive'), feedback(inText, 'true_positive'), feedback('nothing of ours', 'false_positive')])
  t.equal(answer.headers['cache-control'], 'no-store')
  t.notOk(answer.body.includes(leaked.key.slice(-49)))
  t.match(await store.find(leaked.keyId), { revokedAt: 1000 })
  t.equal((await store.find(other.keyId))?.revokedAt, undefined)
  t.same(asked, ['https://api.github.com/meta/public_keys/secret_scanning'])
  const changes = recordsIn(t.testdirName).filter(({ action }) => action === 'key:revoke')
  t.match(changes, [{ status: 'success', reason: 'secret-scanning', org: 'acme', credential_method: 'api-key', user_id: String, credential_id: String, request_id: String }])
  t.notMatch(JSON.stringify(recordsIn(t.testdirName)), new RegExp(`${leaked.keyId}|"ann"`), 'under pseudonyms')
})

t.test('all keys in one text are ended', async (t) => {
  const { alert, store } = await endpoint(t)
  const [one, two] = [await createApiKey(store, pepper, { principal }), await createApiKey(store, pepper, { principal })]
  await alert([found(`a=${one.key}\nb=${two.key}`)])
  for (const { keyId } of [one, two]) t.match(await store.find(keyId), { revokedAt: 1000 })
})

t.test('nobody ends another’s key by its public id', async (t) => {
  const { alert, store } = await endpoint(t)
  const { keyId, key } = await createApiKey(store, pepper, { principal })
  const { key: foreign } = await createApiKey(store, randomBytes(32), { principal: { ...principal, id: 'eve' } })
  const sameId = foreign.replace(/(?<=^fmg_live_)\w{12}/, keyId)
  const texts = [sameId, foreign, `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`, key.replace('fmg_live_', 'fmg_test_'), keyId, `${key}0`]
  const answer = await alert(texts.map(found))
  t.same(answer.json(), texts.map((text) => feedback(text, 'false_positive')))
  t.equal((await store.find(keyId))?.revokedAt, undefined)
})

t.test('of a rotated key, the secret that was found is ended, and not the other', async (t) => {
  const { alert, store } = await endpoint(t)
  const { keyId, key } = await createApiKey(store, pepper, { principal })
  const rotated = await rotateApiKey(store, pepper, keyId)
  t.same((await alert([found(key)])).json(), [feedback(key, 'true_positive')])
  const after = await store.find(keyId)
  t.equal(after?.previous, undefined)
  t.equal(after?.revokedAt, undefined)
  t.same((await alert([found(key)])).json(), [feedback(key, 'false_positive')], 'nothing is known of it any more')
  const last = rotated?.key ?? ''
  await alert([found(last)])
  t.match(await store.find(keyId), { revokedAt: 1000 })
  t.same((await alert([found(last)])).json(), [feedback(last, 'true_positive')], 'ended already, genuine still')
  t.match(await store.find(keyId), { version: 4 }, 'and not written again')
})

t.test('a key that changes under the eyes of the alert is judged as it then is', async (t) => {
  const folder = t.testdir({ first: {}, second: {} })
  const files = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  t.teardown(() => files.close())
  const { keyId, key } = await createApiKey(files, pepper, { principal })
  const update: KeyStore['update'] = async (id, change) => {
    await rotateApiKey(files, pepper, id, { graceHours: 1 })
    await rotateApiKey(files, pepper, id, { graceHours: 1 })
    return await files.update(id, change)
  }
  const { alert } = await endpoint(t, { store: { ...files, update } }, path.join(folder, 'first'))
  await alert([found(key)])
  t.match(await files.find(keyId), { revokedAt: undefined, previous: { digest: String } })
})

t.test('what GitHub did not sign is refused, and nothing is ended', async (t) => {
  const { alert, store, app } = await endpoint(t)
  const { keyId, key } = await createApiKey(store, pepper, { principal })
  const message = [found(key)]
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const signed = (text: string, by = privateKey): string => sign('sha256', Buffer.from(text), by).toString('base64')
  const wrong: readonly Record<string, string>[] = [
    { 'github-public-key-identifier': 'b'.repeat(64) }, { 'github-public-key-identifier': '' },
    { 'github-public-key-signature': '' }, { 'github-public-key-signature': 'x'.repeat(96) }, { 'github-public-key-signature': signed(JSON.stringify(message), other) },
    { 'github-public-key-signature': signed(`${JSON.stringify(message)} `) }, { 'github-public-key-signature': `${signed(JSON.stringify(message))}, x` },
    { 'github-public-key-signature': sign('sha256', Buffer.from(JSON.stringify(message)), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64') }
  ]
  for (const headers of wrong) t.match(await alert(message, headers), { statusCode: 403, body: /FMG_ERR_ACCESS_DENIED/ }, JSON.stringify(headers))
  for (const headers of [{}, { 'github-public-key-signature': signed(JSON.stringify(message)) }, { 'github-public-key-identifier': identifier }]) {
    t.match(await app.inject({ method: 'POST', url, payload: JSON.stringify(message), headers: { 'content-type': 'application/json', ...headers } }), { statusCode: 403 })
  }
  t.equal((await store.find(keyId))?.revokedAt, undefined)
  t.equal((await alert(message)).statusCode, 200)
})

t.test('a signed message that is no list of alerts, too large or not JSON is refused without a word of it', async (t) => {
  const { alert } = await endpoint(t, { maxBytes: 500 })
  for (const message of ['{"token":"secret-thing"', { token: 'secret-thing' }, ['secret-thing'], [{ token: 'secret-thing' }], [{ token: 7, type: 'secret-thing' }], [null]]) {
    const answer = await alert(message)
    t.match(answer, { statusCode: 400, body: /FMG_ERR_INPUT_INVALID/ })
    t.notMatch(answer.body, 'secret-thing')
  }
  t.equal((await alert([found('x'.repeat(500))])).statusCode, 413)
  t.equal((await alert('[]', { 'content-type': 'text/plain' })).statusCode, 415)
  t.same((await alert([])).json(), [])
})

t.test('GitHub’s own example is verified', async (t) => {
  const key = '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsz9ugWDj5jK5ELBK42ynytbo38gP\nHzZFI03Exwz8Lh/tCfL3YxwMdLjB+bMznsanlhK0RwcGP3IDb34kQDIo3Q==\n-----END PUBLIC KEY-----\n'
  const headers = {
    'github-public-key-identifier': 'f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d',
    'github-public-key-signature': 'MEUCIFLZzeK++IhS+y276SRk2Pe5LfDrfvTXu6iwKKcFGCrvAiEAhHN2kDOhy2I6eGkOFmxNkOJ+L2y8oQ9A2T9GGJo6WJY='
  }
  const { alert, state } = await endpoint(t)
  state.answer = { public_keys: [{ key_identifier: headers['github-public-key-identifier'], key, is_current: false }] }
  const answer = await alert('[{"token":"some_token","type":"some_type","url":"some_url","source":"some_source"}]', headers)
  t.same(answer.json(), [{ token_hash: hash('sha256', 'some_token', 'hex'), token_type: 'some_type', label: 'false_positive' }])
})

t.test('the public keys are asked for once a cool-down, and no answer is a 503', async (t) => {
  const { alert, asked, state } = await endpoint(t)
  for (const answer of [{}, [], { public_keys: {} }]) {
    state.answer = answer
    t.match(await alert([]), { statusCode: 503, body: /FMG_ERR_ISSUER_UNAVAILABLE/ })
    state.now += 120_000
  }
  const weak = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ type: 'spki', format: 'pem' })
  for (const key of ['x', 7, weak]) {
    state.answer = { public_keys: [null, { key_identifier: 7, key: pem }, { key_identifier: identifier, key }] }
    t.match(await alert([]), { statusCode: 403 })
    state.now += 120_000
  }
  state.answer = published
  t.match(await alert([]), { statusCode: 200 })
  t.equal(asked.length, 7)
  state.now += 60_000
  for (let count = 0; count < 5; count++) t.match(await alert([], { 'github-public-key-identifier': `${count}` }), { statusCode: 403 })
  t.equal(asked.length, 7, 'within the cool-down')
  state.now += 60_000
  await alert([], { 'github-public-key-identifier': 'c' })
  t.equal(asked.length, 8)
})

t.test('messages are counted by address', async (t) => {
  const { alert } = await endpoint(t, { edge: { max: 2, windowSeconds: 60 } })
  for (const status of [200, 200, 429]) t.equal((await alert([])).statusCode, status)
})

t.test('a store that cannot be asked, or a record that cannot be written, is a 503; a forged record is no key', async (t) => {
  const unavailable = { find: () => { throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'key-store-stale' }) } }
  const forged = { find: () => { throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'api-key-record-forged' }) } }
  const folder = t.testdir({ first: {}, second: {} })
  const files = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  t.teardown(() => files.close())
  const { key, keyId } = await createApiKey(files, pepper, { principal })
  const first = await endpoint(t, { store: { ...files, ...unavailable } }, path.join(folder, 'first'))
  t.match(await first.alert([found(key)]), { statusCode: 503, body: /FMG_ERR_KEY_UNAVAILABLE/ })
  const second = await endpoint(t, { store: { ...files, ...forged } }, path.join(folder, 'second'))
  t.same((await second.alert([found(key)])).json(), [feedback(key, 'false_positive')])
  const audit = await auditIn(path.join(folder, 'third'))
  const append: AuditOptions['log']['append'] = (record, done) => {
    if (record.action === 'key:revoke') done(new Error('disk full'), 0)
    else audit.log.append(record, done)
  }
  const third = await endpoint(t, { store: files }, folder, { ...audit, log: { ...audit.log, append } })
  t.match(await third.alert([found(key)]), { statusCode: 503, body: /FMG_ERR_AUDIT_UNAVAILABLE/, headers: { 'retry-after': '5' } })
  t.match(await files.find(keyId), { revokedAt: 1000 }, 'it is ended all the same')
})

t.test('without an audit log, keys are ended all the same', async (t) => {
  const files = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper })
  t.teardown(() => files.close())
  const { key, keyId } = await createApiKey(files, pepper, { principal })
  const app = Fastify()
  t.teardown(() => app.close())
  const keys = await listen(t, (_request, response) => { response.end(JSON.stringify(published)) })
  await app.register(secretScanning, { store: files, pepper, keysUrl: keys.url, path: '/leaks' })
  const payload = JSON.stringify([found(key)])
  const headers = { 'content-type': 'application/json', 'github-public-key-identifier': identifier, 'github-public-key-signature': sign('sha256', Buffer.from(payload), privateKey).toString('base64') }
  t.same((await app.inject({ method: 'POST', url: '/leaks', payload, headers })).json(), [feedback(key, 'true_positive')])
  t.match(await files.find(keyId), { revokedAt: Number })
})

t.test('options that are not what they should be do not boot', async (t) => {
  for (const wrong of [{ keysUrl: 'http://api.example/keys' }, { path: 'no-slash' }, { pepper: pepper.subarray(1) }, { cooldownSeconds: 0 }]) {
    await t.rejects(endpoint(t, wrong), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})
