import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import fc from 'fast-check'
import t from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { apiKeyPattern, drawApiKey, formatApiKey, parseApiKey } from '../../src/authn/api-key-format.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { credentialCache } from '../../src/authn/credential-cache.ts'
import { listApiKeys, publicKeyRecord } from '../../src/authn/key-record.ts'
import type { KeyRecord, KeyStore } from '../../src/authn/key-store.ts'
import { presentedCredential, type PresentedCredential } from '../../src/authn/presented-credential.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { rotateApiKey } from '../../src/authn/rotate-api-key.ts'
import { requestFacts } from '../helpers/facts.ts'

const pepper = crypto.randomBytes(32)
const hourMs = 3_600_000
const dayMs = 24 * hourMs

function memoryStore (): KeyStore & { readonly asked: string[], readonly used: [string, number][] } {
  const records = new Map<string, KeyRecord>()
  const asked: string[] = []
  const used: [string, number][] = []
  return {
    asked,
    used,
    recall: (keyId) => records.get(keyId) ?? null,
    find (keyId) {
      asked.push(keyId)
      return records.get(keyId) ?? null
    },
    list: async () => [...records.values()],
    async add (record) { records.set(record.keyId, record) },
    async update (keyId, change) {
      const record = records.get(keyId)
      const changed = record === undefined ? null : change(record)
      if (changed !== null) records.set(keyId, changed)
      return changed
    },
    noteUse (keyId, at) { used.push([keyId, at]) },
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
    // The checksum covers key id and secret; another environment is found by the digest.
    if (at >= 4 && at < 8 && /^[a-z0-9]$/.test(letter)) return
    await t.rejects(Promise.resolve(authenticator.authenticate(header(wrong), requestFacts())), refusedFor('api-key-malformed'))
  }))
  t.same(store.asked, [])
  t.equal(parseApiKey(`${key}\n`), null)
})

t.test('a key of one environment is not one of another', async (t) => {
  const store = memoryStore()
  const authenticator = apiKey({ store, pepper })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' }, environment: 'test' })
  await t.rejects(Promise.resolve(authenticator.authenticate(header(key.replace('fmg_test_', 'fmg_live_')), requestFacts())), refusedFor('api-key-wrong-secret'))
  t.match(await authenticator.authenticate(header(key), requestFacts()), { id: 'ann' })
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
  const { key, keyId, expiresAt } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } }, { now })
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
  t.ok(await revokeApiKey(store, keyId, now))
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
  t.same(wrongSecret, { createHmac: 1, timingSafeEqual: 2 })
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
  cache.set(`${long}2`, 22)
  t.same([cache.get(`${long}1`), cache.get(`${long}2`)], [1, 22], 'what is there already needs no room')
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
  for (const scheme of ['X-API-Key', 'certificate']) t.equal(presentedCredential(['authorization', `${scheme} a`]), 'authorization-malformed', 'what comes another way')
  t.equal(presentedCredential(['x-api-key', 'a'.repeat(8193)]), 'credential-too-long')
})

t.test('what is shown of a key says whether it is good, and no digest', async (t) => {
  const store = memoryStore()
  await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } }, { now: 0 })
  const [record] = await store.list()
  if (record === undefined) throw new Error('there is no key')
  t.match(publicKeyRecord(record, 1), { id: 'ann', state: 'good', expiresAt: '1970-04-01T00:00:00.000Z' })
  t.match(publicKeyRecord(record, record.expiresAt), { state: 'expired' })
  t.match(publicKeyRecord({ ...record, revokedAt: 1 }, record.expiresAt), { state: 'revoked' })
  t.notOk('digest' in publicKeyRecord(record, 1))
  const rotated = { ...record, previous: { digest: record.digest, graceExpiresAt: 1000 } }
  t.match(publicKeyRecord(rotated, 999, hourMs), { graceExpiresAt: '1970-01-01T00:00:01.000Z', lastUsedAt: '1970-01-01T01:00:00.000Z' })
  t.equal(publicKeyRecord(rotated, 1000).graceExpiresAt, undefined)
  t.equal(publicKeyRecord({ ...rotated, revokedAt: 1 }, 999).graceExpiresAt, undefined)
  t.notMatch(JSON.stringify(publicKeyRecord(rotated, 999)), record.digest)
})

t.test('the published expression finds a key in any text, and nothing shorter', async (t) => {
  const key = formatApiKey(drawApiKey('live'))
  for (const text of [`API_KEY=${key}`, `{"key":"${key}"}`, `see ${key}.`, `a\n${key}\nb`]) t.equal(apiKeyPattern.exec(text)?.[0], key)
  for (const text of [key.slice(0, -1), key.slice(1), `${key}0`, `x${key}`, key.replace('live', ''), key.replace('live', 'LIVE'), key.replace(/_(?=[^_]*$)/, '')]) t.notMatch(text, apiKeyPattern)
})

