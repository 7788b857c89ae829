import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { exportJWK, type FlattenedJWE, type JWK } from 'jose'
import t, { type Test } from 'tap'
import type { Fetch } from '../../src/bounded-fetch.ts'
import { sampleAttester, type Attester } from '../../src/secrets/attester.ts'
import { brokerKey, brokerSecret } from '../../src/secrets/broker-secret.ts'
import { allowSampleEvidence, keyBroker, type KeyBroker, type KeyBrokerOptions } from '../../src/secrets/key-broker.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import { sealTo, testBroker, type TestBroker } from '../helpers/key-broker.ts'
import { memberOf } from '../helpers/json.ts'

const path = 'default/model/kek'
const uri = `kbs:///${path}`

interface Place {
  readonly broker: TestBroker
  readonly client: KeyBroker
}

/** A broker that has a secret, and a client of it that does not try twice. */
async function place (t: Test, options: Partial<KeyBrokerOptions> = {}, policy?: TestBroker['policy']): Promise<Place> {
  const broker = await testBroker(t, policy)
  broker.resources.set(path, Buffer.from('sesame'))
  return { broker, client: keyBroker({ url: broker.url, attester: sampleAttester(), [allowSampleEvidence]: true, maxAttempts: 1, ...options }) }
}

function failure (reason: string) {
  return { code: 'FMG_ERR_KEY_UNAVAILABLE', statusCode: 503, reason, cause: { message: /^(?!.*sesame)/ } }
}

for (const algorithm of ['ECDH-ES+A256KW', 'RSA-OAEP-256'] as const) {
  t.test(`a secret is released to whom the broker can see, by ${algorithm}`, async (t) => {
    const { broker, client } = await place(t, { algorithm })
    const secret = brokerSecret(client, uri)
    const [one, other] = [await secret.read(), await secret.read()]
    t.equal(Buffer.from(one).toString(), 'sesame')
    one.fill(0)
    t.equal(Buffer.from(other).toString(), 'sesame', 'a copy each')
    t.strictSame(broker.asked, ['auth', 'attest', `resource/${path}`, `resource/${path}`], 'one session for both')
    t.match(broker.posted[1], { 'init-data': null, 'runtime-data': { 'tee-pubkey': { alg: algorithm, d: undefined, p: undefined } }, 'tee-evidence': { primary_evidence: { svn: '1' }, additional_evidence: '' } })
  })
}

t.test('each session has a key of its own, and evidence of the digest that the broker chose', async (t) => {
  const { broker, client } = await place(t)
  for (const hash of ['sha256', 'sha512', undefined]) {
    broker.misconduct.hash = hash
    broker.forget()
    await client.resource(path)
  }
  const keys = broker.posted.flatMap((body) => memberOf(body, 'runtime-data') === undefined ? [] : [memberOf(memberOf(memberOf(body, 'runtime-data'), 'tee-pubkey'), 'x')])
  t.equal(new Set(keys).size, 3)
  broker.misconduct.hash = 'sha1'
  broker.forget()
  await t.rejects(client.resource(path), failure('store-garbage'), 'a digest that was not offered')
})

t.test('a session that the broker has forgotten is begun again, once', async (t) => {
  const { broker, client } = await place(t)
  await client.resource(path)
  broker.forget()
  t.equal(Buffer.from(await client.resource(path)).toString(), 'sesame')
  broker.asked.length = 0
  broker.misconduct.answer = (asked, _body, response) => asked.startsWith('resource') ? response.writeHead(401).end() : undefined
  await t.rejects(client.resource(path), failure('store-denied'))
  t.strictSame(broker.asked, [`resource/${path}`, 'auth', 'attest', `resource/${path}`])
})

t.test('those who ask at the same time attest together', async (t) => {
  const { broker, client } = await place(t)
  await Promise.all([client.resource(path), client.resource(path)])
  broker.forget()
  await Promise.all([client.resource(path), client.resource(path)])
  t.equal(broker.asked.filter((asked) => asked === 'attest').length, 2)
})

