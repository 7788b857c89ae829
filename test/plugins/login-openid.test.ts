import { generateKeyPairSync } from 'node:crypto'
import type { RequestListener } from 'node:http'
import Provider, { type Configuration } from 'oidc-provider'
import t, { type Test } from 'tap'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { browserSessions } from '../../src/authn/browser-sessions.ts'
import { refreshFamilies } from '../../src/authn/refresh-families.ts'
import { login } from '../../src/plugins/login.ts'
import { browser, type Browser } from '../helpers/browser.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'
import { issuerAt } from '../helpers/issuer.ts'
import { listen } from '../helpers/listen.ts'
import { asks, origin, secret } from '../helpers/login.ts'

const key = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'ES256' }
const clientSecret = 'a secret: of (a) client+%2F'

interface Directory {
  /** Who is logged in at the provider, in whatever browser comes. */
  person: string
  groups: readonly string[]
  /** The account was deleted: its tokens are good for nothing. */
  gone?: boolean
}

/** An OpenID provider at which people log in without a click. */
async function startProvider (t: Test, directory: Directory, more: Partial<Configuration> = {}): Promise<string> {
  let handler: RequestListener = () => undefined
  const { url } = await listen(t, (request, response) => { handler(request, response) })
  const provider = new Provider(url, {
    clients: [{ client_id: 'app', client_secret: clientSecret, id_token_signed_response_alg: 'ES256', grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [`${origin}/login/acme/callback`], response_types: ['code'] }],
    jwks: { keys: [key] },
    cookies: { keys: ['a'] },
    scopes: ['openid', 'offline_access', 'groups'],
    claims: { openid: ['sub'], groups: ['groups'] },
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    issueRefreshToken: async () => true,
    rotateRefreshToken: true,
    findAccount: async (_ctx, id) => directory.gone === true ? undefined : { accountId: id, claims: async () => ({ sub: id, groups: directory.groups }) },
    async loadExistingGrant ({ oidc }) {
      const grant = new oidc.provider.Grant({ clientId: 'app', accountId: String(oidc.session?.accountId) })
      grant.addOIDCScope('openid offline_access groups')
      await grant.save()
      return grant
    },
    ...more
  })
  const answer = provider.callback()
  handler = (request, response) => {
    if (request.url?.startsWith('/interaction/') === true) void provider.interactionFinished(request, response, { login: { accountId: directory.person } })
    else void answer(request, response)
  }
  return url
}

async function world (t: Test, directory: Directory, options: Record<string, unknown> = {}, provider: Partial<Configuration> = {}): Promise<{ issuer: string, newBrowser: () => Browser, log: string[] }> {
  const issuer = await startProvider(t, directory, provider)
  const sessions = browserSessions({ origin, tokens: await issuerAt(t, { now: Date.now() }), families: refreshFamilies({ store: memoryRefreshStore() }), secret })
  const log: string[] = []
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [sessions.authenticator] } }), { trustProxy: true, logger: { level: 'trace', stream: { write: (line) => { log.push(line) } } } })
  const acme = { kind: 'openid', id: 'acme', label: 'Acme', issuer, clientId: 'app', clientSecret: { read: async () => Buffer.from(clientSecret) }, scopes: ['groups', 'offline_access'], members: [{ is: 'ml', roles: ['analyst'], principalOrg: 'acme' }], tier: 'standard' } as const
  await app.register(login, { sessions, providers: [{ ...acme, ...options }] })
  return { issuer, log, newBrowser: () => browser(asks(app)) }
}

