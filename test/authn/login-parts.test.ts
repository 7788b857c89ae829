import t from 'tap'
import { loginFlows, type LoginStart } from '../../src/authn/login-flow.ts'
import { returnPath } from '../../src/authn/return-path.ts'
import { sealer } from '../../src/authn/sealed-text.ts'
import { judgeState, type StateEvidence } from '../../src/authn/judge-state.ts'

const secretOf = (byte: number, length = 32) => ({ read: async () => Buffer.alloc(length, byte) })
const origin = 'https://models.example'

t.test('a person is sent back to a page of this server, and to no other', async (t) => {
  for (const own of ['/', '/reports', '/reports?day=1&next=//evil.example', '/a%20b', '/a/../b', '/v2/models/x%2Fy', '/search?q=a%20b']) {
    t.equal(new URL(returnPath(own), origin).href, new URL(own, origin).href, own)
  }
  const strange = [
    undefined, null, 7, ['/a', '/b'], '', 'reports', '//evil.example', '/\\evil.example', '\\\\evil.example', '/\\/evil.example', 'https://evil.example', 'javascript:alert(1)',
    '/%2Fevil.example', '/%2f/evil.example', '/%5Cevil.example', '/%5c%5cevil.example', '/%252Fevil.example', '/%25255Cevil.example',
    '/..//evil.example', '/.//evil.example', '/%2e%2e//evil.example', '/%2e%2e%2f%2fevil.example', '/a/%2e%2e//evil.example', '/a/..%2f..%2f%2fevil.example',
    '/\t/evil.example', '/\n/evil.example', '/%09/evil.example', '/%0a/evil.example', '/%0d%0aset-cookie:a=b', '/%zz', '/%', '/a\u0000', `/${'a'.repeat(1024)}`
  ]
  for (const wanted of strange) t.equal(returnPath(wanted), '/', JSON.stringify(wanted))
})

t.test('what was sealed is opened for the same purpose, with the same secret, unchanged, and else not', async (t) => {
  const { seal, open } = sealer(secretOf(1))
  const text = await seal('a', { verifier: 'v' })
  t.same(await open('a', text), { verifier: 'v' })
  t.notMatch(text, Buffer.from('verifier').toString('base64url').slice(0, 8))
  t.not(await seal('a', { verifier: 'v' }), text)
  t.equal(await open('b', text), null)
  t.equal(await sealer(secretOf(2)).open('a', text), null)
  t.equal(await open('a', `${text.slice(0, -2)}AA`), null)
  for (const other of ['', 'x', '....', 'a.b.c.d.e']) t.equal(await open('a', other), null, other)
  await t.rejects(sealer(secretOf(1, 31)).seal('a', {}), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-too-short' })
  await t.rejects(sealer(secretOf(1, 31)).open('a', text), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
})

t.test('a login is known again by the browser that began it, each tab by itself', async (t) => {
  const flows = loginFlows(sealer(secretOf(1)), true, 600)
  const start: LoginStart = { id: flows.newId(), provider: 'github', startedAt: 1000, host: 'models.example', isSecure: true }
  t.same(await flows.openState(await flows.sealState(start)), start)
  for (const other of [undefined, 7, ['a'], '', 'made up', await flows.sealPending({ id: start.id, verifier: 'v', nonce: 'n', returnTo: '/' })]) t.equal(await flows.openState(other), null)

  const pending = { id: start.id, verifier: 'v', nonce: 'n', returnTo: '/a' }
  const cookie = (id: string, value: string): string[] => ['cookie', `${flows.cookieName(id)}=${value}`]
  const sealed = await flows.sealPending(pending)
  t.match(flows.cookieName(start.id), /^__Host-model-guard-login-\w{12}$/)
  t.same(await flows.openPending(start.id, cookie(start.id, sealed)), pending)
  t.equal(await flows.openPending(start.id, cookie(start.id, 'used')), 'used')
  t.equal(await flows.openPending(start.id, []), null)
  t.equal(await flows.openPending(start.id, cookie('other', sealed)), null)
  t.equal(await flows.openPending('other', cookie('other', sealed)), null, 'a cookie of one login under the name of another')
  t.equal(await flows.openPending(start.id, cookie(start.id, 'made-up')), null)
  t.equal(await flows.openPending(start.id, [...cookie(start.id, sealed), ...cookie(start.id, sealed)]), null, 'two of one name: one was planted')
})

t.test('of many logins begun, the oldest make room', async (t) => {
  const flows = loginFlows(sealer(secretOf(1)), false, 600)
  const names = ['a', 'b', 'c', 'd', 'e', 'f'].map(flows.cookieName)
  t.same(flows.surplus(['cookie', `other=1; ${names.map((name) => `${name}=x`).join('; ')}`]), names.slice(0, 2))
  t.same(flows.surplus(['cookie', names.slice(0, 4).map((name) => `${name}=x`).join('; ')]), [])
})

t.test('why a state is not good is told by what the request shows', async (t) => {
  const start: LoginStart = { id: 'a', provider: 'github', startedAt: 0, host: 'models.example', isSecure: true }
  const evidence: StateEvidence = { start, pending: { id: 'a', verifier: 'v', nonce: 'n', returnTo: '/' }, provider: 'github', arrival: { host: 'models.example', isSecure: true }, now: 599_999, lifetimeSeconds: 600 }
  const gone = { ...evidence, pending: null }
  t.match(judgeState(evidence), { verifier: 'v', host: 'models.example' })
  t.equal(judgeState(gone), 'login-cookie-missing')
  t.equal(judgeState({ ...evidence, now: 600_000 }), 'login-expired', 'with the cookie, too')
  t.equal(judgeState({ ...gone, now: 600_000, arrival: { host: 'other.example', isSecure: false } }), 'login-expired')
  t.equal(judgeState({ ...evidence, start: { ...start, startedAt: NaN } }), 'login-expired')
  t.equal(judgeState({ ...gone, arrival: { host: '127.0.0.1', isSecure: true } }), 'login-other-host')
  t.equal(judgeState({ ...gone, arrival: { host: 'models.example', isSecure: false } }), 'login-insecure')
  t.equal(judgeState({ ...gone, start: { ...start, isSecure: false } }), 'login-insecure')
  t.equal(judgeState({ ...evidence, pending: 'used' }), 'login-used')
  t.equal(judgeState({ ...evidence, start: null }), 'login-state-unknown')
  t.equal(judgeState({ ...evidence, provider: 'other' }), 'login-state-unknown', 'an answer that was meant for another provider')
})
