import crypto from 'node:crypto'
import { once } from 'node:events'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { apiKeyPattern, drawApiKey, formatApiKey, parseApiKey } from '../../src/authn/api-key-format.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { credentialCache } from '../../src/authn/credential-cache.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { publicKeyRecord } from '../../src/authn/key-record.ts'
import type { KeyRecord, KeyStore } from '../../src/authn/key-store.ts'
import { presentedCredential, type PresentedCredential } from '../../src/authn/presented-credential.ts'
import { requestFacts } from '../helpers/facts.ts'

const pepper = crypto.randomBytes(32)
const dayMs = 86_400_000

function memoryStore (): KeyStore & { asked: string[] } {
  const records = new Map<string, KeyRecord>()
  const asked: string[] = []
  return {
    asked,
    find (keyId) {
      asked.push(keyId)
      return records.get(keyId) ?? null
    },
    list: async () => [...records.values()],
    async add (record) { records.set(record.keyId, record) },
    async revoke (keyId, at) {
      const record = records.get(keyId)
      if (record === undefined) return false
      records.set(keyId, { ...record, revokedAt: at })
      return true
    },
    async close () {}
  }
}

const header = (value: string): PresentedCredential => ({ scheme: 'x-api-key', value })
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

t.test('a key has its published shape and every single wrong character is noticed before a store is asked', async (t) => {
  const key = formatApiKey(drawApiKey('live'))
  t.match(key, /^fmg_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/)
  t.match(key, apiKeyPattern)
  const store = memoryStore()
  const authenticator = apiKey({ store, pepper })
  await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: key.length - 1 }), fc.constantFrom('0', 'a', 'Z', '_', 'é', ' '), async (at, letter) => {
    fc.pre(key.charAt(at) !== letter)
    const wrong = key.slice(0, at) + letter + key.slice(at + 1)
    // The checksum covers key id and secret; the environment is a label.
    if (at >= 4 && at < 8 && /^[a-z0-9]$/.test(letter)) return
    await t.rejects(Promise.resolve(authenticator.authenticate(header(wrong), requestFacts())), refusedFor('api-key-malformed'))
  }))
  t.same(store.asked, [])
  t.equal(parseApiKey(`${key}\n`), null)
})

t.test('the right key gives its frozen principal, and is recalled afterwards', async (t) => {
  const store = memoryStore()
  const authenticator = apiKey({ store, pepper })
  const { key, keyId, expiresAt } = await createApiKey(store, pepper, { principal: { id: 'ann', org: 'acme', roles: ['analyst'], tier: 'pro' } })
  t.equal(authenticator.recall?.(header(key), requestFacts()), null, 'not before it was verified')
  const principal = await authenticator.authenticate(header(key), requestFacts())
  t.match(principal, { id: 'ann', type: 'service', org: 'acme', tier: 'pro', roles: ['analyst'], credential: { method: 'api-key', id: keyId, expiresAt } })
  t.ok(Object.isFrozen(principal) && Object.isFrozen(principal?.roles) && Object.isFrozen(principal?.credential))
  t.equal(authenticator.recall?.(header(key), requestFacts()), principal)
  t.equal(authenticator.recall?.({ scheme: 'bearer', value: key }, requestFacts()), principal)
  t.equal(authenticator.recall?.({ scheme: 'basic', value: key }, requestFacts()), null)
})

t.test('what is stored does not hold the secret, and another pepper does not recognise it', async (t) => {
  const store = memoryStore()
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } })
  const secret = parseApiKey(key)?.secret ?? ''
  t.notOk(JSON.stringify(await store.list()).includes(secret))
  await t.rejects(Promise.resolve(apiKey({ store, pepper: crypto.randomBytes(32) }).authenticate(header(key), requestFacts())), refusedFor('api-key-wrong-secret'))
  t.throws(() => apiKey({ store, pepper: pepper.subarray(1) }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('a wrong secret, an unknown id, a revoked and an expired key are refused', async (t) => {
  const store = memoryStore()
  let now = 0
  const authenticator = apiKey({ store, pepper, clock: () => now })
  const { key, keyId, expiresAt } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } }, now)
  t.equal(expiresAt, 90 * dayMs)
  await t.rejects(Promise.resolve(authenticator.authenticate(header(formatApiKey({ ...drawApiKey('live'), keyId })), requestFacts())), refusedFor('api-key-wrong-secret'))
  await t.rejects(Promise.resolve(authenticator.authenticate(header(formatApiKey(drawApiKey('live'))), requestFacts())), refusedFor('api-key-unknown'))

  now = expiresAt - 1
  t.ok(await authenticator.authenticate(header(key), requestFacts()))
  now = expiresAt
  t.equal(authenticator.recall?.(header(key), requestFacts()), null)
  await t.rejects(Promise.resolve(authenticator.authenticate(header(key), requestFacts())), refusedFor('api-key-expired'))

  now = 1
  t.ok(await authenticator.authenticate(header(key), requestFacts()))
  t.ok(await store.revoke(keyId, now))
  t.equal(authenticator.recall?.(header(key), requestFacts()), null, 'a revoked key is not recalled')
  await t.rejects(Promise.resolve(authenticator.authenticate(header(key), requestFacts())), refusedFor('api-key-revoked'))
})

