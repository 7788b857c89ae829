import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { rotateApiKey } from '../../src/authn/rotate-api-key.ts'
import { guardError } from '../../src/errors.ts'
import { guardedApp, guardOptions, limits } from '../helpers/guard.ts'

const pepper = randomBytes(32)
const principal = { id: 'ann', tier: 'standard', org: 'acme', roles: ['analyst'] }

async function ask (app: FastifyInstance, key: string, remoteAddress = '192.0.2.1'): Promise<LightMyRequestResponse> {
  return await app.inject({ method: 'POST', url: '/models/acme-fraud', headers: { 'x-api-key': key }, payload: {}, remoteAddress })
}

t.test('both secrets of a rotated key spend one quota, and a revoked key opens nothing', async (t) => {
  const store = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => store.close())
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [apiKey({ store, pepper })] }, rateLimit: limits(3) }))
  const { key, keyId } = await createApiKey(store, pepper, { principal })
  t.equal((await ask(app, key)).statusCode, 200)
  const rotated = await rotateApiKey(store, pepper, keyId)
  if (rotated === null) throw new Error('it was not rotated')
  t.equal((await ask(app, key)).statusCode, 200)
  t.equal((await ask(app, rotated.key)).statusCode, 200)
  for (const secret of [key, rotated.key]) t.match(await ask(app, secret), { statusCode: 429 })

  await revokeApiKey(store, keyId)
  for (const secret of [key, rotated.key]) {
    const refused = await ask(app, secret)
    t.match(refused, { statusCode: 401, headers: { 'www-authenticate': /error="invalid_token"/ } })
    t.match(refused.json(), { code: 'FMG_ERR_CREDENTIAL_INVALID', message: 'the credential is not valid' })
  }
  t.equal(app.reached, 3)
})

t.test('a key from elsewhere is refused as any bad one, even one known to be good', async (t) => {
  const store = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => store.close())
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [apiKey({ store, pepper })] } }))
  const { key } = await createApiKey(store, pepper, { principal, allowedAddresses: ['192.0.2.0/24', '2001:db8::/32'] })
  t.equal((await ask(app, key)).statusCode, 200)
  t.equal((await ask(app, key, '2001:db8::1')).statusCode, 200)
  t.match(await ask(app, key, '198.51.100.1'), { statusCode: 401 })
  t.match((await ask(app, key, '2001:db9::1')).json(), { code: 'FMG_ERR_CREDENTIAL_INVALID', message: 'the credential is not valid' })
  t.equal(app.reached, 2)
})

t.test('a store that cannot answer is 503, for a known key too', async (t) => {
  const kept = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => kept.close())
  const { key } = await createApiKey(kept, pepper, { principal })
  let isStale = false
  const store: KeyStore = {
    ...kept,
    recall: (keyId) => isStale ? null : kept.recall?.(keyId) ?? null,
    find: async (keyId) => {
      if (isStale) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'key-store-stale' })
      return await kept.find(keyId)
    }
  }
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [apiKey({ store, pepper })] } }))
  t.equal((await ask(app, key)).statusCode, 200)
  isStale = true
  t.match(await ask(app, key), { statusCode: 503 })
  t.equal(app.reached, 1)
})
