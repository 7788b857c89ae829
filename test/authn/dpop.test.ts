import { createHash, generateKeyPairSync } from 'node:crypto'
import { calculateJwkThumbprint, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { dpopNonces } from '../../src/authn/dpop-nonces.ts'
import type { DpopOptions } from '../../src/authn/dpop.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { redisReplayStore, type RedisCommands } from '../../src/authn/redis-replay-store.ts'
import { memoryReplayStore, type ReplayStore } from '../../src/authn/replay-store.ts'
import type { RequestFacts } from '../../src/authn/request-facts.ts'
import type { Principal } from '../../src/principal.ts'
import { requestFacts } from '../helpers/facts.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { nowSeconds, signed, testIssuer } from '../helpers/tokens.ts'

const home = testIssuer()
const holder = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwk = holder.publicKey.export({ format: 'jwk' })
const jkt = await calculateJwkThumbprint(holder.publicKey, 'sha256')
const token = home.token({ cnf: { jkt } })
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })
const issuers = [{ issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, jwks: { keys: [home.jwk] }, tier: 'standard' }]
let drawn = 0

/** A good proof for the request of `requestFacts`, with these changed. */
function proof (claims: Readonly<Record<string, unknown>> = {}, header: Readonly<Record<string, unknown>> = {}): string {
  const { method, url } = requestFacts()
  const good = { htm: method, htu: url, iat: nowSeconds, jti: `proof-${drawn++}`, ath: createHash('sha256').update(token).digest('base64url') }
  return signed(holder.privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk, ...header }, { ...good, ...claims })
}

/** What comes of proofs, for a token under a scheme. */
function asking (changed: Partial<DpopOptions> | null = {}, clock = () => nowSeconds * 1000): (facts: Partial<RequestFacts>, value?: string, scheme?: string) => Promise<Principal | null> {
  const dpop = changed === null ? undefined : { replayStore: memoryReplayStore({ clock }), ...changed }
  const authenticator = jwt({ issuers, dpop, clock })
  return async (facts, value = token, scheme = 'dpop') => {
    const presented = { scheme, value }
    t.equal(authenticator.recall?.(presented, requestFacts(facts)), null, 'never without a look at the proof')
    return await authenticator.authenticate(presented, requestFacts(facts))
  }
}

t.test('the holder of the key is let in, with a new proof each time', async (t) => {
  const ask = asking()
  const principal = await ask({ dpopProofs: [proof()] })
  t.match(principal, { id: 'https://issuer.example|ann', credential: { boundTo: jkt } })
  t.equal(await ask({ dpopProofs: [proof()] }), principal, 'the token is verified once')
  const used = proof()
  t.ok(await ask({ dpopProofs: [used] }))
  await t.rejects(ask({ dpopProofs: [used] }), refusedFor('dpop-replayed'))
})

t.test('the id of a proof is used up for its own key alone', async (t) => {
  const ask = asking()
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const otherToken = home.token({ cnf: { jkt: await calculateJwkThumbprint(other.publicKey, 'sha256') } })
  const { method, url } = requestFacts()
  const claims = { htm: method, htu: url, iat: nowSeconds, jti: 'same', ath: createHash('sha256').update(otherToken).digest('base64url') }
  t.ok(await ask({ dpopProofs: [proof({ jti: 'same' })] }))
  t.ok(await ask({ dpopProofs: [signed(other.privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk: other.publicKey.export({ format: 'jwk' }) }, claims)] }, otherToken))
})

t.test('a bound token without its proof, or a proof without a bound token, is refused', async (t) => {
  const ask = asking()
  await t.rejects(ask({}), refusedFor('dpop-proof-count'))
  await t.rejects(ask({ dpopProofs: [proof(), proof()] }), refusedFor('dpop-proof-count'))
  await t.rejects(ask({ dpopProofs: [proof()] }, token, 'bearer'), refusedFor('jwt-scheme'))
  await t.rejects(ask({}, token, 'bearer'), refusedFor('jwt-scheme'))
  const unbound = home.token()
  await t.rejects(ask({ dpopProofs: [proof({ ath: createHash('sha256').update(unbound).digest('base64url') })] }, unbound), refusedFor('jwt-scheme'))
  await t.rejects(asking(null)({ dpopProofs: [proof()] }), refusedFor('dpop-not-accepted'))
})