t.test('who logs in by an OpenID provider has the id of its access tokens, and roles by group', async (t) => {
  const directory = { person: 'ann', groups: ['ml', 'other'] }
  const { issuer, newBrowser } = await world(t, directory)
  const ann = newBrowser()
  t.match(await ann.visit(`${origin}/login/acme?returnTo=/known`), { status: 200, url: `${origin}/known`, text: `${issuer}|ann` })
  t.equal((await ann.ask(`${origin}/models/acme-fraud`, { method: 'POST', headers: { 'content-type': 'application/json' } })).status, 400)
  for (let index = 0; index < 3; index++) t.equal((await ann.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204, 'by the provider\'s refresh token, which rotates')
  t.match(await ann.ask(`${origin}/known`), { text: `${issuer}|ann` })
  directory.groups = ['other']
  t.equal((await ann.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 403)
  t.equal((await ann.ask(`${origin}/known`)).status, 401)
  t.match(await newBrowser().visit(`${origin}/login/acme`), { status: 403, text: /You may not come in/ })
})

t.test('without a refresh token of the provider its access token is asked by, as long as it counts', async (t) => {
  const directory = { person: 'ann', groups: ['ml'], gone: false }
  const { issuer, newBrowser } = await world(t, directory, {}, { issueRefreshToken: async () => false })
  const ann = newBrowser()
  t.match(await ann.visit(`${origin}/login/acme?returnTo=/known`), { text: `${issuer}|ann` })
  t.equal((await ann.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204)
  directory.gone = true
  t.equal((await ann.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
  t.equal((await ann.ask(`${origin}/known`)).status, 401)
})

t.test('the log of a login holds no code, state or token', async (t) => {
  const { newBrowser, log } = await world(t, { person: 'ann', groups: ['ml'] })
  const ann = newBrowser()
  const back = new URL((await ann.visit(`${origin}/login/acme`, { until: `${origin}/login/acme/callback` })).url)
  await ann.visit(back.href, { from: 'https://login.example' })
  await ann.visit(`${origin}/login?returnTo=/known`)
  await ann.submit(`${origin}/logout`)
  const text = log.join('')
  t.match(text, '"route":"/login/:provider/callback"')
  for (const name of ['code', 'state']) t.notMatch(text, back.searchParams.get(name) ?? '')
  t.notMatch(text, /fmg_refresh_|eyJ/)
})

t.test('an answer of another provider, or of none, is refused before its code is used', async (t) => {
  const { newBrowser } = await world(t, { person: 'ann', groups: ['ml'] })
  const ann = newBrowser()
  for (const iss of ['https://evil.example', undefined]) {
    const back = new URL((await ann.visit(`${origin}/login/acme`, { until: `${origin}/login/acme/callback` })).url)
    t.ok(back.searchParams.has('iss'))
    if (iss === undefined) back.searchParams.delete('iss')
    else back.searchParams.set('iss', iss)
    t.match(await ann.visit(back.href, { from: 'https://login.example' }), { status: 401, text: /login-issuer/ })
  }
})

t.test('a code is good for the login it was given to, and once', async (t) => {
  const { newBrowser } = await world(t, { person: 'ann', groups: ['ml'] })
  const ann = newBrowser()
  const callback = `${origin}/login/acme/callback`
  const first = new URL((await ann.visit(`${origin}/login/acme`, { until: callback })).url)
  const second = new URL((await ann.visit(`${origin}/login/acme`, { until: callback })).url)
  const injected = new URL(second)
  injected.searchParams.set('code', first.searchParams.get('code') ?? '')
  t.match(await ann.visit(injected.href, { from: 'https://login.example' }), { status: 401, text: /login-code-refused/ }, 'the verifier is that of another login')
})

t.test('an ID token is good for the login it was asked for', async (t) => {
  const { issuer, newBrowser } = await world(t, { person: 'ann', groups: ['ml'] })
  const ann = newBrowser()
  const there = new URL((await ann.visit(`${origin}/login/acme`, { until: issuer })).url)
  t.match(there.searchParams.get('nonce'), /^\w{43}$/)
  there.searchParams.set('nonce', 'of-another-login')
  t.match(await ann.visit(there.href, { from: origin }), { status: 401, text: /id-token-nonce/ })
})

t.test('a server that the provider does not know says so in its log, and shows nobody its secret', async (t) => {
  for (const [canary, said] of [['wrong-canary', /invalid_client/], ['ä-canary', /client-secret-malformed/], ['', /client-secret-malformed/]] as const) {
    const { newBrowser, log } = await world(t, { person: 'ann', groups: ['ml'] }, { clientSecret: { read: async () => Buffer.from(canary) } })
    t.match(await newBrowser().visit(`${origin}/login/acme`), { status: 503, text: /cannot be done now/ })
    const text = log.join('')
    t.match(text, said)
    t.notMatch(text, /canary/)
    t.notMatch(text, Buffer.from('app:wrong-canary').toString('base64'))
  }
})
