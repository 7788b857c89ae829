import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { guardError } from '../../src/errors.ts'
import { asPrincipal } from '../../src/testing.ts'
import type { Browser } from '../helpers/browser.ts'
import { run } from '../helpers/command.ts'
import { startGithub } from '../helpers/github.ts'
import { auditIn, recordsIn } from '../helpers/guard.ts'
import { githubOptions, loginWorld, origin } from '../helpers/login.ts'

const sessionCookie = '__Host-model-guard-session'
const refreshCookie = '__Host-model-guard-refresh'
const page = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store', 'x-frame-options': 'DENY', 'x-content-type-options': 'nosniff' }

t.test('who logs in by GitHub is known by the number that GitHub gave them, and may do what members may', async (t) => {
  const { browser, github, app } = await loginWorld(t, { members: [{ org: 'acme', team: 'ml', roles: ['analyst'], principalOrg: 'acme', principalTeam: 'ml', tier: 'gold' }] })
  t.equal((await browser.ask(`${origin}/known`)).status, 401)
  const choice = await browser.visit(`${origin}/login?returnTo=/known`)
  t.match(choice, { status: 200, text: `href="${origin}/login/github?returnTo=%2Fknown"` })
  const landed = await browser.visit(`${origin}/login/github?returnTo=/known`, { from: origin })
  t.match(landed, { url: `${origin}/known`, status: 200, text: `${github.url}|583231` }, 'the navigation back from GitHub carries the session')
  t.same([...browser.cookies(origin).keys()].filter((name) => !name.includes('login')), [refreshCookie, sessionCookie])
  const answer = await browser.ask(`${origin}/models/acme-fraud`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  t.equal(answer.status, 400, 'analysts may; there is no body')
  t.equal((await browser.ask(`${origin}/models/other-fraud`, { method: 'POST' })).status, 403)
  t.equal(app.reached, 0)
})

t.test('who is a member of nothing that is configured may not come in', async (t) => {
  const { browser, github, app } = await loginWorld(t, { members: [{ org: 'acme', team: 'ml', roles: ['analyst'] }, { org: 1002, roles: ['viewer'] }] })
  const orgs = { Acme: { id: 1001, teams: { other: 2002 } }, other: { id: 1003, teams: { ml: 2001 } }, third: { id: 1002, state: 'pending' as const } }
  for (const user of [{ id: 1, login: 'ann', orgs: {} }, { id: 2, login: 'bob', orgs }]) {
    github.user = user
    const refused = await browser.visit(`${origin}/login/github`)
    t.match(refused, { status: 403, text: /You may not come in/ })
    t.match(Object.fromEntries(refused.headers), page)
    t.notOk(browser.cookies(origin).has(sessionCookie))
    t.notOk(browser.cookies(origin).has(refreshCookie))
  }
  const json = await app.inject({ url: '/login/github/callback?state=x', headers: { accept: 'application/json' } })
  t.match(json.json(), { code: 'FMG_ERR_REQUEST_INVALID' })
})

t.test('memberships are read to the last page, by name whatever its case, or by id', async (t) => {
  const { browser, github } = await loginWorld(t, { members: [{ org: 5150, team: 77, roles: ['analyst'] }, { org: 'NUMBER-150', roles: ['viewer'] }] })
  github.user = { id: 9, login: 'many', orgs: Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`number-${index}`, { id: 5000 + index, teams: { ml: index === 150 ? 77 : 1000 + index } }])) }
  t.equal((await browser.visit(`${origin}/login/github?returnTo=/known`)).status, 200)
  t.same(github.asked.filter((url) => url.startsWith('/api')).map((url) => url.slice('/api/v3'.length)), [
    '/user',
    '/user/memberships/orgs?state=active&per_page=100&page=1', '/user/memberships/orgs?state=active&per_page=100&page=2', '/user/memberships/orgs?state=active&per_page=100&page=3',
    '/user/teams?per_page=100&page=1', '/user/teams?per_page=100&page=2', '/user/teams?per_page=100&page=3'
  ])
})

