import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { openIdentities } from '../../src/audit/identities.ts'
import { browserSessions } from '../../src/authn/browser-sessions.ts'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { refreshFamilies } from '../../src/authn/refresh-families.ts'
import { memorySigningKeyStore } from '../../src/authn/signing-key-store.ts'
import { signingKeys } from '../../src/authn/signing-keys.ts'
import { guardError } from '../../src/errors.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { tokenIssuer } from '../../src/plugins/token-issuer.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { asPrincipal } from '../../src/testing.ts'
import { requestFacts } from '../helpers/facts.ts'
import { guardOptions } from '../helpers/guard.ts'
import { home, issuerAt, termsOf } from '../helpers/issuer.ts'
import { trust } from '../helpers/models.ts'
import { floats } from '../helpers/onnx.ts'
import { countingKey } from '../helpers/sealed-models.ts'
import { nowSeconds } from '../helpers/tokens.ts'
import { sealedVersion } from '../helpers/versions.ts'

const hourMs = 3_600_000
const start = nowSeconds * 1000
const person = { id: 'https://github.com|1', type: 'user', org: 'acme', tier: 'standard', roles: ['analyst'], scopes: [], attributes: {} } as const
const own = requestFacts({ initiator: { site: 'same-origin', mode: 'cors', origin: home } })

t.test('through a hundred days of rotation no token or session of its time is refused, on any node, and none outlives its life', async (t) => {
  const time = { now: start }
  const clock = (): number => time.now
  const store = memorySigningKeyStore()
  const [here, there] = [await signingKeys({ store, clock }), await signingKeys({ store, clock })]
  t.teardown(() => { for (const keys of [here, there]) keys.close() })
  const [issuer, other] = [await tokenIssuer({ issuer: home, keys: here, clock }), await tokenIssuer({ issuer: home, keys: there, clock })]
  const families = refreshFamilies({ store: memoryRefreshStore(), clock })
  const secret = { read: async () => Buffer.alloc(32, 7) }
  const [sessions, elsewhere] = [browserSessions({ origin: home, tokens: issuer, families, secret }), browserSessions({ origin: home, tokens: other, families, secret })]
  const used = new Set<string>()
  const lifetimeMs = 600_000
  let switches = 0
  while (time.now < start + 100 * 24 * hourMs) {
    // The other node looks hours before a token is issued, and knows all the same what it is signed with.
    await there.refresh()
    const next = here.all().find(({ signsFrom }) => signsFrom > time.now)?.signsFrom ?? Infinity
    const isNear = next - time.now < 7 * hourMs
    if (isNear) switches++
    // Where a key is about to follow, a token is the last of the one before, and the next the first of the new one.
    time.now = isNear ? next - 1000 : time.now + 5 * hourMs
    await here.refresh()
    used.add(here.current().kid)
    const source = { method: 'api-key', id: 'k1', expiresAt: start + 200 * 24 * hourMs, state: 's' } as const
    const { token } = issuer.issue('at+jwt', termsOf({ source }))
    const session = await sessions.begin(person, 'https://github.com', {})
    time.now += lifetimeMs - 1000
    await here.refresh()
    t.match(await issuer.verify('at+jwt', token), { principal: { id: 'ann' } })
    t.match(await other.verify('at+jwt', token), { principal: { id: 'ann' } })
    t.match(await elsewhere.authenticator.authenticate({ scheme: 'cookie', value: session.token }, own), { id: person.id })
    time.now += 120_000
    await t.rejects(Promise.resolve().then(async () => await other.verify('at+jwt', token)), { code: 'FMG_ERR_CREDENTIAL_INVALID' })
  }
  t.ok(used.size >= 3 && switches >= 3, `${used.size} keys followed each other`)
  t.ok(here.all().length <= 2, 'and those that are over are gone')
})

