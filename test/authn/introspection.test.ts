import t from 'tap'
import { memoryDenyList } from '../../src/authn/memory-deny-list.ts'
import { introspection, type IntrospectionOptions } from '../../src/authn/introspection.ts'
import type { RequestFacts } from '../../src/authn/request-facts.ts'
import type { Principal } from '../../src/principal.ts'
import { requestFacts } from '../helpers/facts.ts'
import { nowSeconds } from '../helpers/tokens.ts'

const issuer = 'https://issuer.example'
const active = { active: true, aud: 'models', sub: 'ann', client_id: 'app', exp: nowSeconds + 100, scope: 'read write' }
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })
const thumbprint = 'c'.repeat(43)

/** An authenticator whose issuer answers what `answer` says, and what it was asked. */
function asking (answer: unknown, changed: Partial<IntrospectionOptions> = {}) {
  const asked: RequestInit[] = []
  const state = { answer, now: nowSeconds * 1000 }
  const authenticator = introspection({
    issuer,
    endpoint: `${issuer}/introspect`,
    audiences: ['models'],
    clientId: 'model guard',
    clientSecret: { read: async () => Buffer.from('p%ss:wörd') },
    tier: 'standard',
    clock: () => state.now,
    fetch: async (_url, init) => {
      asked.push(init)
      return state.answer instanceof Response ? state.answer : Response.json(state.answer)
    },
    ...changed
  })
  const ask = async (value = 'opaque', facts: Partial<RequestFacts> = {}, scheme = 'bearer'): Promise<Principal | null> => await authenticator.authenticate({ scheme, value }, requestFacts(facts))
  const recall = (value = 'opaque', facts: Partial<RequestFacts> = {}): Principal | null => authenticator.recall?.({ scheme: 'bearer', value }, requestFacts(facts)) ?? null
  return { asked, state, ask, recall }
}

t.test('an active token gives the principal its issuer speaks of', async (t) => {
  const { asked, ask } = asking({ ...active, roles: ['admin'], org: 'acme' }, { claims: { org: 'org' }, grants: { orgs: ['acme'] } })
  const principal = await ask()
  t.match(principal, { id: 'https://issuer.example|ann', org: 'acme', tier: 'standard', roles: [], credential: { method: 'jwt', issuer, id: /^[\w-]{43}$/ } })
  t.same(principal?.scopes, ['read', 'write'])
  t.equal(asked[0]?.method, 'POST')
  t.equal(asked[0]?.body, 'token=opaque&token_type_hint=access_token')
  t.equal(new Headers(asked[0]?.headers).get('authorization'), `Basic ${Buffer.from('model+guard:p%25ss%3Aw%C3%B6rd').toString('base64')}`)
})

t.test('only an active token for this server, of this issuer, that has not expired', async (t) => {
  for (const wrong of [{ ...active, active: false }, { ...active, active: 'true' }, { active: false }, {}, [], null, 'active']) await t.rejects(asking(wrong).ask(), refusedFor('token-inactive'), JSON.stringify(wrong))
  const refused: Record<string, object> = {
    'jwt-audience': { aud: 'other' },
    'jwt-issuer': { iss: 'https://partner.example' },
    'jwt-expired': { exp: undefined },
    'jwt-not-yet-valid': { nbf: nowSeconds + 100 },
    'jwt-subject': { sub: undefined, client_id: undefined },
    'jwt-confirmation': { cnf: {} },
    'jwt-claim-malformed': { scope: 7 }
  }
  for (const [reason, change] of Object.entries(refused)) await t.rejects(asking({ ...active, ...change }).ask(), refusedFor(reason))
  const { sub: _, ...withoutSubject } = active
  t.match(await asking(withoutSubject).ask(), { id: 'https://issuer.example|app', type: 'service' }, 'a client that acts for itself')
})

t.test('nobody is asked about what is no opaque token', async (t) => {
  const { asked, ask, recall } = asking(active)
  for (const value of ['fmg_live_x', 'a.b.c', 'a.b.c.d.e', 'with space', 'ünicode', '']) {
    t.equal(await ask(value), null)
    t.equal(recall(value), null)
  }
  t.equal(await ask('opaque', {}, 'basic'), null)
  t.same(asked, [])
})