t.test('a rotated key has two secrets, of one principal, until the grace of the first is over', async (t) => {
  const store = memoryStore()
  let now = 0
  const authenticator = apiKey({ store, pepper, clock: () => now })
  const first = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } }, { now })
  t.ok(await authenticator.authenticate(header(first.key), requestFacts()))
  now = 10
  const second = await rotateApiKey(store, pepper, first.keyId, { graceHours: 1, lifetimeDays: 30 }, { now })
  t.match(second, { keyId: first.keyId, expiresAt: 10 + 30 * dayMs, graceExpiresAt: 10 + hourMs })
  if (second === null) throw new Error('it was not rotated')
  t.equal(authenticator.recall?.(header(first.key), requestFacts()), null, 'what was known of the key is asked for again')
  now = second.graceExpiresAt - 1
  t.match(await authenticator.authenticate(header(first.key), requestFacts()), { id: 'ann', credential: { id: first.keyId, expiresAt: second.graceExpiresAt } })
  t.match(await authenticator.authenticate(header(second.key), requestFacts()), { id: 'ann', credential: { id: first.keyId, expiresAt: second.expiresAt } })
  t.ok(authenticator.recall?.(header(first.key), requestFacts()))
  t.equal((await authenticator.authenticate(header(second.key), requestFacts()))?.credential.issuedAt, 10)
  t.equal((await authenticator.authenticate(header(first.key), requestFacts()))?.credential.issuedAt, undefined, 'what was rotated away is not fresh')

  now = second.graceExpiresAt
  t.equal(authenticator.recall?.(header(first.key), requestFacts()), null)
  await t.rejects(Promise.resolve(authenticator.authenticate(header(first.key), requestFacts())), refusedFor('api-key-rotated'))
  t.ok(authenticator.recall?.(header(second.key), requestFacts()))

  const third = await rotateApiKey(store, pepper, first.keyId, {}, { now })
  t.match(third, { graceExpiresAt: now + 24 * hourMs })
  await t.rejects(Promise.resolve(authenticator.authenticate(header(first.key), requestFacts())), refusedFor('api-key-wrong-secret'))
  t.ok(await authenticator.authenticate(header(second.key), requestFacts()))
  t.ok(await revokeApiKey(store, first.keyId, now))
  for (const key of [second.key, third?.key ?? '']) await t.rejects(Promise.resolve(authenticator.authenticate(header(key), requestFacts())), refusedFor('api-key-revoked'))
  t.equal(await rotateApiKey(store, pepper, first.keyId), null, 'a revoked key gets no new secret')
  t.equal(await rotateApiKey(store, pepper, 'nobodynobody'), null)
})