t.test('a session that began under the secret before goes on while that is named, and not after', async (t) => {
  const time = { now: start }
  const tokens = await issuerAt(t, time)
  const families = refreshFamilies({ store: memoryRefreshStore(), clock: () => time.now })
  const secretOf = (byte: number) => ({ read: async () => Buffer.alloc(32, byte) })
  const before = browserSessions({ origin: home, tokens, families, secret: secretOf(1) })
  const { refreshToken } = await before.begin(person, 'https://github.com', { accessToken: 'gho_canary' })
  const during = browserSessions({ origin: home, tokens, families, secret: secretOf(2), previousSecrets: [secretOf(3), secretOf(1)] })
  t.match(await during.find(refreshToken), { kept: { accessToken: 'gho_canary' } })
  const after = browserSessions({ origin: home, tokens, families, secret: secretOf(2) })
  await t.rejects(after.find(refreshToken), { code: 'FMG_ERR_CREDENTIAL_INVALID' })
  const next = await during.begin(person, 'https://github.com', { accessToken: 'gho_next' })
  t.match(await after.find(next.refreshToken), { kept: { accessToken: 'gho_next' } }, 'what began meanwhile was sealed under the new one')
  await t.rejects(before.find(next.refreshToken), { code: 'FMG_ERR_CREDENTIAL_INVALID' }, 'which the old one does not open')
})

t.test('digests of every month are under a key of that month, and all can be checked in the end', async (t) => {
  const time = { now: Date.UTC(2026, 0, 31, 23, 59) }
  const file = path.join(t.testdir({}), 'identities.jsonl')
  const digests: { keyId: string, digest: string }[] = []
  for (let month = 0; month < 14; month++) {
    const identities = await openIdentities({ file, clock: () => time.now })
    for (const minute of [0, 2]) {
      time.now = Date.UTC(2026, month + 1, 1) - 60_000 + minute * 60_000
      const { digests: key } = identities.principal('ann')
      digests.push({ keyId: key.keyId, digest: key.digest('input', 'the same') })
    }
    await identities.close()
  }
  t.equal(new Set(digests.map(({ keyId }) => keyId)).size, 15)
  t.equal(new Set(digests.map(({ digest }) => digest)).size, 15, 'who has the log alone cannot join the months')
  const identities = await openIdentities({ file, clock: () => time.now })
  for (const { keyId, digest } of digests) t.equal(identities.digestsOf('ann', keyId)?.digest('input', 'the same'), digest)
  t.equal(identities.digestsOf('bob', digests[0]?.keyId ?? ''), undefined)
  await identities.close()
})

t.test('while the keeper of keys is down, loaded models go on, and a new version is a 503 that changes nothing', async (t) => {
  const folder = t.testdir()
  const kept = countingKey('kek')
  let isDown = false
  const key: KeyProvider = {
    ...kept,
    unwrap: async (wrapped, associatedData) => {
      if (isDown) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'token-missing' })
      return await kept.unwrap(wrapped, associatedData)
    }
  }
  const [first, second] = [await sealedVersion(folder, key, 1, { org: 'acme' }), await sealedVersion(folder, key, 2, { org: 'acme' })]
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ models: { models: { fraud: { directory: first } }, keys: [key], trust, threads: 1 } }))
  app.post('/:model', { config: { access: { action: 'predict', resource: model(param('model')) } } }, async (request) => {
    const answer = await request.model?.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(0, 0, 0) } })
    return { version: request.model?.version, outputs: Object.keys(answer?.outputs ?? {}) }
  })
  const infer = async (): Promise<unknown> => {
    const { statusCode, body } = await app.inject({ method: 'POST', url: '/fraud', ...asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] }) })
    return [statusCode, body]
  }
  await app.ready()
  t.same(await infer(), [200, '{"version":"1","outputs":["y"]}'])
  isDown = true
  const by = { requestedBy: 'eve', approvedBy: 'root', reason: 'a better one' }
  await t.rejects(app.models.load('fraud', second, by), { code: 'FMG_ERR_KEY_UNAVAILABLE', statusCode: 503 })
  for (let request = 0; request < 5; request++) t.same(await infer(), [200, '{"version":"1","outputs":["y"]}'])
  isDown = false
  await app.models.load('fraud', second, by)
  await app.models.promote('fraud', '2', by)
  t.same(await infer(), [200, '{"version":"2","outputs":["y"]}'])
})
