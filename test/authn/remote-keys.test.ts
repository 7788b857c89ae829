import type { RequestListener } from 'node:http'
import t, { type Test } from 'tap'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { jwt } from '../../src/authn/jwt.ts'
import type { JwtIssuerOptions } from '../../src/authn/jwt-issuer.ts'
import type { Principal } from '../../src/principal.ts'
import { requestFacts } from '../helpers/facts.ts'
import { listen } from '../helpers/listen.ts'
import { nowSeconds, testIssuer, type TestIssuer } from '../helpers/tokens.ts'

/** A server of this machine, and what it was asked. */
async function serve (t: Test, listener: RequestListener): Promise<{ url: string, asked: string[] }> {
  const asked: string[] = []
  const { url } = await listen(t, (request, response) => {
    asked.push(String(request.url))
    listener(request, response)
  })
  return { url, asked }
}

/** An issuer that answers on this machine; what it answers can be changed. */
async function servedIssuer (t: Test): Promise<{ home: TestIssuer, asked: string[], answers: Record<string, RequestListener>, keys: (...keys: TestIssuer[]) => void }> {
  const answers: Record<string, RequestListener> = {}
  const { url, asked } = await serve(t, (request, response) => {
    const answer = answers[String(request.url)]
    if (answer === undefined) response.writeHead(404).end()
    else answer(request, response)
  })
  const home = testIssuer(url)
  const keys = (...published: TestIssuer[]): void => { answers['/jwks'] = json({ keys: published.map(({ jwk }) => jwk) }) }
  answers['/.well-known/openid-configuration'] = json({ issuer: url, jwks_uri: `${url}/jwks` })
  keys(home)
  return { home, asked, answers, keys }
}

const json = (value: unknown): RequestListener => (_request, response) => { response.end(JSON.stringify(value)) }
const unavailable = { code: 'FMG_ERR_ISSUER_UNAVAILABLE', reason: 'issuer-unavailable' }
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

/** An authenticator with a clock that stands until it is moved. */
function withClock (issuer: string, changed: Partial<JwtIssuerOptions> = {}): { authenticator: Authenticator, judge: (token: string) => Promise<Principal | null>, pass: (seconds: number) => void } {
  let now = nowSeconds * 1000
  const options: JwtIssuerOptions = { issuer, audiences: ['https://models.example'], algorithms: ['ES256'], tier: 'standard', maxLifetimeSeconds: 1e9, ...changed }
  const authenticator = jwt({ issuers: [options], clock: () => now })
  return {
    authenticator,
    judge: async (token) => await authenticator.authenticate({ scheme: 'bearer', value: token }, requestFacts()),
    pass (seconds) { now += seconds * 1000 }
  }
}

const lasting = { exp: nowSeconds + 1e6 }

t.test('keys are found by discovery, and asked for once', async (t) => {
  const { home, asked } = await servedIssuer(t)
  const { judge, pass } = withClock(home.issuer)
  await Promise.all(['a', 'b', 'c'].map(async (sub) => { t.ok(await judge(home.token({ sub, ...lasting }))) }))
  pass(599)
  t.ok(await judge(home.token(lasting)))
  t.same(asked, ['/.well-known/openid-configuration', '/jwks'])
  pass(1)
  t.ok(await judge(home.token({ sub: 'later', ...lasting })))
  t.equal(asked.length, 4, 'again when they are too old')
})

t.test('an issuer with a path, or with a slash at its end, is found where the standard says', async (t) => {
  const { home, answers, asked } = await servedIssuer(t)
  for (const path of ['/tenant', '/tenant/']) {
    const issuer = home.issuer + path
    answers['/tenant/.well-known/openid-configuration'] = json({ issuer, jwks_uri: `${home.issuer}/jwks` })
    t.ok(await withClock(issuer).judge(home.token({ iss: issuer })))
  }
  t.same(asked.filter((url) => url !== '/jwks'), Array(2).fill('/tenant/.well-known/openid-configuration'))
})

t.test('an unknown issuer never causes a request', async (t) => {
  const { home, asked } = await servedIssuer(t)
  const { judge } = withClock('https://issuer.example')
  await t.rejects(judge(home.token()), refusedFor('jwt-issuer-unknown'))
  t.same(asked, [])
})

t.test('a new key is found with one request a cool-down, an unknown one costs no more', async (t) => {
  const { home, asked, keys } = await servedIssuer(t)
  const next = testIssuer(home.issuer, 'two')
  const { judge, pass } = withClock(home.issuer, { jwksUrl: `${home.issuer}/jwks` })
  t.ok(await judge(home.token(lasting)))
  keys(home, next)
  await t.rejects(judge(next.token(lasting)), refusedFor('jwt-key-unknown'), 'within the cool-down')
  t.equal(asked.length, 1)
  pass(30)
  await Promise.all([1, 2, 3].map(async () => { t.ok(await judge(next.token(lasting))) }))
  t.equal(asked.length, 2)
  for (let stranger = 0; stranger < 10; stranger++) await t.rejects(judge(home.token(lasting, { kid: `stranger-${stranger}` })), refusedFor('jwt-key-unknown'))
  t.equal(asked.length, 2)
  pass(30)
  for (let stranger = 0; stranger < 10; stranger++) await t.rejects(judge(home.token(lasting, { kid: `stranger-${stranger}` })), refusedFor('jwt-key-unknown'))
  t.equal(asked.length, 3)
})