t.test('a code that GitHub refuses with a 200 is no login', async (t) => {
  const { browser, github, app } = await loginWorld(t)
  const back = await browser.visit(`${origin}/login/github`, { until: `${origin}/login/github/callback` })
  const other = new URL(back.url)
  other.searchParams.set('code', 'made-up')
  const refused = await browser.visit(other.href, { from: github.url })
  t.match(refused, { status: 401, text: /The login failed/ })
  t.match(refused.headers.get('www-authenticate'), /^Bearer /)
  t.notOk(browser.cookies(origin).has(sessionCookie))

  github.instead.set('/login/oauth/access_token', { body: { error: 'incorrect_client_credentials' } })
  t.match(await browser.visit(`${origin}/login/github`), { status: 503, text: /cannot be done now/ }, 'this is nothing that the person could have done')
  for (const body of [{}, 'text', [], { access_token: '' }, { access_token: 7 }, { error: 7 }, { error: '<script>' }]) {
    github.instead.set('/login/oauth/access_token', { body })
    t.equal((await browser.visit(`${origin}/login/github`)).status, 503, JSON.stringify(body))
  }
  t.notOk(browser.cookies(origin).has(sessionCookie))
  t.equal((await app.inject('/known')).statusCode, 401)
})

t.test('GitHub that does not answer, or not as it should, is a 503, and asks nobody else', async (t) => {
  const { browser, github } = await loginWorld(t, { members: [{ org: 'acme', team: 'ml', roles: ['analyst'] }] })
  const strange: readonly (readonly [path: string, answer: { status?: number, body?: unknown, location?: string }, status: number])[] = [
    ['/api/v3/user', { status: 401 }, 401],
    ['/api/v3/user', { status: 500 }, 503],
    ['/api/v3/user', { status: 302, location: `${github.url}/elsewhere` }, 503],
    ['/api/v3/user', { body: { login: 'octocat' } }, 503],
    ['/api/v3/user', { body: { id: '583231' } }, 503],
    ['/api/v3/user', { body: { id: 1.5 } }, 503],
    ['/api/v3/user', { body: [] }, 503],
    ['/api/v3/user', { body: { id: 1, login: 'x'.repeat(300_000) } }, 503],
    ['/api/v3/user/memberships/orgs', { status: 403 }, 503],
    ['/api/v3/user/memberships/orgs', { body: {} }, 503],
    ['/api/v3/user/memberships/orgs', { body: [7] }, 503],
    ['/api/v3/user/memberships/orgs', { body: [{ state: 'active' }] }, 503],
    ['/api/v3/user/memberships/orgs', { body: [{ state: 'active', organization: { id: 1001 } }] }, 503],
    ['/api/v3/user/memberships/orgs', { body: [{ state: 'active', organization: { id: 0, login: 'acme' } }] }, 503],
    ['/api/v3/user/memberships/orgs', { body: Array.from({ length: 100 }, (_, id) => ({ state: 'active', organization: { id: id + 1, login: 'acme' } })) }, 503],
    ['/api/v3/user/teams', { body: [{ slug: 'ml', organization: { id: 1001, login: 'acme' } }] }, 503],
    ['/api/v3/user/teams', { body: [{ id: 1, organization: { id: 1001, login: 'acme' } }] }, 503],
    ['/api/v3/user/teams', { body: [7] }, 503],
    ['/login/oauth/access_token', { status: 500, body: { error: 'x' } }, 503],
    ['/login/oauth/access_token', { status: 302, location: `${github.url}/elsewhere` }, 503],
    ['/login/oauth/access_token', { status: 400, body: { error: 'invalid_grant' } }, 401]
  ]
  for (const [path, answer, status] of strange) {
    github.instead.set(path, answer)
    t.equal((await browser.visit(`${origin}/login/github`)).status, status, `${path} ${JSON.stringify(answer).slice(0, 80)}`)
    github.instead.clear()
  }
  t.notOk(github.asked.some((url) => url.includes('elsewhere')))
  t.notOk(browser.cookies(origin).has(sessionCookie))
  t.equal((await browser.visit(`${origin}/login/github?returnTo=/known`)).status, 200)
  github.stop()
  const url = (await browser.visit(`${origin}/login/github`, { until: github.url })).url
  t.match(url, `${github.url}/login/oauth/authorize`, 'the way there does not need it')
})

