import { decodeJwt, decodeProtectedHeader } from 'jose'
import t from 'tap'
import { browserSessions } from '../../src/authn/browser-sessions.ts'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { refreshFamilies } from '../../src/authn/refresh-families.ts'
import { html } from '../../src/plugins/html.ts'
import { login } from '../../src/plugins/login.ts'
import { authenticate } from '../../src/plugins/authenticate.ts'
import Fastify from 'fastify'
import { requestFacts } from '../helpers/facts.ts'
import { issuerAt, termsOf } from '../helpers/issuer.ts'
import { githubOptions, loginWorld, origin, secret } from '../helpers/login.ts'
import { memberOf, textOf } from '../helpers/json.ts'

const sessionCookie = '__Host-model-guard-session'
const refreshCookie = '__Host-model-guard-refresh'
const person = { id: 'https://github.com|1', type: 'user', org: 'acme', tier: 'standard', roles: ['analyst'], scopes: [], attributes: {} } as const
const own = requestFacts({ initiator: { site: 'same-origin', mode: 'cors', origin } })
const bad = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })
const form = { 'content-type': 'application/x-www-form-urlencoded' }

t.test('a session is a short token of a type of its own, for this server alone', async (t) => {
  const { sessions, time } = await loginWorld(t)
  const session = await sessions.begin(person, 'https://github.com', { secretOfGithub: 'canary' })
  t.match(decodeProtectedHeader(session.token), { typ: 'session+jwt' })
  t.match(decodeJwt(session.token), { sub: person.id, sid: session.id, aud: ['https://models.example'], source: { method: 'session', issuer: 'https://github.com' } })
  t.equal(session.expiresAt, time.now + 600_000)
  t.match(session.principal, { ...person, credential: { method: 'session', id: session.id, issuer: 'https://github.com', expiresAt: session.expiresAt } })
  t.match(await sessions.authenticator.authenticate({ scheme: 'cookie', value: session.token }, own), session.principal)
  t.match(await sessions.find(session.refreshToken), { id: session.id, kept: { secretOfGithub: 'canary' } })
})

t.test('what a session keeps of its provider is in no store in the clear', async (t) => {
  const kept: string[] = []
  const store = memoryRefreshStore()
  const families = refreshFamilies({ store: { ...store, begin: async (family, digest, now) => { kept.push(JSON.stringify([family, digest])); await store.begin(family, digest, now) } } })
  const sessions = browserSessions({ origin, tokens: await issuerAt(t, { now: Date.now() }), families, secret })
  const { refreshToken } = await sessions.begin(person, 'https://github.com', { accessToken: 'gho_canary' })
  t.equal(kept.length, 1)
  t.notMatch(kept.join(), /canary/)
  t.notMatch(kept.join(), refreshToken)
})

t.test('neither token of a session passes for an access token, nor the other way about', async (t) => {
  const { sessions, issuer, families, app, browser } = await loginWorld(t)
  const session = await sessions.begin(person, 'https://github.com', {})
  for (const value of [session.token, session.refreshToken]) t.equal((await app.inject({ url: '/known', headers: { authorization: `Bearer ${value}` } })).statusCode, 401)
  const access = issuer.issue('at+jwt', termsOf({ source: { method: 'session', id: session.id } })).token
  await t.rejects(async () => { await sessions.authenticator.authenticate({ scheme: 'cookie', value: access }, own) }, { code: 'FMG_ERR_CREDENTIAL_INVALID' })
  await t.rejects(async () => { await sessions.authenticator.authenticate({ scheme: 'cookie', value: session.refreshToken }, own) }, { code: 'FMG_ERR_CREDENTIAL_INVALID' })
  t.equal(await sessions.authenticator.authenticate({ scheme: 'bearer', value: session.token }, own), null)

  const refreshed = await app.inject({ method: 'POST', url: '/oauth/token', headers: form, payload: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: session.refreshToken }).toString() })
  t.match(refreshed.statusCode, 400)
  t.equal(memberOf(refreshed.json(), 'error'), 'invalid_grant')
  browser.plant(origin, refreshCookie, (await families.begin('of a client')).token)
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
  await t.rejects(sessions.find((await families.begin('of a client')).token), bad('session-not-of-a-browser'))
})

