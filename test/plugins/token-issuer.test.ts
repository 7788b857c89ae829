import { createPrivateKey } from 'node:crypto'
import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { allowInsecureRequests, customFetch, jwksCache, validateJwtAccessToken } from 'oauth4webapi'
import t from 'tap'
import { memoryDenyList } from '../../src/authn/memory-deny-list.ts'
import type { TokenIssuer, TokenIssuerOptions } from '../../src/authn/token-issuer.ts'
import { home, issuerAt, termsOf } from '../helpers/issuer.ts'
import { nowSeconds, signed, testIssuer } from '../helpers/tokens.ts'

const start = nowSeconds * 1000
const bad = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

t.test('a token says whose it is, what it was made from, and nothing else', async (t) => {
  const issuer = await issuerAt(t, { now: start })
  const terms = termsOf({ limitedTo: ['model:predict:fraud-*', 'model:read'], session: 'family', via: ['before'], binding: { certificate: undefined, key: 'k'.repeat(43) } })
  const { token, tokenId, expiresAt } = issuer.issue('at+jwt', terms)
  t.equal(expiresAt, start + 600_000)
  t.same(decodeProtectedHeader(token), { alg: 'ES256', typ: 'at+jwt', kid: issuer.keys.current().kid })
  t.same(decodeJwt(token), {
    iss: home,
    aud: [home],
    sub: 'ann',
    client_id: 'api-key:k1',
    jti: tokenId,
    iat: nowSeconds,
    exp: nowSeconds + 600,
    sid: 'family',
    scope: 'model:predict:fraud-* model:read',
    cnf: { jkt: 'k'.repeat(43) },
    principal_type: 'user',
    org: 'acme',
    tier: 'standard',
    roles: ['analyst'],
    scopes: [],
    attributes: { grade: 7 },
    source: terms.source,
    via: ['before']
  })
  const verified = await issuer.verify('at+jwt', token)
  t.match(verified, { source: terms.source, via: ['before'], audiences: [home], limitedTo: terms.limitedTo, binding: terms.binding, session: 'family', tokenId, issuedAt: start, expiresAt })
  t.match(verified.principal, { ...terms.principal, credential: { method: 'api-key', id: 'k1', expiresAt, boundTo: 'k'.repeat(43), limitedTo: terms.limitedTo, token: tokenId } })
  t.ok(Object.isFrozen(verified.principal))
})

t.test('what is not limited, bound or of a session says so after the way there and back', async (t) => {
  const issuer = await issuerAt(t, { now: start })
  const there = async (terms: Parameters<TokenIssuer['issue']>[1]): Promise<unknown> => (await issuer.verify('at+jwt', issuer.issue('at+jwt', terms).token)).principal.credential.limitedTo
  t.equal(await there(termsOf()), undefined)
  t.same(await there(termsOf({ limitedTo: [] })), [], 'limited to nothing')
  t.equal((await issuer.verify('at+jwt', issuer.issue('at+jwt', termsOf()).token)).session, undefined)
})

t.test('other servers verify the tokens by the published keys alone', async (t) => {
  for (const algorithm of ['ES256', 'EdDSA'] as const) {
    const issuer = await issuerAt(t, { now: Date.now() }, {}, { algorithm })
    const { token } = issuer.issue('at+jwt', termsOf())
    const server = { issuer: home, jwks_uri: `${home}/.well-known/jwks.json` }
    const request = new Request(`${home}/v2`, { headers: { authorization: `Bearer ${token}` } })
    const validated = await validateJwtAccessToken(server, request, home, {
      [customFetch]: async () => Response.json(issuer.keys.jwks()), [allowInsecureRequests]: true, [jwksCache]: {}
    })
    t.match(validated, { sub: 'ann', client_id: 'api-key:k1' }, algorithm)
    t.match(await issuer.verify('at+jwt', token), { principal: { id: 'ann' } }, algorithm)
  }
})