t.test('a person who says no at GitHub is not logged in', async (t) => {
  const { browser, github } = await loginWorld(t)
  github.declines = 'access_denied'
  t.match(await browser.visit(`${origin}/login/github`), { status: 403, text: /The login was declined/ })
  github.declines = 'redirect_uri_mismatch'
  t.equal((await browser.visit(`${origin}/login/github`)).status, 503)
  const back = await browser.visit(`${origin}/login/github`, { until: `${origin}/login/github/callback` })
  const withoutCode = new URL(back.url)
  withoutCode.searchParams.delete('error')
  t.match(await browser.visit(withoutCode.href, { from: github.url }), { status: 401, text: /login-code-missing/ })
})

t.test('what goes to GitHub is sealed, challenged by S256, and new each time', async (t) => {
  const { browser, github } = await loginWorld(t)
  const first = new URL((await browser.visit(`${origin}/login/github`, { until: github.url })).url)
  const second = new URL((await browser.visit(`${origin}/login/github`, { until: github.url })).url)
  t.match(Object.fromEntries(first.searchParams), { response_type: 'code', client_id: 'client-1', scope: 'read:org', redirect_uri: `${origin}/login/github/callback`, code_challenge_method: 'S256', code_challenge: /^[\w-]{43}$/ })
  t.notOk(first.searchParams.has('nonce'), 'GitHub knows none')
  for (const name of ['state', 'code_challenge']) t.not(first.searchParams.get(name), second.searchParams.get(name))
  t.equal([...browser.cookies(origin).keys()].length, 2, 'a cookie for each tab')
})

t.test('several tabs log in at once, and a tab left open too long does not hinder the next', async (t) => {
  const { browser } = await loginWorld(t)
  const callback = `${origin}/login/github/callback`
  const tabs = [await browser.visit(`${origin}/login/github?returnTo=/open`, { until: callback }), await browser.visit(`${origin}/login/github?returnTo=/known`, { until: callback })]
  t.match(await browser.visit(String(tabs[1]?.url), { from: 'https://github.com' }), { url: `${origin}/known`, status: 200 })
  t.match(await browser.visit(String(tabs[0]?.url), { from: 'https://github.com' }), { url: `${origin}/open`, status: 200 })
  for (let index = 0; index < 8; index++) await browser.visit(`${origin}/login/github`, { until: callback })
  t.equal([...browser.cookies(origin).keys()].filter((name) => name.includes('login')).length, 5, 'the oldest made room')
})

t.test('an invalid state is explained by what it came from', async (t) => {
  const world = await loginWorld(t)
  const { browser, github, time, app } = world
  const newBrowser = (): Browser => world.newBrowser()
  const callback = `${origin}/login/github/callback`
  const from = github.url
  const begun = async (start = `${origin}/login/github`): Promise<string> => (await browser.visit(start, { until: callback })).url
  const table: readonly (readonly [reason: string, text: RegExp, run: () => Promise<{ status: number, text: string, headers: Headers }>])[] = [
    ['login-cookie-missing', /sent no cookie at all/, async () => await newBrowser().visit(await begun(), { from })],
    ['login-cookie-missing', /sent cookies, but not that of this login/, async () => {
      const other = newBrowser()
      other.plant(origin, 'a', 'b')
      return await other.visit(await begun(), { from })
    }],
    ['login-other-host', /began at localhost:3000 and came back to models\.example/, async () => {
      const start = await browser.visit('https://localhost:3000/login/github', { until: github.url })
      return await browser.visit((await browser.visit(start.url, { until: callback })).url, { from })
    }],
    ['login-insecure', /went over http/, async () => {
      const insecure = newBrowser()
      // Over plain http browsers send no Fetch Metadata.
      const headers = { host: 'models.example', 'x-forwarded-proto': 'http', accept: 'text/html' }
      const start = await app.inject({ url: '/login/github', headers })
      return await insecure.visit((await insecure.visit(String(start.headers.location), { until: callback })).url, { from })
    }],
    ['login-expired', /began 11 minutes ago, and counts for 10/, async () => {
      const url = await begun()
      time.now += 660_000
      return await browser.visit(url, { from })
    }],
    ['login-used', /finished before/, async () => {
      const url = await begun()
      await browser.visit(url, { from })
      return await browser.visit(url, { from })
    }],
    ['login-state-unknown', /not of this server/, async () => await browser.visit(`${callback}?code=a&state=made-up`, { from })],
    ['login-state-unknown', /not of this server/, async () => await browser.visit(`${callback}?code=a`, { from })],
    ['login-state-unknown', /not of this server/, async () => await browser.visit((await begun()).replace('state=', 'state=a&state='), { from })]
  ]
  for (const [reason, text, run] of table) {
    const asked = github.asked.length
    const refused = await run()
    t.match(refused, { status: 400, text: new RegExp(`· ${reason}<`) }, reason)
    t.match(refused.text, text, reason)
    t.match(refused.text, `href="${origin}/login"`)
    t.match(Object.fromEntries(refused.headers), page)
    t.notMatch(github.asked.slice(asked).join(), reason === 'login-used' ? /^$/ : 'access_token', 'no code is exchanged')
  }
})