t.test('every part of a proof is checked', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const refused: Record<string, readonly string[]> = {
    'jws-malformed': ['', 'x', `${proof()}=`],
    'dpop-type': [proof({}, { typ: 'JWT' }), proof({}, { typ: undefined }), proof({}, { typ: 'at+jwt' })],
    'dpop-key': [
      proof({}, { jwk: undefined }), proof({}, { jwk: holder.privateKey.export({ format: 'jwk' }) }), proof({}, { jwk: { kty: 'oct', k: 'AA' } }), proof({}, { alg: 'none' }),
      proof({}, { alg: 'HS256' }), proof({}, { alg: 'ES384' }), proof({}, { jwk: { ...jwk, alg: 'ES384' } })
    ],
    'dpop-other-key': [signed(privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk: publicKey.export({ format: 'jwk' }) }, {})],
    'jws-signature': [signed(privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk }, {})],
    'dpop-claims-malformed': [signed(holder.privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk }, '{"jti":"a","jti":"b"}')],
    'dpop-method': [proof({ htm: 'GET' }), proof({ htm: 'post' }), proof({ htm: undefined })],
    'dpop-url': [
      proof({ htu: 'https://models.example/models/other/infer' }), proof({ htu: 'http://models.example/models/fraud/infer' }), proof({ htu: 'https://models.example:444/models/fraud/infer' }),
      proof({ htu: 'https://models.example/models/fraud/INFER' }), proof({ htu: '/models/fraud/infer' }), proof({ htu: 7 }), proof({ htu: undefined })
    ],
    'dpop-token': [proof({ ath: undefined }), proof({ ath: createHash('sha256').update('another').digest('base64url') })],
    'dpop-time': [proof({ iat: nowSeconds - 61 }), proof({ iat: nowSeconds + 61 }), proof({ iat: undefined }), proof({ iat: String(nowSeconds) }), proof({ iat: null })],
    'dpop-id': [proof({ jti: undefined }), proof({ jti: '' }), proof({ jti: 7 })]
  }
  const ask = asking()
  for (const [reason, proofs] of Object.entries(refused)) {
    for (const each of proofs) await t.rejects(ask({ dpopProofs: [each] }), refusedFor(reason), each)
  }
  for (const claims of [{ htu: 'HTTPS://MODELS.example:443/models/fraud/infer' }, { htu: 'https://models.example/models/fraud/infer?a=b#c' }, { iat: nowSeconds - 60 }, { iat: nowSeconds + 60 }]) {
    t.ok(await ask({ dpopProofs: [proof(claims)] }), JSON.stringify(claims))
  }
  t.ok(await ask({ dpopProofs: [proof()], url: `${requestFacts().url}?query` }))
})

t.test('a proof by an algorithm that is not taken is refused, though its key fits', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const bound = home.token({ cnf: { jkt: await calculateJwkThumbprint(publicKey, 'sha256') } })
  const proof384 = async (): Promise<string> => await new SignJWT({ htm: requestFacts().method, htu: requestFacts().url, jti: `proof-${drawn++}`, ath: createHash('sha256').update(bound).digest('base64url') })
    .setProtectedHeader({ alg: 'ES384', typ: 'dpop+jwt', jwk: publicKey.export({ format: 'jwk' }) }).setIssuedAt(nowSeconds).sign(privateKey)
  await t.rejects(asking()({ dpopProofs: [await proof384()] }, bound), refusedFor('dpop-key'))
  t.ok(await asking({ algorithms: ['ES256', 'ES384'] })({ dpopProofs: [await proof384()] }, bound))
})