t.test('no token lives for more than 15 minutes, or after what it is made from', async (t) => {
  const time = { now: start + 500 }
  const issuer = await issuerAt(t, time, { lifetimeSeconds: 900 })
  const endOf = (more: Parameters<typeof termsOf>[0]): number => issuer.issue('at+jwt', termsOf(more)).expiresAt - start
  t.equal(endOf({}), 900_000)
  t.equal(endOf({ source: { method: 'api-key', id: 'k1', expiresAt: start + 60_999 } }), 60_000)
  t.equal(endOf({ until: start + 30_000 }), 30_000)
  t.equal(endOf({ source: { method: 'mtls', id: 'f' } }), 900_000)
  for (const until of [start + 999, start - 1, 0]) t.throws(() => endOf({ until }), bad('source-expired'))
  for (const lifetimeSeconds of [0, 901]) await t.rejects(issuerAt(t, time, { lifetimeSeconds }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('an access token is never taken for a session, nor a session for an access token', async (t) => {
  const issuer = await issuerAt(t, { now: start })
  const access = issuer.issue('at+jwt', termsOf()).token
  const session = issuer.issue('session+jwt', termsOf()).token
  t.match(await issuer.verify('session+jwt', session), { principal: { id: 'ann' } })
  await t.rejects(issuer.verify('session+jwt', access), bad('jwt-type'))
  await t.rejects(issuer.verify('at+jwt', session), bad('jwt-type'))
  t.ok(issuer.isMine(access))
  t.notOk(issuer.isMine(session))
})

t.test('a token of another issuer is not mine, and a bad one of mine is bad', async (t) => {
  const time = { now: start }
  const issuer = await issuerAt(t, time)
  const { token } = issuer.issue('at+jwt', termsOf())
  const key = createPrivateKey(issuer.keys.current().privateKey())
  const claims = decodeJwt(token)
  const made = (changed: object, header: object = {}): string => signed(key, { alg: 'ES256', typ: 'at+jwt', kid: issuer.keys.current().kid, ...header }, { ...claims, ...changed })
  t.ok(issuer.isMine(made({})))
  for (const other of [testIssuer(home).token(), made({}, { kid: 'other' }), made({}, { typ: 'JWT' }), '.', '', 'fmg_live_x']) t.notOk(issuer.isMine(other), other)
  t.match(await issuer.verify('at+jwt', made({})), { principal: { id: 'ann' } })
  const table: readonly (readonly [string, string])[] = [
    [made({}, { kid: 'other' }), 'jwt-key-unknown'],
    [made({}, { kid: undefined }), 'jwt-key-unknown'],
    [made({}, { typ: 'JWT' }), 'jwt-type'],
    [made({}, { alg: 'ES384' }), 'jws-algorithm'],
    [testIssuer(home, issuer.keys.current().kid).token(), 'jws-signature'],
    [`${token}.`, 'jws-malformed'],
    [signed(key, { alg: 'ES256', typ: 'at+jwt', kid: issuer.keys.current().kid }, '[]'), 'jwt-claims-malformed'],
    [made({ iss: 'https://other.example' }), 'jwt-issuer'],
    [made({ aud: ['https://other.example'] }), 'jwt-audience'],
    [made({ exp: nowSeconds - 5 }), 'jwt-expired'],
    [made({ exp: nowSeconds + 901 }), 'jwt-lifetime'],
    [made({ iat: nowSeconds + 6 }), 'jwt-issued-at'],
    [made({ sub: '' }), 'jwt-subject'],
    [made({ jti: undefined }), 'jwt-id'],
    [made({ cnf: { other: 'x' } }), 'jwt-confirmation'],
    [made({ aud: home }), 'jwt-claim-malformed'],
    [made({ act: { sub: 'eve' } }), 'jwt-claim-malformed'],
    [made({ principal_type: 'root' }), 'jwt-claim-malformed'],
    [made({ roles: 'admin' }), 'jwt-claim-malformed'],
    [made({ attributes: [] }), 'jwt-claim-malformed'],
    [made({ source: { method: 'password', id: 'x' } }), 'jwt-claim-malformed'],
    [made({ scope: 'model' }), 'jwt-claim-malformed'],
    [made({ scope: ['model:read'] }), 'jwt-claim-malformed'],
    [made({ via: undefined }), 'jwt-claim-malformed']
  ]
  for (const [text, reason] of table) await t.rejects(issuer.verify('at+jwt', text), bad(reason), reason)
})

t.test('a verified token is over when it expires, its key is gone, or it is denied', async (t) => {
  const time = { now: start }
  const denyList = memoryDenyList(() => time.now)
  const issuer = await issuerAt(t, time, { denyList }, { rotationSeconds: 7200, overlapSeconds: 3600 })
  const issued = async (more: Parameters<typeof termsOf>[0] = {}): ReturnType<TokenIssuer['verify']> => await issuer.verify('at+jwt', issuer.issue('at+jwt', termsOf(more)).token)
  const [first, child, member, other, bystander] = [await issued(), await issued({ via: ['a', 'b'] }), await issued({ session: 'family' }), await issued({ principal: { ...termsOf().principal, id: 'ben' } }), await issued()]
  const isOver = (): readonly boolean[] => [first, child, member, other, bystander].map((token) => issuer.isOver(token))
  t.same(isOver(), [false, false, false, false, false])
  await issuer.denyToken(first)
  t.same(isOver(), [true, false, false, false, false])
  await issuer.denyToken({ tokenId: 'b' })
  t.same(isOver(), [true, true, false, false, false], 'what was made from it')
  await issuer.denySession('family')
  denyList.deny({ issuer: home, subject: 'ben' })
  t.same(isOver(), [true, true, true, true, false])
  time.now += 600_000
  t.ok(issuer.isOver(bystander), 'expired')
  const last = await issued()
  t.notOk(issuer.isOver(last))
  t.ok(issuer.isOver({ ...last, key: { ...last.key } }), 'a key that is no longer among the keys')
})

t.test('a token that nobody could present is not issued', async (t) => {
  const issuer = await issuerAt(t, { now: start })
  const attributes = { text: 'x'.repeat(6000) }
  t.throws(() => issuer.issue('at+jwt', termsOf({ principal: { ...termsOf().principal, attributes } })), { code: 'FMG_ERR_REQUEST_INVALID', reason: 'token-too-long' })
  const issue = (idLength: number): string => issuer.issue('at+jwt', termsOf({ principal: { ...termsOf().principal, id: 'x'.repeat(idLength) }, source: { method: 'jwt', id: 'x'.repeat(255) } })).token
  t.match(await issuer.verify('at+jwt', issue(255)), { principal: { credential: { id: 'x'.repeat(255) } } })
  t.throws(() => issue(256), { code: 'FMG_ERR_REQUEST_INVALID', reason: 'token-too-long' })
})

t.test('options that are not understood stop the boot', async (t) => {
  const options: readonly object[] = [{ issuer: 'http://models.example' }, { audiences: [] }, { denyList: { denies: () => false } }, { audience: home }]
  for (const more of options) await t.rejects(issuerAt(t, { now: start }, more as Partial<TokenIssuerOptions>), { code: 'FMG_ERR_OPTION_INVALID' }, JSON.stringify(more))
})

t.test('a server that uses @fastify/jwt itself is not disturbed', async (t) => {
  const issuer = await issuerAt(t, { now: start })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyJwt, { secret: 'x'.repeat(32) })
  app.get('/', async (request) => await request.jwtVerify())
  t.match((await app.inject({ url: '/', headers: { authorization: `Bearer ${app.jwt.sign({ sub: 'own' })}` } })).json(), { sub: 'own' })
  t.not((await app.inject({ url: '/', headers: { authorization: `Bearer ${issuer.issue('at+jwt', termsOf()).token}` } })).statusCode, 200)
})