t.test('what a stranger put into a request is text on the page', async (t) => {
  const { app, github, browser } = await loginWorld(t)
  const start = await app.inject({ url: '/login/github', headers: { host: '"><script>alert(1)</script>', 'x-forwarded-proto': 'https', accept: 'text/html' } })
  const { url } = await browser.visit(String(start.headers.location), { until: `${origin}/login` })
  const { text, headers } = await browser.visit(url, { from: github.url })
  t.match(text, '&lt;script&gt;alert(1)')
  t.notMatch(text, '<script')
  t.match(headers.get('content-security-policy'), /^default-src 'none'; style-src 'sha256-[\w+/=]+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/)
  const choice = await browser.visit(`${origin}/login?returnTo=${encodeURIComponent('/"><script>')}`)
  t.notMatch(choice.text, '<script')
})

t.test('a login ends on a page of this server, whatever was asked for', async (t) => {
  const world = await loginWorld(t)
  const { browser } = world
  for (const wanted of ['//evil.example', '@evil.example', '.evil.example', ':1', 'https://evil.example', '/\\evil.example', '/%2Fevil.example']) {
    const landed = await browser.visit(`${origin}/login/github?returnTo=${encodeURIComponent(wanted)}`)
    t.equal(landed.url, `${origin}/`, wanted)
    t.equal((await browser.visit(`${origin}/login?returnTo=${encodeURIComponent(wanted)}`)).url, `${origin}/`, 'nor does a renewal')
    t.match(await world.newBrowser().visit(`${origin}/login?returnTo=${encodeURIComponent(wanted)}`), { text: `href="${origin}/login/github?returnTo=%2F"` })
  }
})

t.test('a session counts for its own pages, and not for what another site makes a browser send', async (t) => {
  const { browser, app } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const post = { method: 'POST', headers: { 'content-type': 'application/json' } }
  const path = `${origin}/models/acme-fraud`
  const cookie = `${sessionCookie}=${browser.cookies(origin).get(sessionCookie) ?? ''}`
  t.equal((await browser.ask(path, post)).status, 400)
  const forged = async (headers: Record<string, string>): Promise<number> => (await app.inject({ method: 'POST', url: '/models/acme-fraud', headers: { host: 'models.example', cookie, 'content-type': 'application/json', ...headers }, payload: '{}' })).statusCode
  t.equal(await forged({ 'sec-fetch-site': 'same-origin' }), 200)
  t.equal(await forged({ origin }), 200)
  t.equal(app.reached, 2)
  t.equal(await forged({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }), 401)
  t.equal(await forged({ 'sec-fetch-site': 'same-site', origin: 'https://other.models.example' }), 401)
  t.equal(await forged({ origin: 'https://evil.example' }), 401)
  t.equal(await forged({}), 401)
  t.equal(app.reached, 2)
})

t.test('a session beside another credential is refused, for nobody could say who asks', async (t) => {
  const { browser } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const refused = await browser.ask(`${origin}/known`, asPrincipal({ id: 'eve' }))
  t.match(refused, { status: 401 })
  t.match(refused.headers.get('www-authenticate'), /error="invalid_request"/)
  browser.forget()
  t.equal((await browser.ask(`${origin}/known`, asPrincipal({ id: 'eve' }))).text, 'eve')
})

t.test('a session lives shortly, and is renewed as long as GitHub stands by it', async (t) => {
  const { browser, time, github } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const [first, firstRefresh] = [sessionCookie, refreshCookie].map((name) => browser.cookies(origin).get(name))
  time.now += 605_000
  t.equal((await browser.ask(`${origin}/known`)).status, 401)
  const renewed = await browser.ask(`${origin}/login/refresh`, { method: 'POST' })
  t.match(renewed, { status: 204 })
  t.equal(renewed.headers.get('cache-control'), 'no-store')
  t.not(browser.cookies(origin).get(sessionCookie), first)
  t.not(browser.cookies(origin).get(refreshCookie), firstRefresh)
  t.match(await browser.ask(`${origin}/known`), { status: 200, text: `${github.url}|583231` })
  time.now += 605_000
  t.match(await browser.visit(`${origin}/login?returnTo=/known`), { url: `${origin}/known`, status: 200 }, 'by a navigation, without a click')
})

t.test('who left the organization loses the session at the next renewal', async (t) => {
  const { browser, github, families, app } = await loginWorld(t, { members: [{ org: 'acme', roles: ['analyst'], principalOrg: 'acme' }, { org: 'acme', team: 'ml', roles: ['admin'], principalOrg: 'acme' }] })
  await browser.visit(`${origin}/login/github`)
  github.user.orgs = { Acme: { id: 1001 } }
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204, 'still a member, no longer of the team')
  const refreshToken = browser.cookies(origin).get(refreshCookie) ?? ''
  const cookie = `${sessionCookie}=${browser.cookies(origin).get(sessionCookie) ?? ''}`
  const roles = async (): Promise<number> => (await app.inject({ url: '/known', headers: { cookie } })).statusCode
  t.equal(await roles(), 200)
  github.user.orgs = {}
  const refused = await browser.ask(`${origin}/login/refresh`, { method: 'POST' })
  t.equal(refused.status, 403)
  t.same([...browser.cookies(origin).keys()].filter((name) => !name.includes('login')), [])
  t.equal(await roles(), 401, 'at once, not when it expires')
  await t.rejects(families.find(refreshToken), { code: 'FMG_ERR_CREDENTIAL_INVALID' })
})