t.test('a replaced secret never lives longer than it would have', async (t) => {
  const store = memoryStore()
  const { keyId, expiresAt } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' }, lifetimeDays: 1 }, { now: 0 })
  t.match(await rotateApiKey(store, pepper, keyId, { graceHours: 48 }, { now: 5 }), { graceExpiresAt: expiresAt })
  t.match(await rotateApiKey(store, pepper, keyId, { graceHours: 0 }, { now: 6 }), { graceExpiresAt: 6 })
  for (const wrong of [{ graceHours: -1 }, { graceHours: NaN }, { graceHours: Infinity }, { environment: 'Live' }, { lifetimeDays: 367 }]) {
    await t.rejects(rotateApiKey(store, pepper, keyId, wrong), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

t.test('no secret lives longer than the operator lets it', async (t) => {
  const store = memoryStore()
  const principal = { id: 'ann', tier: 'pro' }
  t.match(await createApiKey(store, pepper, { principal }, { now: 0, maxLifetimeDays: 30 }), { expiresAt: 30 * dayMs })
  await t.rejects(createApiKey(store, pepper, { principal, lifetimeDays: 31 }, { maxLifetimeDays: 30 }), { code: 'FMG_ERR_OPTION_INVALID', message: /at most 30/ })
  await t.rejects(createApiKey(store, pepper, { principal }, { maxLifetimeDays: 0 }), { code: 'FMG_ERR_OPTION_INVALID' })

  let now = 0
  const { key } = await createApiKey(store, pepper, { principal }, { now })
  const authenticator = apiKey({ store, pepper, maxLifetimeDays: 1, clock: () => now })
  t.match(await authenticator.authenticate(header(key), requestFacts()), { credential: { expiresAt: dayMs } })
  now = dayMs
  t.equal(authenticator.recall?.(header(key), requestFacts()), null)
  await t.rejects(Promise.resolve(authenticator.authenticate(header(key), requestFacts())), refusedFor('api-key-expired'))
})

t.test('a key comes from its networks or is refused, known or not', async (t) => {
  const store = memoryStore()
  const authenticator = apiKey({ store, pepper })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' }, allowedAddresses: ['192.0.2.0/24', '2001:db8::/32', '203.0.113.5'] })
  const outside = ['192.0.3.1', '2001:db9::1', '203.0.113.6', '::ffff:198.51.100.1', 'unix', '']
  for (const address of outside) await t.rejects(Promise.resolve(authenticator.authenticate(header(key), requestFacts({ address }))), refusedFor('api-key-address'))
  for (const address of ['192.0.2.255', '2001:db8:1::1', '203.0.113.5', '::ffff:192.0.2.1']) {
    t.ok(await authenticator.authenticate(header(key), requestFacts({ address })))
    t.ok(authenticator.recall?.(header(key), requestFacts({ address })))
  }
  for (const address of outside) t.equal(authenticator.recall?.(header(key), requestFacts({ address })), null)
  for (const wrong of ['192.0.2.0/33', '192.0.2', '2001:db8::/129', '192.0.2.0/24/1', '192.0.2.0/08', '192.0.2.0/', 'fe80::1%eth0', 'acme.example', '']) {
    await t.rejects(createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' }, allowedAddresses: [wrong] }), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

t.test('the use of a key is noted to the hour, at most once in an hour', async (t) => {
  const store = memoryStore()
  let now = 5 * hourMs + 7
  const authenticator = apiKey({ store, pepper, clock: () => now })
  const { key, keyId } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } }, { now })
  await authenticator.authenticate(header(key), requestFacts())
  now += hourMs - 1
  t.ok(authenticator.recall?.(header(key), requestFacts()))
  t.same(store.used, [[keyId, 5 * hourMs]])
  now += 1
  t.ok(authenticator.recall?.(header(key), requestFacts()))
  t.same(store.used, [[keyId, 5 * hourMs], [keyId, 6 * hourMs]])
})

t.test('a store that cannot tell at once has every key verified each time, and may note no uses', async (t) => {
  const store: KeyStore = { ...memoryStore(), recall: undefined, noteUse: undefined }
  const authenticator = apiKey({ store, pepper })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } })
  t.ok(await authenticator.authenticate(header(key), requestFacts()))
  t.equal(authenticator.recall?.(header(key), requestFacts()), null)
  t.match(await listApiKeys(store), [{ id: 'ann', state: 'good', lastUsedAt: undefined }])
})

t.test('a record is looked up again only when the store stands by something else', async (t) => {
  const inner = memoryStore()
  let revision: object | null = {}
  let lookedUp = 0
  let isTrusted = true
  const store: KeyStore = { ...inner, revision: () => revision, recall (keyId) { lookedUp++; return isTrusted ? inner.recall?.(keyId) ?? null : null } }
  const authenticator = apiKey({ store, pepper })
  const { key, keyId } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro' } })
  await authenticator.authenticate(header(key), requestFacts())
  const recalled = (times: number): number => {
    lookedUp = 0
    for (let index = 0; index < times; index++) t.ok(authenticator.recall?.(header(key), requestFacts()))
    return lookedUp
  }
  t.equal(recalled(3), 1)
  revision = {}
  t.equal(recalled(3), 1, 'another record has changed')
  revision = null
  t.equal(recalled(3), 3)
  isTrusted = false
  t.equal(authenticator.recall?.(header(key), requestFacts()), null, 'a store that stands by nothing')
  isTrusted = true
  revision = {}
  t.equal(recalled(2), 1)
  await store.update(keyId, (record) => ({ ...record, revokedAt: 1 }))
  revision = {}
  t.equal(authenticator.recall?.(header(key), requestFacts()), null)
})

t.test('keys of some roles count only when two people made them', async (t) => {
  const store = memoryStore()
  const authenticator = apiKey({ store, pepper, approvedRoles: ['admin'] })
  const create = async (roles: string[], approval?: { requestedBy: string, approvedBy: string }): Promise<{ keyId: string, key: string }> =>
    await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'pro', roles }, approval })
  const enter = async (key: string): Promise<unknown> => await authenticator.authenticate(header(key), requestFacts())
  const byTwo = { requestedBy: 'ann', approvedBy: 'bob' }
  t.match(await enter((await create(['analyst'])).key), { id: 'ann' })
  for (const approval of [undefined, { requestedBy: 'ann', approvedBy: ' Ann' }]) await t.rejects(enter((await create(['analyst', 'admin'], approval)).key), refusedFor('api-key-unapproved'))
  const { keyId, key } = await create(['admin'], byTwo)
  t.match(await enter(key), { id: 'ann' })
  const alone = await rotateApiKey(store, pepper, keyId)
  await t.rejects(enter(alone?.key ?? ''), refusedFor('api-key-unapproved'), 'a new secret is a change, too')
  const together = await rotateApiKey(store, pepper, keyId, { approval: byTwo })
  t.match(await enter(together?.key ?? ''), { id: 'ann' })
  await t.rejects(create(['admin'], { requestedBy: 'ann', approvedBy: '' }), { code: 'FMG_ERR_OPTION_INVALID', message: /approval\.approvedBy/ })
})