t.test('an unknown key id costs the hashes and comparisons of a wrong secret', async (t) => {
  const store = memoryStore()
  const authenticator = apiKey({ store, pepper })
  const { keyId } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } })
  const count = async (key: string): Promise<Record<string, number>> => {
    const calls: Record<string, number> = {}
    const originals = { createHmac: crypto.createHmac, timingSafeEqual: crypto.timingSafeEqual, hash: crypto.hash }
    for (const [name, original] of Object.entries(originals)) {
      Object.assign(crypto, {
        [name] (...args: unknown[]) {
          calls[name] = (calls[name] ?? 0) + 1
          return Reflect.apply(original, crypto, args) as unknown
        }
      })
    }
    syncBuiltinESMExports()
    await t.rejects(Promise.resolve(authenticator.authenticate(header(key), requestFacts())))
    Object.assign(crypto, originals)
    syncBuiltinESMExports()
    return calls
  }
  const wrongSecret = await count(formatApiKey({ ...drawApiKey('live'), keyId }))
  t.same(wrongSecret, { createHmac: 1, timingSafeEqual: 1 })
  t.same(await count(formatApiKey(drawApiKey('live'))), wrongSecret)
})

t.test('a bearer token that is no API key is left to other authenticators, under x-api-key it is bad', async (t) => {
  const authenticator = apiKey({ store: memoryStore(), pepper })
  t.equal(await authenticator.authenticate({ scheme: 'bearer', value: 'eyJhbGciOi' }, requestFacts()), null)
  t.equal(await authenticator.authenticate({ scheme: 'basic', value: 'fmg_' }, requestFacts()), null)
  await t.rejects(Promise.resolve(authenticator.authenticate(header('eyJhbGciOi'), requestFacts())), refusedFor('api-key-malformed'))
})

t.test('a key with a senseless lifetime or environment is not made', async (t) => {
  const store = memoryStore()
  const principal = { id: 'ann', tier: 'pro' }
  for (const wrong of [{ lifetimeDays: 0 }, { lifetimeDays: 367 }, { lifetimeDays: NaN }, { environment: 'Live' }, { environment: '' }]) {
    await t.rejects(createApiKey(store, pepper, { principal, ...wrong }), { code: 'FMG_ERR_OPTION_INVALID' })
  }
  t.same(await store.list(), [])
})

t.test('verified credentials are told apart by the whole credential, and their number is bounded', async (t) => {
  const cache = credentialCache<number>(2)
  const long = 'x'.repeat(100)
  cache.set(`${long}1`, 1)
  cache.set(`${long}2`, 2)
  t.equal(cache.get(`${long}1`), 1)
  t.equal(cache.get(`${long}3`), undefined)
  cache.set(`${long}3`, 3)
  t.equal(cache.size, 2)
  t.equal(cache.get(`${long}1`), undefined, 'the oldest made room')
  cache.delete(`${long}2`)
  t.equal(cache.get(`${long}2`), undefined)
})

t.test('a request has one credential or none that counts', async (t) => {
  t.same(presentedCredential(['Host', 'x', 'X-Api-Key', 'k']), { scheme: 'x-api-key', value: 'k' })
  t.same(presentedCredential(['AUTHORIZATION', 'BEARER   abc']), { scheme: 'bearer', value: 'abc' })
  t.equal(presentedCredential(['host', 'x', 'cookie', 'y']), 'credential-missing')
  t.equal(presentedCredential(['authorization', 'Bearer a', 'Authorization', 'Bearer b']), 'two-credentials')
  t.equal(presentedCredential(['x-api-key', 'a', 'X-API-Key', 'a']), 'two-credentials')
  t.equal(presentedCredential(['authorization', 'Bearer a', 'x-api-key', 'a']), 'two-credentials')
  t.equal(presentedCredential(['authorization', 'malformed', 'x-api-key', 'a']), 'two-credentials', 'whatever the first one was')
  t.equal(presentedCredential(['authorization', 'Bearer']), 'authorization-malformed')
  t.equal(presentedCredential(['authorization', ' Bearer a']), 'authorization-malformed')
  t.equal(presentedCredential(['x-api-key', 'a'.repeat(8193)]), 'credential-too-long')
})