t.test('a session whose token GitHub has revoked ends; while GitHub is down it waits', async (t) => {
  const { browser, github, time } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  github.instead.set('/api/v3/user', { status: 502 })
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 503)
  t.match(await browser.visit(`${origin}/login?returnTo=/known`), { status: 503, text: /cannot be done now/ })
  t.equal((await browser.ask(`${origin}/known`)).status, 200, 'its short life goes on')
  github.instead.clear()
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204, 'and is renewed when GitHub is back')
  github.revoke()
  time.now += 605_000
  t.match(await browser.visit(`${origin}/login?returnTo=/known`), { status: 200, text: /Log in with GitHub/ }, 'a new login is offered')
  t.notOk(browser.cookies(origin).has(refreshCookie))
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
})

t.test('GitHub\'s own refresh tokens are used once, and the new one is not lost when GitHub fails in between', async (t) => {
  const { browser, github } = await loginWorld(t)
  github.expiring = true
  await browser.visit(`${origin}/login/github`)
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204)
  github.instead.set('/api/v3/user', { status: 502 })
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 503)
  github.instead.clear()
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204)
  github.revoke()
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
})

t.test('a provider\'s refresh token that lives on is used again', async (t) => {
  const { browser, github } = await loginWorld(t)
  github.expiring = true
  github.lasting = true
  await browser.visit(`${origin}/login/github`)
  for (let index = 0; index < 2; index++) {
    github.expire()
    t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 204)
  }
})

t.test('a client secret that was replaced counts from the next login on', async (t) => {
  const given = { secret: 'an old secret' }
  const github = await startGithub(t, `${origin}/login/other/callback`)
  const { browser } = await loginWorld(t, { login: { providers: [{ ...githubOptions(github), id: 'other', clientSecret: { read: async () => Buffer.from(given.secret) } }] } })
  t.equal((await browser.visit(`${origin}/login/other`)).status, 503)
  given.secret = github.clientSecret
  t.equal((await browser.visit(`${origin}/login/other?returnTo=/known`)).status, 200)
})

t.test('tabs that renew at once get the same session; a refresh token that is used again later ends it', async (t) => {
  const { browser, app } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const stolen = browser.cookies(origin).get(refreshCookie) ?? ''
  const both = await Promise.all([browser.ask(`${origin}/login/refresh`, { method: 'POST' }), browser.ask(`${origin}/login/refresh`, { method: 'POST' })])
  t.same(both.map(({ status }) => status), [204, 204])
  t.equal((await browser.ask(`${origin}/known`)).status, 200)
  const again = await app.inject({ method: 'POST', url: '/login/refresh', headers: { host: 'models.example', origin, cookie: `${refreshCookie}=${stolen}` } })
  t.equal(again.statusCode, 401)
  t.equal((await browser.ask(`${origin}/known`)).status, 401, 'its tokens count no more, either')
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
})