t.test('a token bound to a key and a certificate needs both', async (t) => {
  const thumbprint = 'c'.repeat(43)
  const both = home.token({ cnf: { jkt, 'x5t#S256': thumbprint } })
  const facts = (): Partial<RequestFacts> => ({ dpopProofs: [proof({ ath: createHash('sha256').update(both).digest('base64url') })] })
  await t.rejects(asking()(facts(), both), refusedFor('jwt-certificate'))
  t.ok(await asking()({ ...facts(), certificate: { der: Buffer.alloc(1), thumbprint } }, both))
})

t.test('a proof is remembered for as long as it would count', async (t) => {
  let now = nowSeconds * 1000
  const early = proof({ iat: nowSeconds + 60 })
  const ask = asking({}, () => now)
  t.ok(await ask({ dpopProofs: [early] }))
  now += 120_000
  await t.rejects(ask({ dpopProofs: [early] }), refusedFor('dpop-replayed'))
  now += 1
  await t.rejects(ask({ dpopProofs: [early] }), refusedFor('dpop-time'))
})

t.test('a replay store that cannot say is a 503', async (t) => {
  const replayStore = memoryReplayStore({ maxEntries: 1, clock: () => nowSeconds * 1000 })
  const ask = asking({ replayStore })
  t.ok(await ask({ dpopProofs: [proof()] }))
  await t.rejects(ask({ dpopProofs: [proof()] }), { code: 'FMG_ERR_REPLAY_UNAVAILABLE', statusCode: 503, reason: 'replay-store-full' })
})

t.test('where a nonce is asked for, a proof without the one of now is refused, and told it, and not used up', async (t) => {
  let now = nowSeconds * 1000
  const ask = asking({ nonce: { lifetimeSeconds: 60 } }, () => now)
  const refusal = async (nonce?: unknown): Promise<string> => {
    const error: unknown = await ask({ dpopProofs: [proof({ nonce, jti: 'same', iat: now / 1000 })] }).catch((error: unknown) => error)
    t.match(error, { code: 'FMG_ERR_CREDENTIAL_INVALID', statusCode: 401, reason: 'dpop-nonce', headers: { 'dpop-nonce': /^[\w-]{43}$/ } })
    return String(Reflect.get(Object(Reflect.get(Object(error), 'headers')), 'dpop-nonce'))
  }
  const nonce = await refusal()
  for (const wrong of [7, null, '', 'x', `${nonce.slice(1)}A`, nonce.slice(1), Buffer.alloc(32).toString('base64url')]) t.equal(await refusal(wrong), nonce)
  t.ok(await ask({ dpopProofs: [proof({ nonce, jti: 'same' })] }))
  await t.rejects(ask({ dpopProofs: [proof({ nonce, jti: 'same' })] }), refusedFor('dpop-replayed'), 'a nonce may be used again, a proof not')
  now += 60_000
  t.ok(await ask({ dpopProofs: [proof({ nonce, iat: now / 1000 })] }), 'while the next one is given out')
  now += 60_000
  t.not(await refusal(nonce), nonce)
})

t.test('a new nonce is given with an answer before the old one ends, and only then', async (t) => {
  let now = nowSeconds * 1000
  const secret = Buffer.alloc(32, 7)
  const authenticator = jwt({ issuers, clock: () => now, dpop: { replayStore: memoryReplayStore(), nonce: { secret, lifetimeSeconds: 60 } } })
  const nonceAt = (time: number): string => dpopNonces({ secret, lifetimeSeconds: 60 }).current(time)
  const headers = (nonce: string, scheme = 'dpop') => authenticator.answerHeaders?.({ scheme, value: token }, requestFacts({ dpopProofs: [proof({ nonce })] }))
  const first = nonceAt(now)
  t.same(headers(first), {})
  now += 60_000
  t.same(headers(first), { 'dpop-nonce': nonceAt(now) })
  t.same(headers(first, 'bearer'), {})
  t.same(headers(nonceAt(now)), {})
  t.same(headers(nonceAt(now + 60_000)), {}, 'of a node whose clock is ahead')
  const without = jwt({ issuers, dpop: { replayStore: memoryReplayStore() } })
  t.same(without.answerHeaders?.({ scheme: 'dpop', value: token }, requestFacts({ dpopProofs: [proof()] })), {})
  t.same(jwt({ issuers }).answerHeaders?.({ scheme: 'dpop', value: token }, requestFacts()), {})
})

