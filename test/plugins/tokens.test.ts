import { createHash, generateKeyPairSync } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'
import t from 'tap'
import { jwt, type JwtOptions } from '../../src/authn/jwt.ts'
import type { PresentedCredential } from '../../src/authn/presented-credential.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'
import { nowSeconds, signed, testIssuer } from '../helpers/tokens.ts'

const home = testIssuer()
const payload = { x: 1 }
const clock = (): number => nowSeconds * 1000

/** Options of a guard that trusts `home` to speak of analysts of acme. */
function trusting (changed: Partial<JwtOptions> = {}, keys: object = { jwks: { keys: [home.jwk] } }): ReturnType<typeof guardOptions> {
  const issuer = { issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, claims: { org: 'org' }, grants: { orgs: ['acme'], roles: ['analyst'] }, tier: 'standard', ...keys }
  return guardOptions({ authenticate: { authenticators: [jwt({ issuers: [issuer], clock, ...changed })] } })
}

const analyst = { org: 'acme', roles: ['analyst', 'admin'] }
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

t.test('the holder of a good token may do what its issuer was given to grant', async (t) => {
  const app = await guardedApp(t, trusting())
  const token = bearer(home.token(analyst))
  for (const time of ['verified', 'recalled']) t.equal((await app.inject({ method: 'POST', url: '/models/acme-1', payload, ...token })).statusCode, 200, time)
  t.equal((await app.inject({ url: '/known', ...token })).body, 'https://issuer.example|ann')
  t.equal((await app.inject({ method: 'POST', url: '/models/other-1', payload, ...token })).statusCode, 403, 'the role of an administrator is not this issuer’s to grant')
  t.equal(app.reached, 2)
})

t.test('every bad token gets the same answer, and the handler does not run', async (t) => {
  const app = await guardedApp(t, trusting())
  const bad = [home.token({ exp: nowSeconds - 100 }), home.token({ aud: 'other' }), home.token({ iss: 'https://partner.example' }), testIssuer().token(analyst), home.token({ org: 'other' }), home.token({}, { alg: 'none' }), 'a.b.c', 'opaque']
  for (const token of bad) {
    const response = await app.inject({ method: 'POST', url: '/models/acme-1', payload, ...bearer(token) })
    t.equal(response.statusCode, 401)
    t.same(response.json(), { statusCode: 401, code: 'FMG_ERR_CREDENTIAL_INVALID', error: 'Unauthorized', message: 'the credential is not valid' })
    t.equal(response.headers['www-authenticate'], 'Bearer realm="model-guard", error="invalid_token"')
  }
  t.equal(app.reached, 0)
})

t.test('a token in the URL or in the body is no credential, nor does it stand beside one', async (t) => {
  const app = await guardedApp(t, trusting())
  const token = home.token(analyst)
  const body = { access_token: token }
  t.match(await app.inject({ url: `/known?access_token=${token}` }), { statusCode: 401, body: /FMG_ERR_CREDENTIAL_MISSING/ })
  t.match(await app.inject({ method: 'POST', url: '/models/acme-1', payload: body }), { statusCode: 401, body: /FMG_ERR_CREDENTIAL_MISSING/ })
  t.equal(app.reached, 0)
  t.match(await app.inject({ method: 'POST', url: `/models/acme-1?access_token=${testIssuer().token()}`, payload: body, ...bearer(token) }), { statusCode: 200 }, 'an input like any other')
})

t.test('a credential that is longer than any that is issued is refused before anyone looks at it', async (t) => {
  const looked: string[] = []
  const authenticator = {
    authenticate ({ value }: PresentedCredential) {
      looked.push(value)
      return null
    }
  }
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [authenticator] } }))
  const longest = 'x'.repeat(8192 - 'Bearer '.length)
  for (const headers of [{ authorization: `Bearer ${longest}x` }, { 'x-api-key': 'x'.repeat(8193) }]) t.match(await app.inject({ url: '/known', headers }), { statusCode: 401 })
  t.same(looked, [])
  await app.inject({ url: '/known', ...bearer(longest) })
  t.same(looked, [longest])
})

t.test('an issuer that is down is no reason to call a token bad', async (t) => {
  const app = await guardedApp(t, trusting({ fetch: async () => { throw new Error('connect ECONNREFUSED') } }, {}))
  const response = await app.inject({ method: 'POST', url: '/models/acme-1', payload, ...bearer(home.token(analyst)) })
  t.equal(response.statusCode, 503)
  t.match(response.json(), { code: 'FMG_ERR_ISSUER_UNAVAILABLE', message: 'the issuer cannot be reached' })
  t.equal(response.headers['www-authenticate'], undefined)
  t.equal(app.reached, 0)
})

t.test('a proof is held against the request that it came with', async (t) => {
  const app = await guardedApp(t, trusting({ dpop: { replayStore: memoryReplayStore({ clock }) } }))
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const token = home.token({ ...analyst, cnf: { jkt: await calculateJwkThumbprint(publicKey, 'sha256') } })
  const ask = async (dpop: string | string[]): Promise<number> =>
    (await app.inject({ method: 'POST', url: '/models/acme-1?a=b', payload, headers: { authorization: `DPoP ${token}`, host: 'models.example', dpop } })).statusCode
  const proof = (jti: string, changed: object = {}): string => signed(privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk: publicKey.export({ format: 'jwk' }) },
    { htm: 'POST', htu: 'http://models.example/models/acme-1', iat: nowSeconds, jti, ath: createHash('sha256').update(token).digest('base64url'), ...changed })
  t.equal(await ask(proof('a')), 200)
  t.equal(await ask(proof('a')), 401, 'used before')
  t.equal(await ask(proof('b', { htu: 'http://models.example/models/acme-2' })), 401, 'made for another model')
  t.equal(await ask(proof('c', { htm: 'GET' })), 401)
  t.equal((await app.inject({ method: 'POST', url: '/models/acme-1', payload, ...bearer(token) })).statusCode, 401, 'without a proof')
  t.equal(app.reached, 1)
})