t.test('a key that is published no more ends what was verified with it; others stay known', async (t) => {
  const { home, keys } = await servedIssuer(t)
  const next = testIssuer(home.issuer, 'two')
  keys(home, next)
  const { authenticator, judge, pass } = withClock(home.issuer)
  const [old, new_] = [home.token(lasting), next.token(lasting)]
  await judge(old)
  await judge(new_)
  const recall = (value: string): Principal | null => authenticator.recall?.({ scheme: 'bearer', value }, requestFacts()) ?? null
  keys(next)
  t.ok(recall(old), 'until the keys are looked at again')
  pass(600)
  t.equal(recall(old), null)
  await t.rejects(judge(old), refusedFor('jwt-key-unknown'))
  t.equal(recall(old), null, 'nor now that they are known again')
  t.ok(recall(new_), 'verified once, with a key that is still there')
})

t.test('an issuer that is down is a 503, and its keys count until they are too old', async (t) => {
  const { home, asked, answers, keys } = await servedIssuer(t)
  const { authenticator, judge, pass } = withClock(home.issuer, { jwksUrl: `${home.issuer}/jwks`, keysMaxStaleSeconds: 3600 })
  const token = home.token(lasting)
  delete answers['/jwks']
  await t.rejects(judge(token), unavailable)
  await t.rejects(judge(token), { ...unavailable, cause: { cause: { message: 'status 404' } } })
  t.equal(asked.length, 1, 'not asked again within the cool-down')
  pass(30)
  keys(home)
  t.ok(await judge(token))
  delete answers['/jwks']
  pass(3599)
  t.equal(authenticator.recall?.({ scheme: 'bearer', value: token }, requestFacts()), null)
  t.ok(await judge(home.token({ sub: 'bob', ...lasting })), 'an old key')
  t.ok(authenticator.recall?.({ scheme: 'bearer', value: token }, requestFacts()), 'within the cool-down the old keys are trusted without asking')
  await t.rejects(judge(home.token(lasting, { kid: 'two' })), unavailable, 'whether this is a new key nobody can say')
  pass(1)
  t.equal(authenticator.recall?.({ scheme: 'bearer', value: token }, requestFacts()), null)
  await t.rejects(judge(token), unavailable)
})

t.test('what is no JWK Set of this issuer, and of a fitting size, is no answer', async (t) => {
  const { home, answers } = await servedIssuer(t)
  const elsewhere = await serve(t, json({ keys: [home.jwk] }))
  const redirect: RequestListener = (_request, response) => { response.writeHead(302, { location: `${elsewhere.url}/jwks` }).end() }
  const metadata = (changed: object): RequestListener => json({ issuer: home.issuer, jwks_uri: `${home.issuer}/jwks`, ...changed })
  const wrong: readonly [path: string, answer: RequestListener][] = [
    ['/jwks', redirect],
    ['/.well-known/openid-configuration', redirect],
    ['/jwks', json({ keys: 'x' })],
    ['/jwks', json([])],
    ['/jwks', (_request, response) => { response.end('{') }],
    ['/jwks', (_request, response) => { response.end() }],
    ['/jwks', (_request, response) => { response.writeHead(204).end() }],
    ['/jwks', json({ keys: [home.jwk], padding: 'x'.repeat(2000) })],
    ['/.well-known/openid-configuration', metadata({ issuer: `${home.issuer}/` })],
    ['/.well-known/openid-configuration', json([])],
    ['/.well-known/openid-configuration', metadata({ jwks_uri: undefined })],
    ['/.well-known/openid-configuration', metadata({ jwks_uri: 'file:///etc/passwd' })]
  ]
  for (const [path, answer] of wrong) {
    const good = answers[path]
    answers[path] = answer
    const { judge, pass } = withClock(home.issuer, { maxBytes: 1000 })
    await t.rejects(judge(home.token()), unavailable, `${path} ${String(answer)}`)
    if (good !== undefined) answers[path] = good
    pass(30)
    t.ok(await judge(home.token()), 'and afterwards it is asked again')
  }
  t.same(elsewhere.asked, [], 'no redirect was followed')
})

t.test('an issuer that does not answer, or does not end, is not waited for', async (t) => {
  const { home, answers } = await servedIssuer(t)
  for (const silence of [() => undefined, (_request, response) => { response.write('{') }] satisfies RequestListener[]) {
    answers['/jwks'] = silence
    await t.rejects(withClock(home.issuer, { timeoutMs: 50 }).judge(home.token()), unavailable)
  }
})

t.test('metadata that came over the network does not lead to ports of this machine', async (t) => {
  const asked: string[] = []
  const home = testIssuer('https://issuer.example')
  const issuers: JwtIssuerOptions[] = [{ issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'], tier: 'standard' }]
  const judgeWith = async (jwksUrl: string): Promise<Principal | null> => {
    const fetch = async (url: string): Promise<Response> => {
      asked.push(url)
      return Response.json(url.endsWith('configuration') ? { issuer: home.issuer, jwks_uri: jwksUrl } : { keys: [home.jwk] })
    }
    return await jwt({ issuers, fetch, clock: () => nowSeconds * 1000 }).authenticate({ scheme: 'bearer', value: home.token() }, requestFacts())
  }
  for (const wrong of ['http://127.0.0.1:9/jwks', 'http://keys.example/jwks', 'https://user:secret@keys.example/jwks', 'file:///etc/passwd', '/jwks']) await t.rejects(judgeWith(wrong), unavailable)
  t.same(new Set(asked), new Set(['https://issuer.example/.well-known/openid-configuration']))
  t.ok(await judgeWith('https://keys.example/jwks'))
})