t.test('nodes that share a secret know each other’s nonces, and nobody else’s', async (t) => {
  const now = nowSeconds * 1000
  const of = (secret?: Uint8Array, lifetimeSeconds = 60) => dpopNonces({ secret, lifetimeSeconds })
  const secret = Buffer.alloc(32, 7)
  const nonce = of(secret).current(now)
  t.equal(of(secret).judge(nonce, now), 'good')
  t.equal(of(secret).judge(nonce, now - 60_000), 'good')
  t.equal(of(secret).judge(nonce, now - 120_000), 'unknown')
  for (const other of [of(Buffer.alloc(32, 8)), of(), of(secret, 61)]) t.equal(other.judge(nonce, now), 'unknown')
  for (const wrong of [{ secret: secret.subarray(1) }, { lifetimeSeconds: 0 }]) t.throws(() => asking({ nonce: wrong }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('options that are not what they should be do not boot', async (t) => {
  const replayStore = memoryReplayStore()
  for (const wrong of [{ windowSeconds: 301 }, { algorithms: ['HS256'] as const }, { algorithms: [] }]) t.throws(() => asking({ replayStore, ...wrong }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.throws(() => redisReplayStore({ client: { call: async () => 'OK' }, timeoutMs: 0 }), { code: 'FMG_ERR_OPTION_INVALID' })
})

/** What every replay store does. */
async function remembers (t: Test, store: ReplayStore, other: ReplayStore): Promise<void> {
  t.equal(await store.remember('a', 60_000), true)
  t.equal(await store.remember('b', 60_000), true)
  t.equal(await other.remember('a', 60_000), false)
  t.equal(await store.remember('b', 60_000), false)
  const together = await Promise.all(Array.from({ length: 50 }, async () => await store.remember('c', 60_000)))
  t.equal(together.filter((isNew) => isNew).length, 1)
}

t.test('the memory store', async (t) => {
  const store = memoryReplayStore()
  await remembers(t, store, store)
  let now = 0
  const ending = memoryReplayStore({ maxEntries: 2, clock: () => now })
  t.ok(ending.remember('long', 100))
  t.ok(ending.remember('short', 10))
  now = 10
  t.ok(ending.remember('short', 100), 'what has ended counts as new, wherever it stands')
  t.notOk(ending.remember('long', 1))
  now = 100
  t.ok(ending.remember('next', 1), 'and makes room')
})

t.test('the Redis store', async (t) => {
  const client = connectRedis(t)
  const store = (prefix: string, commands: RedisCommands = client): ReplayStore => redisReplayStore({ client: commands, prefix: keyPrefix + prefix, timeoutMs: 20_000 })
  await remembers(t, store('replay:'), store('replay:', connectRedis(t)))
  const left = await client.pttl(`${keyPrefix}replay:a`)
  t.ok(left > 0 && left <= 60_000)
  const unavailable = (reason: string) => ({ code: 'FMG_ERR_REPLAY_UNAVAILABLE', statusCode: 503, reason })
  await client.set(`${keyPrefix}x`, 'x')
  await t.rejects(Promise.resolve(store('', { call: async () => await client.call('LPUSH', `${keyPrefix}x`, 1) }).remember('x', 1)), unavailable('replay-store-error'))
  await t.rejects(Promise.resolve(store('', { call: async () => 'QUEUED' }).remember('x', 1)), unavailable('replay-store-error'))
  const silent = redisReplayStore({ client: { call: async () => await new Promise(() => {}) }, timeoutMs: 1 })
  await t.rejects(Promise.resolve(silent.remember('x', 1)), unavailable('replay-store-timeout'))
})