t.test('of two refresh tokens in one request neither counts, for one was planted', async (t) => {
  const { browser, app } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const cookie = `${refreshCookie}=${browser.cookies(origin).get(refreshCookie) ?? ''}`
  const renew = async (cookies: string): Promise<number> => (await app.inject({ method: 'POST', url: '/login/refresh', headers: { origin, cookie: cookies } })).statusCode
  t.equal(await renew(`${cookie}; ${refreshCookie}=x`), 401)
  t.equal(await renew(cookie), 204)
})

t.test('a session is renewed for the person it began with, and by a provider that is still configured', async (t) => {
  const { browser, github, sessions } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  github.user.id = 1
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
  const principal = { id: 'x|1', type: 'user', tier: 'standard', roles: [], scopes: [], attributes: {} } as const
  const other = await sessions.begin(principal, 'x', { provider: 'gone', principalId: 'x|1' })
  browser.plant(origin, refreshCookie, other.refreshToken)
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 401)
})

t.test('a logout counts from the next request on, and is one\'s own', async (t) => {
  const { browser, app, families } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  t.match(await browser.visit(`${origin}/login`), { status: 200, text: /You are logged in[^]*<form method="post" action="\/logout">/ })
  const cookie = [...browser.cookies(origin)].map(([name, value]) => `${name}=${value}`).join('; ')
  const refreshToken = browser.cookies(origin).get(refreshCookie) ?? ''
  const asked = async (): Promise<number> => (await app.inject({ url: '/known', headers: { cookie } })).statusCode
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { origin: 'https://evil.example' }, {}]) {
    for (const url of ['/logout', '/login/refresh']) t.equal((await app.inject({ method: 'POST', url, headers: { cookie, ...headers } })).statusCode, 403)
  }
  t.equal(await asked(), 200)
  const out = await browser.submit(`${origin}/logout`)
  t.match(out, { status: 303 })
  t.equal(out.headers.get('location'), `${origin}/login`)
  t.same([...browser.cookies(origin).keys()].filter((name) => !name.includes('login')), [])
  t.equal(await asked(), 401)
  await t.rejects(families.find(refreshToken), { code: 'FMG_ERR_CREDENTIAL_INVALID' })
  t.equal((await browser.ask(`${origin}/logout`, { method: 'POST' })).status, 204, 'also of whom has no session')
})

t.test('a logout with the session\'s cookie alone ends it too, and one that is no cookie of a session ends nothing', async (t) => {
  const { browser } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const value = browser.cookies(origin).get(sessionCookie) ?? ''
  browser.forget()
  browser.plant(origin, sessionCookie, value)
  t.equal((await browser.ask(`${origin}/logout`, { method: 'POST' })).status, 204)
  browser.plant(origin, sessionCookie, value)
  t.equal((await browser.ask(`${origin}/known`)).status, 401)
  browser.plant(origin, sessionCookie, 'made.up.x')
  t.equal((await browser.ask(`${origin}/logout`, { method: 'POST' })).status, 204)
})

t.test('a new login ends the session before it', async (t) => {
  const { browser, app, github } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  const cookie = `${sessionCookie}=${browser.cookies(origin).get(sessionCookie) ?? ''}`
  github.user = { id: 2, login: 'bob', orgs: github.user.orgs }
  t.match(await browser.visit(`${origin}/login/github?returnTo=/known`), { text: `${github.url}|2` })
  t.equal((await app.inject({ url: '/known', headers: { cookie } })).statusCode, 401)
})

t.test('a login that is finished twice at once is finished once', async (t) => {
  const { browser, github, app } = await loginWorld(t)
  const back = new URL((await browser.visit(`${origin}/login/github`, { until: `${origin}/login/github/callback` })).url)
  const cookie = [...browser.cookies(origin)].map(([name, value]) => `${name}=${value}`).join('; ')
  const finish = async (): Promise<number> => (await app.inject({ url: back.pathname + back.search, headers: { cookie, 'x-forwarded-proto': 'https' } })).statusCode
  t.same((await Promise.all([finish(), finish()])).sort(), [303, 400])
  t.equal(await finish(), 400)
  t.equal(github.asked.filter((url) => url.includes('access_token')).length, 1)
})