t.test('a session is exchanged for a token that ends with its short life, and with its logout', async (t) => {
  const { browser, app, time, github } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const exchange = async (body = 'grant_type=client_credentials'): Promise<{ status: number, text: string }> => await browser.ask(`${origin}/oauth/token`, { method: 'POST', headers: form, body })
  time.now += 200_000
  const answer: unknown = JSON.parse((await exchange()).text)
  t.match(answer, { token_type: 'Bearer', expires_in: 400 })
  const token = textOf(memberOf(answer, 'access_token'))
  const known = async (value: string): Promise<{ statusCode: number, body: string }> => await app.inject({ url: '/known', headers: { authorization: `Bearer ${value}` } })
  t.match(await known(token), { statusCode: 200, body: `${github.url}|583231` })
  t.notOk('refresh_token' in Object(JSON.parse((await exchange('grant_type=client_credentials&scope=offline_access')).text)), 'there is nothing to refresh: the provider must be asked')
  await browser.submit(`${origin}/logout`)
  t.equal((await known(token)).statusCode, 401)
})

t.test('another site exchanges nobody\'s session', async (t) => {
  const { browser, app } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const headers = { ...form, cookie: `${sessionCookie}=${browser.cookies(origin).get(sessionCookie) ?? ''}` }
  const payload = 'grant_type=client_credentials'
  t.equal((await app.inject({ method: 'POST', url: '/oauth/token', headers: { ...headers, 'sec-fetch-site': 'same-origin' }, payload })).statusCode, 200)
  for (const from of [{ 'sec-fetch-site': 'same-site' }, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }, { origin: 'https://evil.example' }, {}]) {
    t.equal((await app.inject({ method: 'POST', url: '/oauth/token', headers: { ...headers, ...from }, payload })).statusCode, 401, JSON.stringify(from))
  }
})

t.test('a session that was verified before is recalled, until it is over', async (t) => {
  const { sessions, time } = await loginWorld(t)
  const { authenticator } = sessions
  const first = await sessions.begin(person, 'https://github.com', {})
  const presented = { scheme: 'cookie', value: first.token }
  t.equal(authenticator.recall?.(presented, own), null, 'nobody has looked at it yet')
  const principal = await authenticator.authenticate(presented, own)
  t.equal(authenticator.recall?.(presented, own), principal)
  t.equal(await authenticator.authenticate(presented, own), principal)
  t.equal(authenticator.recall?.({ ...presented, scheme: 'bearer' }, own), null)
  const elsewhere = requestFacts({ initiator: { site: 'cross-site', mode: 'cors', origin: 'https://evil.example' } })
  t.equal(authenticator.recall?.(presented, elsewhere), null)
  await t.rejects(async () => { await authenticator.authenticate(presented, elsewhere) }, bad('session-cross-site'))
  await sessions.end(first.id)
  t.equal(authenticator.recall?.(presented, own), null)
  await t.rejects(async () => { await authenticator.authenticate(presented, own) }, bad('session-over'))

  const second = await sessions.begin(person, 'https://github.com', {})
  await authenticator.authenticate({ scheme: 'cookie', value: second.token }, own)
  time.now += 600_000
  t.equal(authenticator.recall?.({ scheme: 'cookie', value: second.token }, own), null)
})

t.test('while nobody knows whether a session was ended, it does not count', async (t) => {
  const state: { denies: false | 'unknown' } = { denies: false }
  const { sessions } = await loginWorld(t, { tokens: { denyList: { denies: () => state.denies, deny: () => undefined, size: 0 } } })
  const { authenticator } = sessions
  const presented = { scheme: 'cookie', value: (await sessions.begin(person, 'https://github.com', {})).token }
  t.ok(await authenticator.authenticate(presented, own))
  state.denies = 'unknown'
  t.equal(authenticator.recall?.(presented, own), null)
  await t.rejects(async () => { await authenticator.authenticate(presented, own) }, { code: 'FMG_ERR_DENY_LIST_UNAVAILABLE' })
})