t.test('what the broker\'s policy does not release is not had, nor what is not there', async (t) => {
  const { broker, client } = await place(t, {}, (tee, asked) => tee === 'sample' && asked === path)
  broker.resources.set('default/model/other', Buffer.from('sesame'))
  await t.rejects(client.resource('default/model/other'), failure('store-denied'))
  t.ok(await client.resource(path))
  broker.resources.clear()
  await t.rejects(client.resource(path), failure('store-missing'))
})

t.test('a broker refuses a nonce that was used, evidence for another key, and a client that it does not know', async (t) => {
  const { broker, client } = await place(t)
  await client.resource(path)
  const [, attested] = broker.posted
  const post = async (to: string, body: unknown, cookie = ''): Promise<Response> => await fetch(`${broker.url}/kbs/v0/${to}`, { method: 'POST', body: JSON.stringify(body), headers: { cookie } })
  const challenge = await post('auth', broker.posted[0])
  const cookie = challenge.headers.getSetCookie()[1]?.split(';')[0] ?? ''
  t.equal((await post('attest', attested, cookie)).status, 401, 'the nonce of another session')
  t.equal((await post('attest', { ...attested as object, 'runtime-data': { ...memberOf(attested, 'runtime-data') as object, nonce: memberOf(await challenge.json(), 'nonce') } }, cookie)).status, 401, 'once')
  const second = await post('auth', broker.posted[0])
  const runtime = { ...memberOf(attested, 'runtime-data') as object, nonce: memberOf(await second.json(), 'nonce') }
  t.equal((await post('attest', { ...attested as object, 'runtime-data': runtime }, second.headers.getSetCookie()[1]?.split(';')[0])).status, 401, 'evidence over another nonce')
  t.equal((await post('attest', attested)).status, 401)

  const relayed: Attester = { tee: 'sample', evidence: async () => await sampleAttester().evidence(randomBytes(48)) }
  const { client: relay } = await place(t, { attester: relayed })
  await t.rejects(relay.resource(path), failure('store-denied'), 'evidence that was made for somebody else')
})

t.test('whoever has the token of another gets nothing that its own key opens', async (t) => {
  let token = ''
  const spy: Fetch = async (url, init) => {
    const answer = await fetch(url, init)
    if (url.endsWith('/attest')) token = String(memberOf(await answer.clone().json(), 'token'))
    return answer
  }
  const { broker, client } = await place(t, { fetch: spy })
  await client.resource(path)
  const steal: Fetch = async (url, init) => {
    const headers = new Headers(init.headers)
    if (url.includes('/resource/')) headers.set('authorization', `Bearer ${token}`)
    return await fetch(url, { ...init, headers })
  }
  const thief = keyBroker({ url: broker.url, attester: sampleAttester(), [allowSampleEvidence]: true, maxAttempts: 1, fetch: steal })
  await t.rejects(thief.resource(path), failure('store-garbage'))
})

t.test('a token for another key is refused', async (t) => {
  const other = { ...await exportJWK(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey), alg: 'ECDH-ES+A256KW' }
  const nested = (key: unknown): Record<string, unknown> => ({ submods: { cpu0: { 'ear.veraison.annotated-evidence': { runtime_data_claims: { 'tee-pubkey': key } } } } })
  for (const claims of [{ 'tee-pubkey': other }, nested(other), nested('none'), nested({})]) {
    const { broker, client } = await place(t)
    broker.misconduct.claims = () => claims
    await t.rejects(client.resource(path), failure('store-garbage'), JSON.stringify(claims))
  }
  for (const claims of [(key: JWK) => ({ 'tee-pubkey': key }), () => ({}), () => ({ submods: 'none' })]) {
    const { broker, client } = await place(t)
    broker.misconduct.claims = claims
    t.ok(await client.resource(path))
  }
})

