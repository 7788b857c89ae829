import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { introspection } from '../../src/authn/introspection.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import { testAuthenticator } from '../../src/testing.ts'
import { nowSeconds, testIssuer } from '../helpers/tokens.ts'

const home = testIssuer()

async function guarded (t: Test, isDpop: boolean): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  const issuer = { issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, jwks: { keys: [home.jwk] }, tier: 'standard' }
  const dpop = isDpop ? { dpop: { replayStore: memoryReplayStore(), algorithms: ['ES256', 'Ed25519'] as const } } : {}
  await app.register(authenticate, { authenticators: [testAuthenticator(), jwt({ issuers: [issuer], clock: () => nowSeconds * 1000, ...dpop })], realm: 'models' })
  app.get('/', { config: { access: 'authenticated' } }, async () => 'in')
  return app
}

const bound = home.token({ cnf: { jkt: 'a'.repeat(43) } })

t.test('where DPoP is taken, challenges say so, and by which algorithms', async (t) => {
  const app = await guarded(t, true)
  const table: readonly (readonly [authorization: string | undefined, challenge: string])[] = [
    [undefined, 'Bearer realm="models", DPoP realm="models", algs="ES256 Ed25519"'],
    [`Bearer ${bound}`, 'Bearer realm="models", error="invalid_token"'],
    [`DPoP ${bound}`, 'DPoP realm="models", algs="ES256 Ed25519", error="invalid_dpop_proof"'],
    [`DPoP ${home.token({ aud: 'https://other.example' })}`, 'DPoP realm="models", algs="ES256 Ed25519", error="invalid_token"'],
    ['DPoP', 'Bearer realm="models", error="invalid_token"'],
    ['Test a.b', 'Bearer realm="models", error="invalid_token"']
  ]
  for (const [authorization, challenge] of table) {
    const answer = await app.inject({ url: '/', headers: authorization === undefined ? {} : { authorization } })
    t.match(answer, { statusCode: 401, headers: { 'www-authenticate': challenge, 'cache-control': 'no-store' } }, authorization ?? 'none')
  }
  const twice = await app.inject({ url: '/', headers: { authorization: `DPoP ${bound}`, 'x-api-key': 'x' } })
  t.equal(twice.headers['www-authenticate'], 'Bearer realm="models", error="invalid_request"')
})

t.test('where it is not, nobody is asked for it', async (t) => {
  const app = await guarded(t, false)
  t.equal((await app.inject('/')).headers['www-authenticate'], 'Bearer realm="models"')
  t.equal((await app.inject({ url: '/', headers: { authorization: `DPoP ${bound}` } })).headers['www-authenticate'], 'Bearer realm="models", error="invalid_token"')
})

t.test('an opaque token is challenged as it may be presented', async (t) => {
  const clientSecret = { read: async () => Buffer.from('secret') }
  const options = { issuer: home.issuer, endpoint: 'https://issuer.example/introspect', audiences: ['https://models.example'], clientId: 'models', clientSecret, tier: 'standard' }
  t.equal(introspection(options).dpopAlgorithms, undefined)
  t.same(introspection({ ...options, dpop: { replayStore: memoryReplayStore(), algorithms: ['ES256'] } }).dpopAlgorithms, ['ES256'])
})

t.test('an authenticator that breaks refuses like any other', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(authenticate, { authenticators: [{ authenticate: () => { throw new TypeError('broken') } }] })
  app.get('/', { config: { access: 'authenticated' } }, async () => 'in')
  t.match(await app.inject({ url: '/', headers: { authorization: 'Other x' } }), { statusCode: 401, headers: { 'www-authenticate': 'Bearer realm="model-guard", error="invalid_token"' } })
})
