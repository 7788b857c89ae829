import t from 'tap'
import { cookieName, cookiePairs, setCookie } from '../../src/authn/browser-cookie.ts'
import { isOwnRequest } from '../../src/authn/own-request.ts'
import { presentedCredential } from '../../src/authn/presented-credential.ts'

const origin = 'https://models.example'

t.test('cookies of a request are read as they were sent, over many lines too', async (t) => {
  const headers = ['Host', 'x', 'cookie', 'a=1; b=2=3;c=4 ', 'Cookie', 'a=5; d; =6; ', 'x-cookie', 'e=7']
  t.same(cookiePairs(headers), [['a', '1'], ['b', '2=3'], ['c', '4'], ['a', '5']])
})

t.test('a cookie is bound to this host and to https, where that can be had', async (t) => {
  t.equal(setCookie(cookieName('session', true), 'x', 60), '__Host-session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure')
  t.equal(setCookie(cookieName('session', false), 'x', 0), 'session=x; Path=/; Max-Age=0; HttpOnly; SameSite=Lax')
})

t.test('a cookie counts for what its own pages ask, and for links that people follow', async (t) => {
  const table: readonly (readonly [method: string, site: string | undefined, mode: string | undefined, from: string | undefined, counts: boolean])[] = [
    ['GET', 'same-origin', 'cors', undefined, true],
    ['POST', 'same-origin', 'cors', origin, true],
    ['POST', 'same-origin', 'navigate', 'null', true],
    ['GET', 'none', 'navigate', undefined, true],
    ['HEAD', 'none', 'navigate', undefined, true],
    ['POST', 'none', 'navigate', undefined, false],
    ['GET', 'cross-site', 'navigate', undefined, true],
    ['GET', 'cross-site', 'no-cors', undefined, false],
    ['GET', 'same-site', 'cors', 'https://other.example', false],
    ['POST', 'same-site', 'cors', origin, false],
    ['POST', 'cross-site', 'navigate', 'https://evil.example', false],
    ['DELETE', 'cross-site', 'cors', origin, false],
    ['POST', 'same-origin, same-origin', undefined, origin, false],
    ['GET', undefined, undefined, undefined, true],
    ['GET', undefined, undefined, 'https://evil.example', false],
    ['POST', undefined, undefined, undefined, false],
    ['POST', undefined, undefined, 'null', false],
    ['POST', undefined, undefined, 'https://models.example.evil.example', false],
    ['POST', undefined, undefined, origin, true]
  ]
  for (const [method, site, mode, from, counts] of table) t.equal(isOwnRequest(method, { site, mode, origin: from }, origin), counts, `${method} ${String(site)} ${String(mode)} ${String(from)}`)
})

t.test('the one cookie that is a credential is found, and others are nobody\'s business', async (t) => {
  const cookie = (value: string): string[] => ['Cookie', value]
  t.same(presentedCredential(cookie('a=1; session=x'), 'session'), { scheme: 'cookie', value: 'x' })
  t.equal(presentedCredential(cookie('a=1; session=x')), 'credential-missing')
  t.equal(presentedCredential(cookie('a=1; xsession=x; session2=y'), 'session'), 'credential-missing')
  t.equal(presentedCredential([...cookie('session=x'), 'authorization', 'Bearer y'], 'session'), 'two-credentials')
  t.equal(presentedCredential([...cookie('session=x'), 'x-api-key', 'y'], 'session'), 'two-credentials')
  t.equal(presentedCredential([...cookie('session=x'), 'authorization', 'y'], 'session'), 'two-credentials')
  t.equal(presentedCredential(cookie('session=x; session=x'), 'session'), 'two-credentials')
  t.equal(presentedCredential([...cookie('session=x'), ...cookie('session=y')], 'session'), 'two-credentials')
  for (const scheme of ['Cookie', 'cookie']) t.equal(presentedCredential(['authorization', `${scheme} x`], 'session'), 'authorization-malformed', 'a cookie is one that a browser keeps')
  t.same(presentedCredential([...cookie('a=1'), 'authorization', 'Bearer y'], 'session'), { scheme: 'bearer', value: 'y' })
  t.same(presentedCredential(cookie(`session=${'x'.repeat(8192)}`), 'session'), { scheme: 'cookie', value: 'x'.repeat(8192) })
  t.equal(presentedCredential(cookie(`session=${'x'.repeat(8193)}`), 'session'), 'credential-too-long')
})