t.test('an answer counts for a while, never beyond the end of the token, and not once it is denied', async (t) => {
  const denyList = memoryDenyList()
  const { asked, state, ask, recall } = asking(active, { cacheSeconds: 60, denyList })
  t.equal(recall(), null)
  const principal = await ask()
  state.now += 59_999
  t.equal(recall(), principal)
  t.equal(recall('opaque2'), null)
  t.equal(await ask(), principal)
  t.equal(asked.length, 1)
  state.now += 1
  t.equal(recall(), null)
  await ask()
  t.equal(asked.length, 2)
  state.now += 39_999
  t.ok(recall())
  state.now += 1
  t.equal(recall(), null, 'the token has ended')
  state.now = nowSeconds * 1000
  t.ok(recall())
  denyList.deny({ issuer, subject: 'ann' })
  t.equal(recall(), null)
  await t.rejects(ask(), refusedFor('token-denied'))
})

t.test('a dead token costs one question in a while, whatever was wrong with it', async (t) => {
  for (const [reason, answer] of [['token-inactive', { active: false }], ['jwt-audience', { ...active, aud: 'other' }], ['jwt-expired', { ...active, exp: 1 }]] as const) {
    const { asked, state, ask, recall } = asking(answer)
    for (let count = 0; count < 3; count++) await t.rejects(ask('dead'), refusedFor(reason))
    t.equal(asked.length, 1)
    state.answer = active
    t.ok(await ask('good'))
    t.equal(asked.length, 2)
    state.now += 4_999
    await t.rejects(ask('dead'), refusedFor(reason))
    t.equal(asked.length, 2)
    state.now += 1
    t.ok(await ask('dead'), 'it may have become good')
    t.ok(recall('dead'))
  }
})

t.test('refused tokens push out each other and no good one, and an issuer that was down refused nobody', async (t) => {
  const { asked, state, ask, recall } = asking(active, { maxCached: 1, maxRefused: 2 })
  t.ok(await ask('good'))
  state.answer = { active: false }
  for (const dead of ['a', 'b', 'c', 'b', 'c']) await t.rejects(ask(dead), refusedFor('token-inactive'))
  t.equal(asked.length, 4)
  t.ok(recall('good'))
  await t.rejects(ask('a'), refusedFor('token-inactive'))
  t.equal(asked.length, 5, 'the oldest made room')
  state.answer = new Response('', { status: 500 })
  await t.rejects(ask('d'), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' })
  state.answer = active
  t.ok(await ask('d'))
  const never = asking({ active: false }, { refusedSeconds: 0 })
  for (let count = 0; count < 2; count++) await t.rejects(never.ask(), refusedFor('token-inactive'))
  t.equal(never.asked.length, 2)
})

t.test('an issuer that does not answer is a 503, and a crowd does not wait', async (t) => {
  const { ask, state } = asking(new Response('', { status: 401 }), { maxPending: 1 })
  await t.rejects(ask(), { code: 'FMG_ERR_ISSUER_UNAVAILABLE', statusCode: 503, reason: 'issuer-unavailable' })
  state.answer = new Response(null)
  await t.rejects(ask(), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' })
  state.answer = active
  const [first, second] = await Promise.allSettled([ask('a'), ask('b')])
  t.equal(first.status, 'fulfilled')
  t.match(second, { reason: { code: 'FMG_ERR_ISSUER_UNAVAILABLE', reason: 'introspection-overloaded' } })
  t.ok(await ask('b'), 'afterwards there is room again')
})

t.test('a bound token is held to its binding', async (t) => {
  const byCertificate = asking({ ...active, cnf: { 'x5t#S256': thumbprint } })
  const facts = { certificate: { der: Buffer.alloc(1), thumbprint } }
  await t.rejects(byCertificate.ask(), refusedFor('jwt-certificate'))
  const principal = await byCertificate.ask('opaque', facts)
  t.equal(byCertificate.recall('opaque', facts), principal)
  t.equal(byCertificate.recall(), null)
  const byKey = asking({ ...active, cnf: { jkt: thumbprint } })
  await t.rejects(byKey.ask(), refusedFor('jwt-scheme'))
  t.equal(byKey.recall(), null)
  await t.rejects(byKey.ask('opaque', {}, 'dpop'), refusedFor('dpop-not-accepted'))
})

t.test('options that would trust more than was meant do not boot', async (t) => {
  for (const wrong of [{ endpoint: 'http://issuer.example/introspect' }, { audiences: [] }, { clockToleranceSeconds: 61 }]) t.throws(() => asking(active, wrong), { code: 'FMG_ERR_OPTION_INVALID' })
  t.ok(asking(active, { fetch: undefined, clock: undefined }))
})