t.test('what is sealed by another algorithm than was asked for, or to another key, is not opened', async (t) => {
  const rsa = await exportJWK(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)
  const ec = await exportJWK(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
  for (const [seal, reason] of [
    [async (bytes: Uint8Array, key: JWK) => await sealTo(bytes, key, 'ECDH-ES+A128KW'), 'store-algorithm'],
    [async (bytes: Uint8Array, key: JWK) => await sealTo(bytes, key, 'ECDH-ES'), 'store-garbage'],
    [async (bytes: Uint8Array, key: JWK) => await sealTo(bytes, key, 'ECDH-ES+A256KW', 'A128GCM'), 'store-algorithm'],
    [async (bytes: Uint8Array) => await sealTo(bytes, rsa, 'RSA-OAEP-256'), 'store-algorithm'],
    [async (bytes: Uint8Array) => await sealTo(bytes, ec, 'ECDH-ES+A256KW'), 'store-garbage'],
    [async (bytes: Uint8Array, key: JWK) => ({ ...await sealTo(bytes, key), tag: randomBytes(16).toString('base64url') }), 'store-garbage'],
    [async (bytes: Uint8Array, key: JWK): Promise<FlattenedJWE> => ({ ...await sealTo(bytes, key), protected: Buffer.from('{"alg":"dir","enc":"A256GCM"}').toString('base64url'), encrypted_key: 'AA' }), 'store-algorithm']
  ] as const) {
    const { broker, client } = await place(t)
    broker.misconduct.seal = seal
    await t.rejects(client.resource(path), failure(reason))
  }
})

t.test('a broker that answers garbage, too much, too late, or not at all gives nothing', async (t) => {
  for (const [where, told] of [
    ['auth', {}], ['auth', { nonce: '', 'extra-params': '' }], ['auth', { nonce: 5 }], ['auth', 'sesame'],
    ['attest', {}], ['attest', { token: 'sesame' }], ['attest', { token: 'a.b.c' }],
    [`resource/${path}`, { protected: 'sesame' }], [`resource/${path}`, 'sesame']
  ] as const) {
    const { broker, client } = await place(t)
    broker.misconduct.answer = (asked) => asked === where ? told : undefined
    await t.rejects(client.resource(path), failure('store-garbage'), `${where} ${JSON.stringify(told)}`)
    broker.misconduct.answer = () => undefined
    t.equal(Buffer.from(await client.resource(path)).toString(), 'sesame', 'it is asked anew')
  }
  for (const where of ['auth', 'attest']) {
    const { broker, client } = await place(t)
    broker.misconduct.answer = (asked, _body, response) => asked === where ? response.writeHead(401).end('sesame') : undefined
    await t.rejects(client.resource(path), failure('store-denied'), where)
  }
  const large = await place(t, { maxAnswerBytes: 2000 })
  large.broker.resources.set(path, randomBytes(2000))
  await t.rejects(large.client.resource(path), failure('store-unreachable'))
  const slow = await place(t, { timeoutMs: 60 })
  slow.broker.misconduct.answer = (asked, _body, response) => asked === 'auth' ? response : undefined
  await t.rejects(slow.client.resource(path), failure('store-slow'))
  const gone = await place(t)
  gone.broker.stop()
  await t.rejects(gone.client.resource(path), failure('store-unreachable'))
})

t.test('a broker that is busy is asked again', async (t) => {
  const { broker, client } = await place(t, { maxAttempts: 2, pause: async () => {} })
  let busy = 1
  broker.misconduct.answer = (_asked, _body, response) => busy-- > 0 ? response.writeHead(503).end() : undefined
  t.equal(Buffer.from(await client.resource(path)).toString(), 'sesame')
})

t.test('an attester that fails is told of, and one of hardware says what it will', async (t) => {
  const failing = await place(t, { attester: { tee: 'snp', evidence: async () => { throw new Error('no device') } } })
  await t.rejects(failing.client.resource(path), failure('attester-failed'))
  const { broker, client } = await place(t, { attester: { tee: 'snp', evidence: async () => ({ report: 'hardware' }) } })
  t.ok(await client.resource(path))
  t.match(broker.posted, [{ tee: 'snp', version: '0.4.0', 'extra-params': { 'supported-hash-algorithms': ['sha256', 'sha384', 'sha512'] } }, { 'tee-evidence': { primary_evidence: { report: 'hardware' } } }])
})

t.test('a key is fetched for each operation, and is the one that was meant', async (t) => {
  const { broker, client } = await place(t)
  const jwk = { kty: 'oct', kid: 'kek', alg: 'A256KW', k: randomBytes(32).toString('base64url') }
  broker.resources.set(path, Buffer.from(JSON.stringify(jwk)))
  const key = brokerKey(client, uri, { keyId: 'kek', algorithm: 'A256KW' })
  const plain = randomBytes(32)
  const wrapped = await key.wrap(plain, Buffer.alloc(0))
  t.same(await localKey({ jwk }).unwrap(wrapped, Buffer.alloc(0)), plain)
  t.same(await key.unwrap(wrapped, Buffer.alloc(0)), plain)
  t.equal(broker.asked.filter((asked) => asked.startsWith('resource')).length, 2)
  broker.resources.set(path, Buffer.from(JSON.stringify({ ...jwk, k: randomBytes(32).toString('base64url') })))
  await t.rejects(key.unwrap(wrapped, Buffer.alloc(0)), { code: 'FMG_ERR_BUNDLE_INVALID' }, 'none is kept')
  for (const other of [{ ...jwk, kid: 'other' }, { ...jwk, alg: 'RSA-OAEP-256' }, { ...jwk, k: 'AA' }, 'sesame']) {
    broker.resources.set(path, Buffer.from(JSON.stringify(other)))
    await t.rejects(key.unwrap(wrapped, Buffer.alloc(0)), failure('store-garbage'))
  }
  const second = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'kek', alg: 'RSA-OAEP-256' }
  broker.resources.set(path, Buffer.from(JSON.stringify(second)))
  await t.rejects(key.wrap(plain, Buffer.alloc(0)), failure('store-garbage'), 'a key for another algorithm')
  broker.resources.clear()
  await t.rejects(key.wrap(plain, Buffer.alloc(0)), failure('store-missing'))
})