t.test('what is shown of a key says whether it is good, and no digest', async (t) => {
  const store = memoryStore()
  await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } }, 0)
  const [record] = await store.list()
  if (record === undefined) throw new Error('there is no key')
  t.match(publicKeyRecord(record, 1), { id: 'ann', state: 'good', expiresAt: '1970-04-01T00:00:00.000Z' })
  t.match(publicKeyRecord(record, record.expiresAt), { state: 'expired' })
  t.match(publicKeyRecord({ ...record, revokedAt: 1 }, record.expiresAt), { state: 'revoked' })
  t.notOk('digest' in publicKeyRecord(record, 1))
})

t.test('the file store', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'store', 'keys.json')

  t.test('keeps records for its owner alone, and finds them again', async (t) => {
    const store = await fileKeyStore({ file })
    const { keyId } = await createApiKey(store, pepper, { principal: { id: 'ann', org: 'acme', tier: 'pro' }, label: 'laptop' })
    t.equal((await stat(file)).mode & 0o777, 0o600)
    await store.close()
    const again = await fileKeyStore({ file })
    t.match(await again.find(keyId), { keyId, label: 'laptop', principal: { id: 'ann', org: 'acme' } })
    t.equal(await again.find('constructor'), null)
    t.equal(await again.revoke('nobody'.repeat(2), 1), false)
    await again.close()
  })

  t.test('gives the same object for an unchanged record, another after a change by anyone', async (t) => {
    const here = await fileKeyStore({ file })
    const there = await fileKeyStore({ file })
    const first = await createApiKey(here, pepper, { principal: { id: 'bob', tier: 'pro' } })
    await until(() => there.find(first.keyId) !== null)
    const record = there.find(first.keyId)
    const second = await createApiKey(here, pepper, { principal: { id: 'eve', tier: 'pro' } })
    await until(() => there.find(second.keyId) !== null)
    t.equal(there.find(first.keyId), record)
    t.ok(await here.revoke(first.keyId, 7))
    await until(() => there.find(first.keyId) !== record)
    t.match(there.find(first.keyId), { revokedAt: 7 })
    await there.revoke(first.keyId, 9)
    t.match(there.find(first.keyId), { revokedAt: 7 }, 'the first revocation counts')
    await here.close()
    await there.close()
  })

  t.test('two writers at once lose nothing', async (t) => {
    const stores = await Promise.all([fileKeyStore({ file }), fileKeyStore({ file })])
    const before = (await stores[0].list()).length
    await Promise.all([...Array(10).keys()].map((index) => createApiKey(stores[index % 2] ?? stores[0], pepper, { principal: { id: `p${index}`, tier: 'pro' } })))
    const { keys } = JSON.parse(await readFile(file, 'utf8')) as { keys: unknown[] }
    t.equal(keys.length, before + 10)
    await Promise.all(stores.map((store) => store.close()))
  })

  t.test('a file that is broken, edited wrongly or readable by others does not open', async (t) => {
    const bad = path.join(folder, 'bad.json')
    for (const text of ['{', '{"version":"1"}', '{"version":"2","keys":[]}', '{"version":"1","keys":[{"keyId":"x"}]}', '{"version":"1","keys":[],"more":1}']) {
      await writeFile(bad, text, { mode: 0o600 })
      await t.rejects(fileKeyStore({ file: bad }), { code: /FMG_ERR_(FILE|OPTION_INVALID)/ })
    }
    await writeFile(bad, '{"version":"1","keys":[]}')
    await chmod(bad, 0o644)
    await t.rejects(fileKeyStore({ file: bad }), { code: 'FMG_ERR_FILE', message: /chmod 600/ })
  })

  t.test('a change that breaks the file leaves the records that were read last', async (t) => {
    const errors: unknown[] = []
    const store = await fileKeyStore({ file, onError: (error) => { errors.push(error) } })
    const known = (await store.list()).length
    t.ok(known > 0)
    await writeFile(file, '{"version":', { mode: 0o600 })
    await until(() => errors.length > 0)
    t.match(errors[0], { code: 'FMG_ERR_FILE' })
    t.equal((await store.list()).length, known)
    await store.close()

    await writeFile(file, '{"version":"1","keys":[]}', { mode: 0o600 })
    const silent = await fileKeyStore({ file })
    const warned = once(process, 'warning')
    await writeFile(file, '{', { mode: 0o600 })
    t.match(await warned, [{ message: /is not JSON/ }])
    await silent.close()
  })
})

/** Waits for what a watched folder brings, turn by turn of the event loop. */
async function until (holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => { setImmediate(resolve) })
}