t.test('a session vouches for what was made from it, and for nothing else', async (t) => {
  const { sessions } = await loginWorld(t)
  const { authenticator } = sessions
  const session = await sessions.begin(person, 'https://github.com', {})
  t.equal(authenticator.sourceOf?.(session.principal), null, 'which it has not seen presented')
  const principal = await authenticator.authenticate({ scheme: 'cookie', value: session.token }, own)
  const from = principal === null ? null : authenticator.sourceOf?.(principal) ?? null
  t.match(from, { source: { method: 'session', id: session.id, session: session.id, expiresAt: session.expiresAt }, binding: null, via: [/^\w{22}$/] })
  if (from === null) return
  t.equal(authenticator.vouches?.(from.source, own), true)
  for (const changed of [{ method: 'jwt' as const }, { session: undefined }, { subject: undefined }, { issuedAt: undefined }]) t.equal(authenticator.vouches?.({ ...from.source, ...changed }, own), false, JSON.stringify(changed))
  await sessions.end(session.id)
  t.equal(authenticator.vouches?.(from.source, own), false)
})

t.test('options that are not understood stop the boot', async (t) => {
  const { sessions, github, families, issuer } = await loginWorld(t)
  const good = { origin, tokens: issuer, families, secret }
  for (const wrong of ['https://models.example/', 'https://models.example/a', 'http://models.example', 'models.example', 'https://ann@models.example']) {
    t.throws(() => browserSessions({ ...good, origin: wrong }), { code: 'FMG_ERR_OPTION_INVALID', message: /browserSessions\.origin/ }, wrong)
  }
  const { sessionCookie: name, refreshCookie: other } = browserSessions({ ...good, origin: 'http://127.0.0.1:3000' })
  t.same([name, other], ['model-guard-session', 'model-guard-refresh'], 'http of this machine alone goes without')

  const way = githubOptions(github)
  const options: readonly (readonly [providers: readonly unknown[], path: RegExp])[] = [
    [[], /login\.providers must be/], [[way, way], /each id once/], [[{ ...way, kind: 'gitlab' }], /login\.providers\[0\]\.kind/], [['github'], /login\.providers\[0\]\.kind/], [[way, { ...way, id: 'x', tier: 7 }], /login\.providers\[1\]\.tier/]
  ]
  for (const [providers, message] of options) {
    const app = Fastify()
    await t.rejects(async () => { await app.register(login, { sessions, providers: providers as [] }) }, { code: 'FMG_ERR_OPTION_INVALID', message }, String(message))
  }
  const app = Fastify()
  await t.rejects(async () => { await app.register(authenticate, { authenticators: [sessions.authenticator, sessions.authenticator] }) }, { code: 'FMG_ERR_OPTION_INVALID', message: /one cookie/ })
})

t.test('a login needs no guard around it, and leaves a server\'s own forms alone', async (t) => {
  const { sessions, github } = await loginWorld(t)
  const app = Fastify()
  t.teardown(() => app.close())
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => { done(null, body) })
  app.post('/form', async ({ body }) => ({ body }))
  await app.register(login, { prefix: '/people', sessions, providers: [githubOptions(github)] })
  t.match((await app.inject({ url: '/people/login', headers: { accept: 'text/html' } })).body, `href="${origin}/people/login/github"`)
  t.same((await app.inject({ method: 'POST', url: '/form', headers: form, payload: 'a=b' })).json(), { body: 'a=b' })
  t.match((await app.inject('/people/login/github')).headers.location, encodeURIComponent(`${origin}/people/login/github/callback`))
  t.match((await app.inject({ url: '/people/login/github/callback', headers: { accept: 'application/json' } })).json(), { code: 'FMG_ERR_REQUEST_INVALID', message: 'the request is not valid: the state is not of this server' })
})

t.test('a template of HTML escapes what is put in, and nothing else', async (t) => {
  const inner = html`<b>${'<&>'}</b>`
  t.equal(html`<a href="${'"\''}">${inner}${[inner, inner]}${undefined}${7}</a>`.text, '<a href="&quot;&#39;"><b>&lt;&amp;&gt;</b><b>&lt;&amp;&gt;</b><b>&lt;&amp;&gt;</b>7</a>')
})