t.test('options and references that do not fit are refused', async (t) => {
  const attester = sampleAttester()
  for (const [options, message] of [
    [{ url: 'https://kbs.example', attester }, /attester must be one of hardware/],
    [{ url: 'https://kbs.example', attester: { ...attester, tee: 'sampledevice' } }, /attester must be one of hardware/],
    [{ url: 'http://kbs.example', attester, [allowSampleEvidence]: true }, /url must be an https URL/],
    [{ url: 'https://kbs.example', attester: { tee: 'snp' } }, /attester.evidence must be a function/],
    [{ url: 'https://kbs.example', attester, [allowSampleEvidence]: true, algorithm: 'RSA1_5' }, /algorithm must be one of/]
  ] as const) t.throws(() => keyBroker(options as never), { code: 'FMG_ERR_OPTION_INVALID', message })
  const client = keyBroker({ url: 'https://kbs.example/', attester, [allowSampleEvidence]: true })
  for (const bad of ['a/b', 'a/b/c/d', 'a/../c', '../../auth', 'a/b/c?d', '']) await t.rejects(client.resource(bad), { code: 'FMG_ERR_OPTION_INVALID' }, bad)
  for (const bad of ['kbs://other.example/a/b/c', 'kbs:///a/b', 'kbs:///a/b/c/d', 'kbs:///a/../c', 'kbs:///a/b/c?d', 'kbs:///a/b/%2e', 'https:///a/b/c', '']) {
    t.throws(() => brokerSecret(client, bad), { code: 'FMG_ERR_OPTION_INVALID' }, bad)
    t.throws(() => brokerKey(client, bad, { keyId: 'k', algorithm: 'A256KW' }), { code: 'FMG_ERR_OPTION_INVALID' }, bad)
  }
})
