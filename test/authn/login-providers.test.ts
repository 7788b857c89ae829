import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import t, { type Test } from 'tap'
import { fixedKeys, usableKeys } from '../../src/authn/key-set.ts'
import { checkIdToken, type IdTokenRules } from '../../src/authn/id-token.ts'
import type { LoginProvider } from '../../src/authn/login-provider.ts'
import { memberPrincipal } from '../../src/authn/membership.ts'
import { openidLogin } from '../../src/authn/openid-login.ts'
import { githubLogin } from '../../src/authn/github-login.ts'
import { listen } from '../helpers/listen.ts'
import { nowSeconds, signed, testIssuer } from '../helpers/tokens.ts'

const now = nowSeconds * 1000
const home = testIssuer()
const client = { aud: 'client-1', client_id: undefined, jti: undefined, nonce: 'n-1' }
const rules: IdTokenRules = { issuer: home.issuer, clientId: 'client-1', algorithms: ['ES256'], keys: fixedKeys(usableKeys([home.jwk], ['ES256'])), clockToleranceSeconds: 5 }
const context = { accessToken: 'access', nonce: 'n-1', now }
const bad = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })
const halfOf = (hash: string, text: string): string => {
  const digest = createHash(hash).update(text).digest()
  return digest.subarray(0, digest.length / 2).toString('base64url')
}

t.test('an ID token is taken when everything in it is as it should be', async (t) => {
  const header = { typ: 'JWT' }
  const good: readonly Record<string, unknown>[] = [{}, { aud: ['client-1'] }, { azp: 'client-1' }, { at_hash: halfOf('sha256', 'access') }]
  for (const claims of good) t.match(await checkIdToken(home.token({ ...client, ...claims }, header), rules, context), { sub: 'ann' }, JSON.stringify(claims))
  t.match(await checkIdToken(home.token(client, { typ: undefined }), rules, context), { sub: 'ann' }, 'without a type, as many providers write it')
  t.match(await checkIdToken(home.token({ ...client, nonce: undefined }, header), rules, { ...context, nonce: null }), { sub: 'ann' }, 'when a session is renewed')
})

t.test('an ID token of another time, issuer, client or login is refused', async (t) => {
  const table: readonly (readonly [claims: Record<string, unknown>, reason: string])[] = [
    [{ iss: 'https://other.example' }, 'jwt-issuer'],
    [{ iss: undefined }, 'jwt-issuer'],
    [{ aud: 'client-2' }, 'jwt-audience'],
    [{ aud: undefined }, 'jwt-audience'],
    [{ aud: ['client-1', 'client-2'], azp: 'client-1' }, 'id-token-other-audience'],
    [{ azp: 'client-2' }, 'id-token-party'],
    [{ azp: null }, 'id-token-party'],
    [{ sub: undefined }, 'jwt-subject'],
    [{ sub: 7 }, 'jwt-subject'],
    [{ exp: nowSeconds - 5 }, 'jwt-expired'],
    [{ exp: undefined }, 'jwt-expired'],
    [{ exp: nowSeconds + 90_000 }, 'jwt-lifetime'],
    [{ iat: undefined }, 'jwt-issued-at'],
    [{ iat: nowSeconds + 6 }, 'jwt-issued-at'],
    [{ nbf: nowSeconds + 6 }, 'jwt-not-yet-valid'],
    [{ nonce: 'n-2' }, 'id-token-nonce'],
    [{ nonce: undefined }, 'id-token-nonce'],
    [{ at_hash: halfOf('sha256', 'another') }, 'id-token-access-token'],
    [{ at_hash: halfOf('sha512', 'access') }, 'id-token-access-token'],
    [{ at_hash: null }, 'id-token-access-token']
  ]
  for (const [claims, reason] of table) await t.rejects(checkIdToken(home.token({ ...client, ...claims }, { typ: 'JWT' }), rules, context), bad(reason), JSON.stringify(claims))
})

t.test('an ID token is one, signed by its issuer by an algorithm that is expected', async (t) => {
  const header = { typ: 'JWT' }
  await t.rejects(checkIdToken(home.token(client), rules, context), bad('jwt-type'), 'an access token')
  await t.rejects(checkIdToken(home.token(client, { typ: 'logout+jwt' }), rules, context), bad('jwt-type'))
  await t.rejects(checkIdToken(home.token(client, { ...header, alg: 'none' }), rules, context), bad('id-token-algorithm'))
  await t.rejects(checkIdToken(home.token(client, { ...header, alg: 'HS256' }), rules, context), bad('id-token-algorithm'))
  await t.rejects(checkIdToken(home.token(client, { ...header, kid: 'two' }), rules, context), bad('id-token-key-unknown'))
  await t.rejects(checkIdToken(testIssuer().token(client, header), rules, context), bad('jws-signature'))
  await t.rejects(checkIdToken(signed(home.privateKey, { alg: 'ES256', kid: 'one' }, '{"sub":"a","sub":"b"}'), rules, context), bad('id-token-malformed'))
  await t.rejects(checkIdToken('opaque', rules, context), bad('jws-malformed'))
})