t.test('a store that does not answer is a 503, and a logout leaves nothing in the browser whatever it says', async (t) => {
  const { browser, families } = await loginWorld(t)
  await browser.visit(`${origin}/login/github`)
  Object.assign(families, { find: async () => { throw guardError('FMG_ERR_KEY_UNAVAILABLE') } })
  t.match(await browser.visit(`${origin}/login?returnTo=/known`), { status: 503, text: /· FMG_ERR_KEY_UNAVAILABLE</ })
  t.equal((await browser.ask(`${origin}/login/refresh`, { method: 'POST' })).status, 503)
  t.ok(browser.cookies(origin).has(refreshCookie))
  t.equal((await browser.ask(`${origin}/logout`, { method: 'POST', body: 'x'.repeat(2000), headers: { 'content-type': 'application/x-www-form-urlencoded' } })).status, 413)
  t.ok(browser.cookies(origin).has(refreshCookie))
  t.equal((await browser.ask(`${origin}/logout`, { method: 'POST' })).status, 503)
  t.same([...browser.cookies(origin).keys()].filter((name) => !name.includes('login')), [])
})

t.test('a person without a name is one, too', async (t) => {
  const { browser, github } = await loginWorld(t)
  github.instead.set('/api/v3/user', { body: { id: 7 } })
  t.match(await browser.visit(`${origin}/login/github?returnTo=/known`), { text: `${github.url}|7` })
})

t.test('a server without @fastify/oauth2 says at boot what it needs', async (t) => {
  const folder = t.testdir({
    'hide.mjs': "import { register } from 'node:module'\nregister('data:text/javascript,' + encodeURIComponent(`export function resolve (name, context, next) { if (name === '@fastify/oauth2') throw new Error('hidden'); return next(name, context) }`))\n"
  })
  const program = `
    const { login } = await import(${JSON.stringify(pathToFileURL(path.join(import.meta.dirname, '..', '..', 'src', 'plugins', 'login.js')).href)})
    const none = async () => {}
    const sessions = { origin: 'https://models.example', begin: none, find: none, turn: none, issue: none, end: none }
    await login({ prefix: '' }, { sessions, providers: [] }).catch((error) => { console.log(error.message) })`
  const { stdout } = await run(process.execPath, ['--import', path.join(folder, 'hide.mjs'), '--input-type=module', '-e', program])
  t.equal(stdout, 'option invalid: login needs the package @fastify/oauth2: npm install @fastify/oauth2\n')
})

t.test('records say who logged in, and why a login failed', async (t) => {
  const folder = t.testdir()
  const { browser, app } = await loginWorld(t, { guard: { audit: await auditIn(folder) } })
  await browser.visit(`${origin}/login/github?returnTo=/known`)
  await browser.visit(`${origin}/login/github/callback?state=x`)
  await app.close()
  const records = recordsIn(folder).filter(({ action }) => String(action).startsWith('get /'))
  t.match(records, [
    { action: 'get /login/:provider', status: 'success' },
    { action: 'get /login/:provider/callback', status: 'success', user_id: /^u_/, org: 'acme', credential_method: 'session' },
    { action: 'get /known', user_id: records[1]?.user_id, credential_id: records[1]?.credential_id },
    { action: 'get /login/:provider/callback', status: 'error', reason: 'login-state-unknown' }
  ])
})

t.test('a login is no login where a page loads it, by an unknown way, or too often', async (t) => {
  const { browser, app } = await loginWorld(t, { login: { edge: { max: 3 } } })
  t.match(await browser.visit(`${origin}/login/github`, { headers: { 'sec-fetch-dest': 'image' } }), { status: 400, text: /login-not-navigation/ })
  t.equal((await browser.visit(`${origin}/login/other`)).status, 404)
  t.equal((await browser.visit(`${origin}/login/other/callback`)).status, 404)
  t.match(await browser.visit(`${origin}/login/github`), { status: 429, text: /Too many attempts/ })
  t.match((await app.inject('/login')).json(), { providers: [{ label: 'GitHub', href: `${origin}/login/github` }] })
})
