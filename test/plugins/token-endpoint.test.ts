import { readFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import Fastify from 'fastify'
import { decodeJwt } from 'jose'
import t from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { issuedTokens } from '../../src/authn/issued-tokens.ts'
import { keySources } from '../../src/authn/key-sources.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { redisRefreshStore } from '../../src/authn/redis-refresh-store.ts'
import { refreshFamilies } from '../../src/authn/refresh-families.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { grantToken } from '../../src/authn/token-grant.ts'
import { rotateApiKey } from '../../src/authn/rotate-api-key.ts'
import { isGuardError } from '../../src/errors.ts'
import type { Principal } from '../../src/principal.ts'
import { isNarrower } from '../../src/scope.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { tokenEndpoint } from '../../src/plugins/token-endpoint.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { requestFacts } from '../helpers/facts.ts'
import { auditIn, guardOptions, limits, recordsIn } from '../helpers/guard.ts'
import { home, termsOf } from '../helpers/issuer.ts'
import { arrayOf, textOf } from '../helpers/json.ts'
import { exchangeOf, start, tokenServer } from '../helpers/token-server.ts'
import { nowSeconds } from '../helpers/tokens.ts'

const own = { grant_type: 'client_credentials' }
const tokenOf = (response: { json: () => unknown }): string => textOf(Reflect.get(Object(response.json()), 'access_token'))
const refreshOf = (response: { json: () => unknown }): string => textOf(Reflect.get(Object(response.json()), 'refresh_token'))

t.test('an API key is exchanged for a token, in the body or for itself', async (t) => {
  const time = { now: start }
  const { ask, newKey, predict } = await tokenServer(t, { time })
  const { key, keyId } = await newKey()
  for (const response of [await ask(exchangeOf(key)), await ask(own, { 'x-api-key': key }), await ask(own, { authorization: `Bearer ${key}` })]) {
    t.equal(response.statusCode, 200)
    t.equal(response.headers['cache-control'], 'no-store')
    t.match(response.json(), { token_type: 'Bearer', expires_in: 600 })
    t.match(decodeJwt(tokenOf(response)), { iss: home, aud: [home], sub: 'ann', client_id: `api-key:${keyId}`, roles: ['analyst'], org: 'acme' })
    for (const when of ['verified', 'recalled']) t.equal(await predict(tokenOf(response)), 200, when)
    t.equal(await predict(tokenOf(response), { model: 'other-1' }), 403)
    t.equal(await predict(`${tokenOf(response)}x`), 401)
  }
  const token = tokenOf(await ask(exchangeOf(key, { requested_token_type: 'urn:ietf:params:oauth:token-type:jwt' })))
  time.now += 599_999
  t.equal(await predict(token), 200)
  time.now += 10_000
  t.equal(await predict(token), 401)
})

t.test('the answer names what was issued, as RFC 8693 wants it', async (t) => {
  const { ask, newKey } = await tokenServer(t)
  const { key } = await newKey()
  t.equal(Reflect.get(Object((await ask(exchangeOf(key))).json()), 'issued_token_type'), 'urn:ietf:params:oauth:token-type:access_token')
  const jwt = 'urn:ietf:params:oauth:token-type:jwt'
  t.equal(Reflect.get(Object((await ask(exchangeOf(key, { requested_token_type: jwt }))).json()), 'issued_token_type'), jwt)
  t.notOk('issued_token_type' in Object((await ask(own, { 'x-api-key': key })).json()))
  t.notOk('refresh_token' in Object((await ask(exchangeOf(key))).json()), 'nobody asked for one')
})

t.test('a token is the same principal’s as its source, for the quota, the policy and the record', async (t) => {
  const folder = t.testdir()
  const { app, ask, newKey, predict } = await tokenServer(t, { guard: { rateLimit: limits(4), audit: await auditIn(folder) } })
  const { key } = await newKey()
  const token = tokenOf(await ask(exchangeOf(key)))
  t.equal(await predict(key), 200)
  t.equal(await predict(token), 200)
  const last = await ask(exchangeOf(key))
  t.equal(last.headers['ratelimit-policy'], '"minute";q=4;w=60')
  t.equal(await predict(tokenOf(last)), 429, 'the exchanges, too, are charged')
  const limited = await ask(exchangeOf(key))
  t.equal(limited.statusCode, 429)
  t.match(limited.json(), { error: 'temporarily_unavailable' })
  t.ok(limited.headers['retry-after'])
  await app.close()
  const records = recordsIn(folder).filter(({ action }) => action === 'predict' || action === 'post /oauth/token')
  t.equal(new Set(records.map(({ user_id: user }) => user)).size, 1)
  t.equal(new Set(records.map(({ credential_id: id }) => id)).size, 1, 'the key, whichever token stood for it')
  t.same(records.map(({ action, status }) => `${String(action)} ${String(status)}`), [
    'post /oauth/token success', 'predict success', 'predict success', 'post /oauth/token success', 'predict limited', 'post /oauth/token limited'
  ])
  const log = await readFile(path.join(folder, 'audit', 'segments', '00000000000000000000.jsonl'), 'utf8')
  for (const secret of [key, token]) t.notOk(log.includes(secret))
})

t.test('a token never reaches further than its source: scopes', async (t) => {
  const { ask, newKey, predict, reasons } = await tokenServer(t)
  const limited = await newKey({ scopes: ['model:predict:acme-*', 'model:read'] })
  const free = await newKey()
  const issued = async (key: string, scope: string): Promise<unknown> => {
    const response = await ask(exchangeOf(key, scope === '' ? {} : { scope }))
    return response.statusCode === 200 ? Reflect.get(Object(response.json()), 'scope') : response.json()
  }
  t.equal(await issued(limited.key, ''), 'model:predict:acme-* model:read', 'as its source')
  t.equal(await issued(limited.key, 'model:predict:acme-1'), 'model:predict:acme-1')
  t.equal(await issued(free.key, ''), undefined)
  t.equal(await issued(free.key, 'model:read  model:write'), 'model:read model:write')
  for (const scope of ['model:predict', 'model:predict:*', 'model:*:acme-1', '*:*', 'model:read model:write']) {
    t.match(await issued(limited.key, scope), { error: 'invalid_scope' }, scope)
  }
  t.match(await issued(free.key, 'openid'), { error: 'invalid_scope' })
  t.equal(reasons.at(-1), 'invalid-scope')
  const narrow = tokenOf(await ask(exchangeOf(free.key, { scope: 'model:predict:acme-1' })))
  t.equal(await predict(narrow), 200)
  t.equal(await predict(narrow, { model: 'acme-2' }), 403)
  t.match((await ask(exchangeOf(narrow, { scope: 'model:predict' }))).json(), { error: 'invalid_scope' }, 'nor does a token of a token')
  t.equal(await predict(tokenOf(await ask(exchangeOf(narrow))), { model: 'acme-2' }), 403)
})

t.test('a token never reaches further than its source: audiences', async (t) => {
  const [second, other] = ['https://models.example/v2', 'https://features.example']
  const odd = ['models', 'https://models.example/#x']
  const { ask, newKey, partner, predict } = await tokenServer(t, { issuer: { audiences: [home, second], otherAudiences: [other, ...odd] } })
  const { key } = await newKey()
  const audienceOf = async (token: string, form: string): Promise<unknown> => {
    const response = await ask(`${new URLSearchParams(exchangeOf(token)).toString()}&${form}`)
    return response.statusCode === 200 ? decodeJwt(tokenOf(response)).aud : response.json()
  }
  t.same(await audienceOf(key, ''), [home])
  t.same(await audienceOf(key, `audience=${second}&resource=${second}&resource=${other}`), [second, other])
  t.match(await audienceOf(key, 'audience=https://elsewhere.example'), { error: 'invalid_target' })
  for (const name of odd.map(encodeURIComponent)) {
    t.match(await audienceOf(key, `resource=${name}`), { error: 'invalid_target' }, 'no resource')
    t.same(await audienceOf(key, `audience=${name}`), [decodeURIComponent(name)])
  }
  const claims = { org: 'acme', roles: ['analyst'], scope: 'model:predict' }
  t.match(await audienceOf(partner.token(claims), `audience=${other}`), { error: 'invalid_target' }, 'a token for this server alone')
  t.same(await audienceOf(partner.token({ ...claims, aud: [home, other] }), `audience=${other}`), [other])
  const elsewhere = tokenOf(await ask(exchangeOf(key, { audience: other })))
  t.equal(await predict(elsewhere), 401, 'a token for another server')
  t.match((await ask(exchangeOf(elsewhere))).json(), { error: 'invalid_request' })
  const here = tokenOf(await ask(exchangeOf(key)))
  t.match(await audienceOf(here, `audience=${other}`), { error: 'invalid_target' })
})

t.test('a token never reaches further than its source: time', async (t) => {
  const time = { now: start }
  const { ask, newKey, partner, predict } = await tokenServer(t, { time })
  const { key } = await newKey({}, { lifetimeDays: 400 / 86_400 })
  t.match((await ask(exchangeOf(key))).json(), { expires_in: 400 })
  const claims = { org: 'acme', roles: ['analyst'], scope: 'model:predict' }
  t.match((await ask(exchangeOf(partner.token({ ...claims, exp: nowSeconds + 30 })))).json(), { expires_in: 30 })
  const first = tokenOf(await ask(exchangeOf(key)))
  time.now += 100_000
  const second = tokenOf(await ask(exchangeOf(first)))
  t.equal(decodeJwt(second).exp, nowSeconds + 400, 'a token of a token ends with it')
  t.match(decodeJwt(second), { client_id: decodeJwt(first).client_id, source: decodeJwt(first).source, via: [decodeJwt(first).jti] })
  t.equal(await predict(second), 200)
  const long = await newKey()
  const parent = tokenOf(await ask(exchangeOf(long.key)))
  time.now += 100_000
  t.equal(decodeJwt(tokenOf(await ask(exchangeOf(parent)))).exp, decodeJwt(parent).exp, 'also where its source lives on')
  let deepest = parent
  for (let exchanges = 1; exchanges <= 4; exchanges++) deepest = tokenOf(await ask(exchangeOf(deepest)))
  t.equal(arrayOf(decodeJwt(deepest).via).length, 4)
  t.match((await ask(exchangeOf(deepest))).json(), { error: 'invalid_request' }, 'and not without end')
})

t.test('an issuer’s token gives what that issuer may grant, and an API key’s roles what they do', async (t) => {
  const { ask, partner, predict } = await tokenServer(t)
  const response = await ask(exchangeOf(partner.token({ org: 'acme', roles: ['analyst', 'admin'], scope: 'model:predict' })))
  t.match(decodeJwt(tokenOf(response)), { sub: 'https://partner.example|ann', roles: ['analyst'], scope: 'model:predict', client_id: 'jwt:token-1' })
  t.equal(await predict(tokenOf(response)), 200)
  t.equal(await predict(tokenOf(response), { model: 'other-1' }), 403)
})

t.test('a token dies with its source, remembered or not', async (t) => {
  const { ask, newKey, store, partner, denyList, predict, reasons } = await tokenServer(t)
  const { key, keyId } = await newKey()
  const bystander = tokenOf(await ask(exchangeOf((await newKey()).key)))
  const ofKey = tokenOf(await ask(exchangeOf(key)))
  const unseen = tokenOf(await ask(exchangeOf(key)))
  t.equal(await predict(ofKey), 200)
  await revokeApiKey(store, keyId, start)
  t.equal(await predict(ofKey), 401)
  t.equal(await predict(unseen), 401)
  t.same(reasons.slice(-2), ['token-source-over', 'token-source-over'])
  t.equal(await predict(bystander), 200)
  const claims = { org: 'acme', roles: ['analyst'], scope: 'model:predict' }
  const ofToken = tokenOf(await ask(exchangeOf(partner.token(claims))))
  t.equal(await predict(ofToken), 200)
  denyList.deny({ issuer: partner.issuer, tokenId: 'token-1' })
  t.equal(await predict(ofToken), 401, 'its source is denied')
  denyList.deny({ issuer: home, subject: 'ann' })
  t.equal(await predict(bystander), 401, 'all of its principal are')
})

t.test('a token dies when its source may do something else, or come from elsewhere; not when it is rotated', async (t) => {
  const time = { now: start }
  const { ask, newKey, store, pepper, predict } = await tokenServer(t, { time })
  const demoted = await newKey()
  const moved = await newKey({}, { allowedAddresses: ['192.0.2.0/24'] })
  const rotated = await newKey()
  const [ofDemoted, ofRotated] = [tokenOf(await ask(exchangeOf(demoted.key))), tokenOf(await ask(exchangeOf(rotated.key)))]
  t.equal(await predict(ofDemoted), 200)
  await store.update(demoted.keyId, (record) => ({ ...record, principal: { ...record.principal, roles: [] } }))
  t.equal(await predict(ofDemoted), 401)
  t.match((await ask(exchangeOf(moved.key))).json(), { error: 'invalid_request' }, 'the endpoint is asked from 127.0.0.1')
  const second = await rotateApiKey(store, pepper, rotated.keyId, { graceHours: 1 / 60 }, { now: time.now })
  t.equal(await predict(ofRotated), 200, 'its secret has a minute left')
  time.now += 60_000
  t.equal(await predict(ofRotated), 401)
  t.equal(await predict(tokenOf(await ask(exchangeOf(String(second?.key))))), 200)
})

t.test('a token of a key that may only come from somewhere may only come from there', async (t) => {
  const { app, newKey, predict } = await tokenServer(t)
  const { key } = await newKey({}, { allowedAddresses: ['192.0.2.0/24'] })
  const payload = new URLSearchParams(exchangeOf(key)).toString()
  const token = tokenOf(await app.inject({ method: 'POST', url: '/oauth/token', payload, headers: { 'content-type': 'application/x-www-form-urlencoded' }, remoteAddress: '192.0.2.9' }))
  t.equal(await predict(token), 200)
  t.equal(await predict(token, { address: '198.51.100.1' }), 401)
})

t.test('bad credentials get one answer each way, the inner reason is for the record, and floods are limited', async (t) => {
  const folder = t.testdir()
  const { app, ask, newKey, partner, reasons } = await tokenServer(t, { guard: { audit: await auditIn(folder) }, authenticate: { failedAttempts: { maxByAddress: 10, maxDelayMs: 0 } } })
  const { key } = await newKey()
  const bad = [key.replace(/.$/, (end) => end === '0' ? '1' : '0'), partner.token({ exp: nowSeconds - 100 }), partner.token({ org: 'other' }), 'opaque', 'a.b.c']
  for (const token of bad) {
    const response = await ask(exchangeOf(token))
    t.equal(response.statusCode, 400)
    t.same(response.json(), { error: 'invalid_request', error_description: 'the credential is not valid' })
    t.equal(response.headers['cache-control'], 'no-store')
    const inHeader = await ask(own, { authorization: `Bearer ${token}` })
    t.equal(inHeader.statusCode, 401)
    t.same(inHeader.json(), { error: 'invalid_client', error_description: 'the credential is not valid' })
    t.match(inHeader.headers['www-authenticate'], /^Bearer realm="model-guard", error="invalid_token"$/)
  }
  const missing = await ask(own)
  t.equal(missing.statusCode, 401)
  t.match(missing.json(), { error: 'invalid_client' })
  t.match(missing.headers['www-authenticate'], /^Bearer realm="model-guard", DPoP /)
  t.match(await ask(exchangeOf(String(bad[0]))), { statusCode: 429, headers: { 'cache-control': 'no-store' } })
  t.equal((await ask(exchangeOf(key))).statusCode, 200, 'a right key always passes')
  t.same(new Set(reasons), new Set(['api-key-malformed', 'jwt-expired', 'jwt-org-not-granted', 'credential-unknown-kind', 'jws-malformed', 'credential-missing']))
  await app.close()
  const refused = recordsIn(folder).filter(({ action, status }) => action === 'authenticate' && status !== 'success')
  t.ok(refused.every(({ count }) => Number(count) >= 1), 'counted like all strangers, not a record each')
})

t.test('what is not understood is refused, in the words of RFC 6749', async (t) => {
  const { app, ask, newKey, partner } = await tokenServer(t)
  const { key } = await newKey()
  const exchange = exchangeOf(key)
  const text = new URLSearchParams(exchange).toString()
  const table: readonly (readonly [Record<string, string> | string, number, string])[] = [
    ['', 400, 'invalid_request'],
    [{ grant_type: '' }, 400, 'invalid_request'],
    [{ grant_type: 'password', username: 'ann' }, 400, 'unsupported_grant_type'],
    [`${text}&grant_type=client_credentials`, 400, 'invalid_request'],
    [`${text}&subject_token=x`, 400, 'invalid_request'],
    [`${text}&scope=model%3Aread&scope=model%3Awrite`, 400, 'invalid_request'],
    [{ ...exchange, subject_token: '' }, 400, 'invalid_request'],
    [{ ...exchange, subject_token_type: '' }, 400, 'invalid_request'],
    [{ ...exchange, subject_token_type: 'urn:ietf:params:oauth:token-type:id_token' }, 400, 'invalid_request'],
    [{ ...exchange, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' }, 400, 'invalid_request'],
    [{ ...exchange, subject_token: 'opaque' }, 400, 'invalid_request'],
    [{ ...exchange, subject_token: partner.token({ org: 'acme' }), subject_token_type: 'urn:ietf:params:oauth:token-type:id_token' }, 400, 'invalid_request'],
    [{ ...exchange, requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }, 400, 'invalid_request'],
    [{ ...exchange, actor_token: 'x', actor_token_type: 'y' }, 400, 'invalid_request'],
    [{ ...exchange, actor_token_type: 'y' }, 400, 'invalid_request'],
    [{ ...exchange, client_secret: 's' }, 401, 'invalid_client'],
    [{ ...exchange, client_assertion: 's' }, 401, 'invalid_client'],
    [{ grant_type: 'refresh_token' }, 400, 'invalid_request'],
    [{ grant_type: 'refresh_token', refresh_token: 'x' }, 400, 'invalid_grant'],
    ['x'.repeat(20_481), 413, 'invalid_request']
  ]
  for (const [form, status, error] of table) {
    const response = await ask(form)
    t.equal(response.statusCode, status, JSON.stringify(form).slice(0, 100))
    t.equal(Reflect.get(Object(response.json()), 'error'), error)
    t.notOk(response.body.includes(key), 'nothing is repeated')
    t.equal(response.headers['cache-control'], 'no-store')
  }
  t.equal((await ask({ ...exchange, client_id: 'app', unheard_of: 'x' })).statusCode, 200, 'what nobody knows is ignored')
  t.match((await ask(exchange, { 'x-api-key': key })).json(), { error: 'invalid_request' }, 'two credentials')
  t.match((await ask(exchange, { authorization: 'Basic eA==' })).json(), { error: 'invalid_request' })
  const json = await app.inject({ method: 'POST', url: '/oauth/token', payload: exchange })
  t.equal(json.statusCode, 415)
  t.match(json.json(), { error: 'invalid_request' })
  t.equal((await app.inject({ method: 'POST', url: '/oauth/token' })).statusCode, 400)
  t.equal((await app.inject({ url: '/oauth/token', headers: { 'x-api-key': key } })).statusCode, 404)
})

t.test('a refresh token is exchanged once, and its second use ends everything of its family', async (t) => {
  const { ask, newKey, predict, reasons } = await tokenServer(t)
  const { key } = await newKey()
  const refresh = async (token: string, more: Record<string, string> = {}): ReturnType<typeof ask> => await ask({ grant_type: 'refresh_token', refresh_token: token, ...more })
  const first = await ask(exchangeOf(key, { scope: 'offline_access model:predict model:read' }))
  t.equal(Reflect.get(Object(first.json()), 'scope'), 'model:predict model:read')
  const second = await refresh(refreshOf(first))
  t.match(second.json(), { token_type: 'Bearer', expires_in: 600, scope: 'model:predict model:read' })
  t.match(decodeJwt(tokenOf(second)), { sid: decodeJwt(tokenOf(first)).sid, source: decodeJwt(tokenOf(first)).source, sub: 'ann' })
  t.match((await refresh(refreshOf(second), { scope: 'model:write' })).json(), { error: 'invalid_scope' })
  t.match((await refresh(refreshOf(second), { audience: 'https://other.example' })).json(), { error: 'invalid_target' })
  const third = await refresh(refreshOf(second), { scope: 'model:predict', audience: home })
  t.equal(Reflect.get(Object(third.json()), 'scope'), 'model:predict', 'what was refused before used nothing up')
  for (const response of [first, second, third]) t.equal(await predict(tokenOf(response)), 200)
  const stolen = await refresh(refreshOf(first))
  t.equal(stolen.statusCode, 400)
  t.same(stolen.json(), { error: 'invalid_grant', error_description: 'the credential is not valid' })
  t.equal(reasons.at(-1), 'refresh-token-reused')
  t.match((await refresh(refreshOf(third))).json(), { error: 'invalid_grant' })
  for (const response of [first, second, third]) t.equal(await predict(tokenOf(response)), 401)
})

t.test('a family dies with its source', async (t) => {
  const time = { now: start }
  const { ask, newKey, store, reasons } = await tokenServer(t, { time })
  const { key, keyId } = await newKey()
  const family = refreshOf(await ask({ ...own, scope: 'offline_access' }, { 'x-api-key': key }))
  const old = refreshOf(await ask({ ...own, scope: 'offline_access' }, { 'x-api-key': key }))
  await revokeApiKey(store, keyId, start)
  t.match((await ask({ grant_type: 'refresh_token', refresh_token: family })).json(), { error: 'invalid_grant' })
  t.match((await ask({ grant_type: 'refresh_token', refresh_token: family })).json(), { error: 'invalid_grant' })
  t.same(reasons.slice(-2), ['refresh-source-over', 'refresh-token-unknown'])
  time.now += 28_800_000
  t.match((await ask({ grant_type: 'refresh_token', refresh_token: old })).json(), { error: 'invalid_grant' })
})

t.test('a token of this server is nothing to refresh, and without families nothing is', async (t) => {
  const { ask, newKey } = await tokenServer(t)
  const { key } = await newKey()
  const token = tokenOf(await ask(exchangeOf(key)))
  t.notOk('refresh_token' in Object((await ask(exchangeOf(token, { scope: 'offline_access' }))).json()))
  const without = await tokenServer(t, { endpoint: { families: undefined } })
  const other = await without.newKey()
  t.notOk('refresh_token' in Object((await without.ask(exchangeOf(other.key, { scope: 'offline_access' }))).json()))
  t.match((await without.ask({ grant_type: 'refresh_token', refresh_token: 'x' })).json(), { error: 'unsupported_grant_type' })
  t.match((await without.revoke(`fmg_refresh_${'0'.repeat(64)}`)).json(), { error: 'unsupported_token_type' })
})

t.test('whoever has a token may end it', async (t) => {
  const { ask, newKey, predict, revoke } = await tokenServer(t)
  const { key } = await newKey()
  const first = tokenOf(await ask(exchangeOf(key)))
  const child = tokenOf(await ask(exchangeOf(first)))
  const sibling = tokenOf(await ask(exchangeOf(key)))
  for (const token of [first, child, sibling]) t.equal(await predict(token), 200)
  const response = await revoke(first)
  t.equal(response.statusCode, 200)
  t.equal(response.body, '')
  t.equal(response.headers['cache-control'], 'no-store')
  t.equal(await predict(first), 401)
  t.equal(await predict(child), 401, 'what was made from it, too')
  t.match((await ask(exchangeOf(child))).json(), { error: 'invalid_request' })
  t.equal(await predict(sibling), 200)
  const family = await ask(exchangeOf(key, { scope: 'offline_access' }))
  t.equal(await predict(tokenOf(family)), 200)
  t.equal((await revoke(refreshOf(family))).statusCode, 200)
  t.equal(await predict(tokenOf(family)), 401)
  t.match((await ask({ grant_type: 'refresh_token', refresh_token: refreshOf(family) })).json(), { error: 'invalid_grant' })
  for (const unknown of [refreshOf(family), `fmg_refresh_${'0'.repeat(64)}`, 'fmg_refresh_', `${first.slice(0, -2)}xx`]) t.equal((await revoke(unknown)).statusCode, 200, 'nothing is told of what is not known')
  for (const other of [key, 'opaque', 'a.b.c']) t.match((await revoke(other)).json(), { error: 'unsupported_token_type' })
  t.match((await revoke('')).json(), { error: 'invalid_request' })
})

t.test('what the endpoint depends on is no reason to call a credential bad', async (t) => {
  const families = refreshFamilies({ store: redisRefreshStore({ client: { call: async () => { throw new Error('connection lost') } }, pepper: Buffer.alloc(32) }) })
  const { ask, newKey, revoke } = await tokenServer(t, { endpoint: { families } })
  const { key } = await newKey()
  const token = `fmg_refresh_${'0'.repeat(64)}`
  for (const response of [await ask(exchangeOf(key, { scope: 'offline_access' })), await ask({ grant_type: 'refresh_token', refresh_token: token }), await revoke(token)]) {
    t.equal(response.statusCode, 503)
    t.same(response.json(), { error: 'temporarily_unavailable', error_description: 'a key cannot be reached' })
  }
  t.equal((await ask(exchangeOf(key))).statusCode, 200)
})

t.test('of a fault of the server’s own nothing is told', async (t) => {
  const failing: Authenticator = { authenticate: () => { throw new TypeError('secret detail') } }
  const { ask } = await tokenServer(t, { authenticate: { authenticators: [failing] } })
  const response = await ask(exchangeOf('opaque'))
  t.equal(response.statusCode, 500)
  t.same(response.json(), { error: 'server_error', error_description: 'internal error' })
})

t.test('no tokens are made from what cannot be told to count at every request', async (t) => {
  const { ask } = await tokenServer(t, { authenticate: { authenticators: [testAuthenticator()] } })
  const test = asPrincipal({ id: 'ann' }).headers
  t.match((await ask(own, test)).json(), { error: 'unauthorized_client' })
  const slow = await tokenServer(t)
  const { key } = await slow.newKey()
  const waits: KeyStore = { ...slow.store, recall: undefined, find: async (keyId) => await slow.store.find(keyId) }
  const waiting = await tokenServer(t, { authenticate: { authenticators: [apiKey({ store: waits, pepper: slow.pepper, clock: () => start })] } })
  t.equal((await waiting.app.inject({ url: '/known', headers: { 'x-api-key': key } })).statusCode, 200)
  t.match((await waiting.ask(own, { 'x-api-key': key })).json(), { error: 'unauthorized_client' })
  t.match((await waiting.ask(exchangeOf(key))).json(), { error: 'invalid_request' })
  const gone: KeyStore = { ...slow.store, recall: undefined, find: async () => { throw new Error('connection lost') } }
  const sources = keySources({ store: gone, maxLifetimeDays: 1, clock: () => start })
  t.notOk(sources.vouches({ method: 'api-key', id: 'x' }, requestFacts()))
})

t.test('the refresh token of a browser session is not one of this endpoint', async (t) => {
  const families = refreshFamilies({ store: memoryRefreshStore(), clock: () => start })
  const { ask, reasons } = await tokenServer(t, { endpoint: { families } })
  const terms = { ...termsOf(), via: undefined, binding: undefined }
  for (const content of [JSON.stringify({ kind: 'session', terms }), JSON.stringify({ terms }), '{}', 'ann']) {
    const { token } = await families.begin(content)
    t.match((await ask({ grant_type: 'refresh_token', refresh_token: token })).json(), { error: 'invalid_grant' })
    t.equal(reasons.at(-1), 'refresh-token-of-another-kind')
    t.ok(await families.turn(token), 'and is not used up')
  }
})

t.test('what is registered where it cannot work stops the boot', async (t) => {
  const { app, issuer } = await tokenServer(t)
  const other = Fastify()
  t.teardown(() => other.close())
  await t.rejects(async () => { await other.register(tokenEndpoint, { issuer }) }, { code: 'FST_ERR_PLUGIN_DEPENDENCY_NOT_REGISTERED' })
  t.ok(app)
  t.throws(() => issuedTokens({ issuer, sources: [] }), { code: 'FMG_ERR_OPTION_INVALID', message: /issuedTokens\.sources/ })
  const guarded = Fastify()
  t.teardown(() => guarded.close())
  await guarded.register(modelGuard, guardOptions())
  await t.rejects(async () => { await guarded.register(async (scope) => { await scope.register(tokenEndpoint, { issuer }) }, { prefix: '/api' }) }, { code: 'FMG_ERR_OPTION_INVALID', message: /without a prefix/ })
})

t.test('guesses of refresh tokens, and revocations, are counted by address', async (t) => {
  const { ask, newKey, revoke, reasons } = await tokenServer(t, { authenticate: { edge: { max: 3 } } })
  const { key } = await newKey()
  const guess = `fmg_refresh_${'0'.repeat(64)}`
  const good = refreshOf(await ask(exchangeOf(key, { scope: 'offline_access' })))
  for (const status of [400, 400, 400, 429]) t.equal((await ask({ grant_type: 'refresh_token', refresh_token: guess })).statusCode, status)
  t.equal(reasons.at(-1), 'edge-limit')
  t.equal((await revoke(guess)).statusCode, 429)
  t.equal((await ask({ grant_type: 'refresh_token', refresh_token: good })).statusCode, 200, 'a right one always passes')
})

t.test('of two thousand tokens that were tampered with none counts, nor is exchanged', async (t) => {
  const { app, ask, newKey, predict } = await tokenServer(t, { authenticate: { edge: { max: 100_000 }, failedAttempts: { maxByAddress: 100_000, maxDelayMs: 0 } } })
  const { key } = await newKey()
  const token = tokenOf(await ask(exchangeOf(key)))
  const [header = '', payload = '', signature = ''] = token.split('.')
  const member = fc.constantFrom('iss', 'aud', 'sub', 'exp', 'scope', 'roles', 'org', 'source', 'via', 'cnf', 'principal_type', 'tier')
  const claimed = fc.tuple(member, fc.jsonValue()).map(([name, value]) => `${header}.${Buffer.from(JSON.stringify({ ...decodeJwt(token), [name]: value })).toString('base64url')}.${signature}`)
  const flipped = fc.tuple(fc.nat(token.length - 1), fc.constantFrom('A', 'z', '-', '.', '=', ' ')).map(([at, letter]) => token.slice(0, at) + letter + token.slice(at + 1))
  const cut = fc.nat(token.length - 1).map((at) => token.slice(0, at))
  const swapped = fc.constantFrom(`${payload}.${header}.${signature}`, `${header}.${payload}.`, `${header}.${payload}`, `${token}.${signature}`)
  await fc.assert(fc.asyncProperty(fc.oneof(claimed, flipped, cut, swapped).filter((text) => text !== token && text.trim() !== token), async (text) => {
    const response = await app.inject({ url: '/known', headers: { authorization: `Bearer ${text}` } })
    return response.statusCode === 401 && (await ask(exchangeOf(text))).statusCode === 400
  }), { numRuns: 1000 })
  t.equal(await predict(token), 200)
})

t.test('whatever is asked for, nothing is granted beyond what there was', async (t) => {
  const scope = fc.tuple(fc.constantFrom('model', 'key', '*'), fc.constantFrom('read', 'predict', '*'), fc.constantFrom('', ':a', ':a-1', ':a-*', ':*')).map(([type, action, id]) => `${type}:${action}${id}`)
  const names = fc.subarray([home, 'https://models.example/v2', 'https://features.example', 'https://elsewhere.example'])
  const issuer = { audiences: [home, 'https://models.example/v2'], otherAudiences: ['https://features.example'] }
  fc.assert(fc.property(fc.option(fc.array(scope), { nil: undefined }), fc.option(fc.array(scope, { minLength: 1 }), { nil: undefined }), fc.option(names, { nil: undefined }), names, (limitedTo, scopes, own, audiences) => {
    const { principal, source } = termsOf()
    const holder: Principal = { ...principal, credential: { method: 'api-key', id: 'k1', expiresAt: start, limitedTo } }
    let granted
    try {
      granted = grantToken(holder, { source, binding: null, via: [], audiences: own }, { audiences, isToRefresh: false, scopes }, { key: undefined, certificate: undefined }, issuer)
    } catch (error) {
      return isGuardError(error, 'FMG_ERR_REQUEST_INVALID')
    }
    const withinScopes = limitedTo === undefined || (granted.limitedTo?.every((wanted) => isNarrower(wanted, limitedTo)) ?? false)
    const withinAudiences = granted.audiences.every((name) => issuer.audiences.includes(name) || (issuer.otherAudiences.includes(name) && own?.includes(name) !== false))
    return withinScopes && withinAudiences && granted.audiences.length > 0 && granted.until === start
  }), { numRuns: 5000 })
})

t.test('keys and metadata are there for anyone', async (t) => {
  const { app, issuer } = await tokenServer(t)
  const jwks = await app.inject({ url: '/.well-known/jwks.json' })
  t.same(jwks.json(), issuer.keys.jwks())
  t.match(jwks.headers, { 'content-type': /^application\/jwk-set\+json/, 'cache-control': 'public, max-age=300' })
  const metadata = await app.inject({ url: '/.well-known/oauth-authorization-server' })
  t.match(metadata.json(), {
    issuer: home,
    token_endpoint: `${home}/oauth/token`,
    revocation_endpoint: `${home}/oauth/revoke`,
    jwks_uri: `${home}/.well-known/jwks.json`,
    grant_types_supported: ['client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange', 'refresh_token'],
    dpop_signing_alg_values_supported: ['ES256', 'Ed25519', 'EdDSA']
  })
  const below = await tokenServer(t, { issuer: { issuer: `${home}/guard/` }, endpoint: { families: undefined, dpop: undefined } })
  for (const url of ['/guard/.well-known/jwks.json', '/.well-known/oauth-authorization-server/guard/']) t.equal((await below.app.inject({ url })).statusCode, 200, url)
  const document = (await below.app.inject({ url: '/.well-known/oauth-authorization-server/guard/' })).json<Record<string, unknown>>()
  t.equal(document.token_endpoint, `${home}/guard/oauth/token`)
  t.notOk('dpop_signing_alg_values_supported' in document)
})