t.test('the hash of the access token is that of the algorithm', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const jwk = publicKey.export({ format: 'jwk' })
  for (const algorithm of ['EdDSA', 'Ed25519'] as const) {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const tokenWith = (hash: string): string => {
      const input = `${part({ alg: algorithm })}.${part({ iss: home.issuer, aud: 'client-1', sub: 'ann', iat: nowSeconds, exp: nowSeconds + 60, nonce: 'n-1', at_hash: halfOf(hash, 'access') })}`
      return `${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`
    }
    const edwards: IdTokenRules = { ...rules, algorithms: [algorithm], keys: fixedKeys(usableKeys([jwk], [algorithm])) }
    t.match(await checkIdToken(tokenWith('sha512'), edwards, context), { sub: 'ann' })
    await t.rejects(checkIdToken(tokenWith('sha256'), edwards, context), bad('id-token-access-token'))
  }
})

/** A provider of this machine that answers these, and what its ID tokens are made with. */
async function provider (t: Test, answers: Record<string, unknown>, options: Record<string, unknown> = {}): Promise<{ way: LoginProvider, url: string, time: { now: number }, asked: string[], answers: Record<string, unknown> }> {
  const asked: string[] = []
  const { url } = await listen(t, (request, response) => {
    const path = String(request.url)
    asked.push(path)
    const answer = answers[path]
    if (typeof answer === 'number') response.writeHead(answer)
    response.end(typeof answer === 'number' ? '' : JSON.stringify(answer ?? null))
  })
  answers['/.well-known/openid-configuration'] ??= { issuer: url, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token`, userinfo_endpoint: `${url}/me`, jwks_uri: `${url}/jwks` }
  answers['/jwks'] ??= { keys: [home.jwk] }
  const time = { now }
  const clientSecret = { read: async () => Buffer.from('s') }
  const way = openidLogin({ kind: 'openid', id: 'acme', label: 'Acme', issuer: url, clientId: 'client-1', clientSecret, members: [{ is: 'ml', roles: ['analyst'] }], tier: 'standard', ...options }, 'x', fetch, () => time.now)
  return { way, url, time, asked, answers }
}

t.test('a provider is known by its metadata, which is asked for when it is needed, and again when it is old', async (t) => {
  const { way, url, asked, time } = await provider(t, {})
  t.same(asked, [])
  t.match(await way.endpoints(), { authorization: `${url}/auth`, token: `${url}/token`, clientSecretIn: 'header' })
  time.now += 599_999
  await way.endpoints()
  t.equal(asked.length, 1)
  time.now += 1
  await way.endpoints()
  t.equal(asked.length, 2)
})

t.test('metadata of another issuer, or that leads elsewhere, is none', async (t) => {
  const { way, url, answers, time } = await provider(t, {})
  const good = { issuer: url, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token` }
  const table: readonly unknown[] = [
    null, [], 404, { ...good, issuer: 'https://other.example' }, { ...good, issuer: undefined }, { ...good, authorization_endpoint: undefined }, { ...good, token_endpoint: undefined },
    { ...good, token_endpoint: 'http://other.example/token' }, { ...good, authorization_endpoint: 'javascript:alert(1)' }, { ...good, userinfo_endpoint: 'http://other.example/me' }, { ...good, token_endpoint: 7 }
  ]
  for (const document of table) {
    answers['/.well-known/openid-configuration'] = document
    time.now += 600_000
    await t.rejects(way.endpoints(), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' }, JSON.stringify(document))
  }
  answers['/.well-known/openid-configuration'] = { ...good, token_endpoint_auth_methods_supported: ['client_secret_post'] }
  t.match(await way.endpoints(), { clientSecretIn: 'body' })
  time.now += 600_000
  answers['/.well-known/openid-configuration'] = { ...good, token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'] }
  t.match(await way.endpoints(), { clientSecretIn: 'header' })
})

t.test('metadata of a provider elsewhere does not lead to this machine', async (t) => {
  const document = { issuer: 'https://login.example', authorization_endpoint: 'https://login.example/auth', token_endpoint: 'http://127.0.0.1:6379/' }
  const clientSecret = { read: async () => Buffer.from('s') }
  const options = { kind: 'openid', id: 'acme', label: 'Acme', issuer: 'https://login.example', clientId: 'client-1', clientSecret, members: [], tier: 'standard' }
  const answering = async (): Promise<Response> => new Response(JSON.stringify(document))
  await t.rejects(openidLogin(options, 'x', answering, () => now).endpoints(), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' })
})

t.test('an answer names its provider where the provider says so, and never another', async (t) => {
  const { way, url, answers, time } = await provider(t, {})
  await way.checkIssuer(undefined)
  await way.checkIssuer(url)
  for (const iss of ['https://other.example', '', [url], 7]) await t.rejects(way.checkIssuer(iss), bad('login-issuer'), JSON.stringify(iss))
  answers['/.well-known/openid-configuration'] = { issuer: url, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token`, authorization_response_iss_parameter_supported: true }
  time.now += 600_000
  await way.checkIssuer(url)
  await t.rejects(way.checkIssuer(undefined), bad('login-issuer'))
})

t.test('whose the tokens are, ID token and userinfo say alike', async (t) => {
  const { way, url, answers } = await provider(t, { '/me': { sub: 'ann', groups: ['ml'], name: 'Ann' } })
  const idToken = signed(home.privateKey, { alg: 'ES256', kid: 'one' }, { iss: url, aud: 'client-1', sub: 'ann', iat: nowSeconds, exp: nowSeconds + 60, nonce: 'n-1' })
  const tokens = { accessToken: 'access', refreshToken: undefined, idToken }
  t.match(await way.identify(tokens, 'n-1'), { id: `${url}|ann`, roles: ['analyst'], attributes: { name: 'Ann' } })
  t.match(await way.identify({ ...tokens, idToken: undefined }, null), { id: `${url}|ann` }, 'when a session is renewed')
  await t.rejects(way.identify({ ...tokens, idToken: undefined }, 'n-1'), bad('id-token-missing'))
  await t.rejects(way.identify(tokens, 'n-2'), bad('id-token-nonce'))
  answers['/me'] = { sub: 'ann', preferred_username: 'annie', groups: 'ml' }
  t.match(await way.identify(tokens, 'n-1'), { attributes: { name: 'annie' } }, 'a claim of one word')
  for (const groups of [['ml2'], [], undefined, 'mlx', { ml: true }]) {
    answers['/me'] = { sub: 'ann', groups }
    await t.rejects(way.identify(tokens, 'n-1'), { code: 'FMG_ERR_ACCESS_DENIED', reason: 'login-not-a-member' }, JSON.stringify(groups))
  }
  for (const me of [{ sub: 'eve', groups: ['ml'] }, { sub: '', groups: ['ml'] }, { sub: 7, groups: ['ml'] }]) {
    answers['/me'] = me
    await t.rejects(way.identify(tokens, 'n-1'), bad('userinfo-subject'), JSON.stringify(me))
  }
  for (const me of [{ groups: ['ml'] }, { sub: '', groups: ['ml'] }]) {
    answers['/me'] = me
    await t.rejects(way.identify({ ...tokens, idToken: undefined }, null), bad('userinfo-subject'), JSON.stringify(me))
  }
  answers['/me'] = ['ml']
  await t.rejects(way.identify(tokens, 'n-1'), bad('userinfo-malformed'))
  answers['/me'] = 401
  await t.rejects(way.identify(tokens, 'n-1'), bad('issuer-refused'))
  answers['/me'] = 500
  await t.rejects(way.identify(tokens, 'n-1'), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' })
})

t.test('where a provider has no userinfo, its ID token says it all', async (t) => {
  const { way, url, answers } = await provider(t, {}, { members: [{ claim: ['realm', 'groups'], is: 'ml', roles: ['analyst'] }] })
  answers['/.well-known/openid-configuration'] = { issuer: url, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token`, jwks_uri: `${url}/jwks` }
  const idToken = signed(home.privateKey, { alg: 'ES256', kid: 'one' }, { iss: url, aud: 'client-1', sub: 'ann', iat: nowSeconds, exp: nowSeconds + 60, nonce: 'n-1', realm: { groups: ['ml'] } })
  t.match(await way.identify({ accessToken: 'access', refreshToken: undefined, idToken }, 'n-1'), { id: `${url}|ann`, roles: ['analyst'] })
})

t.test('each GitHub is asked where its API is', async (t) => {
  const asked: string[] = []
  const answering = async (url: string): Promise<Response> => {
    asked.push(url)
    return new Response('', { status: 500 })
  }
  const options = { kind: 'github', clientId: 'c', clientSecret: { read: async () => Buffer.from('s') }, members: [], tier: 'standard' }
  const table: readonly (readonly [more: Record<string, unknown>, issuer: string, api: string])[] = [
    [{}, 'https://github.com', 'https://api.github.com/user'],
    [{ url: 'https://github.com/' }, 'https://github.com', 'https://api.github.com/user'],
    [{ url: 'https://acme.ghe.com' }, 'https://acme.ghe.com', 'https://api.acme.ghe.com/user'],
    [{ url: 'https://git.acme.example' }, 'https://git.acme.example', 'https://git.acme.example/api/v3/user'],
    [{ url: 'https://a.b.ghe.com' }, 'https://a.b.ghe.com', 'https://a.b.ghe.com/api/v3/user'],
    [{ apiUrl: 'https://api.acme.example/' }, 'https://github.com', 'https://api.acme.example/user']
  ]
  for (const [more, issuer, api] of table) {
    const way = githubLogin({ ...options, ...more }, 'x', answering)
    await t.rejects(way.identify({ accessToken: 'a', refreshToken: undefined, idToken: undefined }, ''), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' })
    t.same([way.issuer, asked.pop(), (await way.endpoints()).token], [issuer, api, `${issuer}/login/oauth/access_token`])
    await way.checkIssuer('https://github.com/login/oauth')
  }
})

t.test('options of a login that are not understood stop the boot, by their place', async (t) => {
  const clientSecret = { read: async () => Buffer.from('s') }
  const github = { kind: 'github', clientId: 'c', clientSecret, members: [{ org: 'acme', roles: [] }], tier: 'standard' }
  const openid = { kind: 'openid', id: 'acme', label: 'Acme', issuer: 'https://login.example', clientId: 'c', clientSecret, members: [{ is: 'ml', roles: [] }], tier: 'standard' }
  const wrong: readonly (readonly [kind: 'github' | 'openid', more: Record<string, unknown>, path: string])[] = [
    ['github', { id: 'Git' }, 'p.id'], ['github', { id: '../x' }, 'p.id'], ['github', { url: 'http://git.example' }, 'p.url'], ['github', { url: 'https://git.example/a|b' }, 'p.url'], ['github', { clientSecret: 'text' }, 'p.clientSecret'], ['github', { members: [{ org: 0, roles: [] }] }, 'p.members[0].org'],
    ['github', { members: [{ org: '', roles: [] }] }, 'p.members[0].org'], ['github', { members: [{ org: 'a', roles: 'x' }] }, 'p.members[0].roles'], ['github', { members: [{ roles: [] }] }, 'p.members[0].org'], ['github', { tier: undefined }, 'p.tier'], ['github', { secret: 'x' }, 'p.secret'],
    ['openid', { issuer: 'http://login.example' }, 'p.issuer'], ['openid', { issuer: 'https://login.example/a|b' }, 'p.issuer'], ['openid', { algorithms: ['HS256'] }, 'p.algorithms[0]'], ['openid', { members: [{ claim: 7, is: 'ml', roles: [] }] }, 'p.members[0].claim'], ['openid', { members: [{ roles: [] }] }, 'p.members[0].is'], ['openid', { id: undefined }, 'p.id']
  ]
  for (const [kind, more, path] of wrong) {
    const read = (): LoginProvider => kind === 'github' ? githubLogin({ ...github, ...more }, 'p', fetch) : openidLogin({ ...openid, ...more }, 'p', fetch, Date.now)
    t.throws(read, { code: 'FMG_ERR_OPTION_INVALID', message: `option invalid: ${path}` }, path)
  }
  t.same(openidLogin({ ...openid, scopes: ['profile', 'openid'] }, 'p', fetch, Date.now).scopes, ['openid', 'profile'])
})

t.test('members get what was granted them, in the org that gave it', async (t) => {
  const person = { issuer: 'https://github.com', subject: '12345', name: 'ann' }
  const acme = { roles: ['viewer'], principalOrg: 'acme', principalTeam: 'ml', tier: 'gold' }
  const partner = { roles: ['admin'], principalOrg: 'partner', principalTeam: undefined, tier: undefined }
  const more = { roles: ['analyst', 'viewer'], principalOrg: 'acme', principalTeam: 'other', tier: 'other' }
  t.same(memberPrincipal(person, [acme, partner, more], 'standard'), { id: 'https://github.com|12345', type: 'user', org: 'acme', team: 'ml', tier: 'gold', roles: ['viewer', 'analyst'], scopes: [], attributes: { name: 'ann' } })
  t.same(memberPrincipal({ ...person, name: undefined }, [{ roles: ['viewer'] }], 'standard'), { id: 'https://github.com|12345', type: 'user', tier: 'standard', roles: ['viewer'], scopes: [], attributes: {} })
  t.throws(() => memberPrincipal(person, [], 'standard'), { code: 'FMG_ERR_ACCESS_DENIED', reason: 'login-not-a-member' })
})
