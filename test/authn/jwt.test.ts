import { constants, createHmac, createSecretKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { parseCompactJws, verifyJws } from '../../src/authn/compact-jws.ts'
import { memoryDenyList } from '../../src/authn/memory-deny-list.ts'
import { jwt, type JwtOptions } from '../../src/authn/jwt.ts'
import type { JwtIssuerOptions } from '../../src/authn/jwt-issuer.ts'
import { secretKey } from '../../src/authn/key-set.ts'
import type { PresentedCredential } from '../../src/authn/presented-credential.ts'
import type { RequestFacts } from '../../src/authn/request-facts.ts'
import { readAlgorithms, readPublicJwk } from '../../src/authn/verification-key.ts'
import type { Principal } from '../../src/principal.ts'
import { requestFacts } from '../helpers/facts.ts'
import { nowSeconds, signed, testIssuer, type TestIssuer } from '../helpers/tokens.ts'

const home = testIssuer()
const bearer = (value: string): PresentedCredential => ({ scheme: 'bearer', value })
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

function trusting ({ issuer, jwk }: TestIssuer, changed: Partial<JwtIssuerOptions> = {}): JwtIssuerOptions {
  return { issuer, audiences: ['https://models.example', 'models'], algorithms: ['ES256'], jwks: { keys: [jwk] }, tier: 'standard', ...changed }
}

function authenticatorOf (issuers: readonly JwtIssuerOptions[], changed: Partial<JwtOptions> = {}): Authenticator {
  return jwt({ issuers, clock: () => nowSeconds * 1000, fetch: async () => { throw new Error('nothing is fetched') }, ...changed })
}

/** What comes of a token where `home` is trusted. */
async function ask (token: string, changed: Partial<JwtIssuerOptions> = {}, facts: Partial<RequestFacts> = {}): Promise<Principal | null> {
  return await authenticatorOf([trusting(home, changed)]).authenticate(bearer(token), requestFacts(facts))
}

t.test('a good token gives its frozen principal', async (t) => {
  const principal = await ask(home.token({ scope: 'read write read', sid: 'session-1' }))
  t.same(principal, {
    id: 'https://issuer.example|ann',
    type: 'user',
    tier: 'standard',
    roles: [],
    scopes: ['read', 'write'],
    attributes: { clientId: 'app' },
    credential: { method: 'jwt', id: 'token-1', issuer: 'https://issuer.example', issuedAt: (nowSeconds - 10) * 1000, expiresAt: (nowSeconds + 290) * 1000 }
  })
  t.ok(Object.isFrozen(principal) && Object.isFrozen(principal?.scopes) && Object.isFrozen(principal?.credential))
})

t.test('every part of a token is read strictly', async (t) => {
  const good = home.token()
  const [header = '', payload = '', signature = ''] = good.split('.')
  const text = (value: string): string => Buffer.from(value, 'base64url').toString()
  const resigned = (head: unknown, body: unknown): string => signed(home.privateKey, head, body)
  const last = signature.slice(-1)
  const deep = (levels: number): string => text(payload).replace('{', `{"x":${'['.repeat(levels)}${']'.repeat(levels)},`)

  const refused: Record<string, readonly string[]> = {
    'jws-malformed': [
      `${header}.${payload}.`, `.${payload}.${signature}`, `${good}=`, `${header}.${payload}.${signature}\n`, ` ${good}`, `${header}.${payload} .${signature}`,
      // The last character of 64 bytes holds four bits that mean nothing.
      `${header}.${payload}.${signature.slice(0, -1)}${String.fromCharCode(last.charCodeAt(0) + 1)}`,
      `${header}.${payload}.${'A'.repeat(8192)}`, `${good}.x.y`
    ],
    'jws-header-malformed': [
      resigned('{"alg":"ES256","alg":"ES256","typ":"at+jwt"}', text(payload)), resigned('[]', text(payload)), resigned('null', text(payload)), resigned('{', text(payload)),
      resigned(Buffer.from('{"alg":"ES256","x":"\xff"}', 'latin1'), text(payload)), resigned({ typ: 'at+jwt' }, text(payload)),
      home.token({}, { kid: 7 }), home.token({}, { typ: null }), home.token({}, { alg: ['ES256'] })
    ],
    'jws-header-critical': [home.token({}, { crit: ['exp'] }), home.token({}, { crit: [] }), home.token({}, { b64: false }), home.token({}, { crit: ['b64'], b64: true })],
    'jwt-claims-malformed': [
      resigned(text(header), text(payload).replace('{', '{"sub":"eve",')), resigned(text(header), text(payload).replace('{', '{"a":{"b":1,"\\u0062":2},')),
      resigned(text(header), text(payload).replace('ann', '\\ud800')), resigned(text(header), `\ufeff${text(payload)}`), resigned(text(header), deep(16)),
      resigned(text(header), '"text"'), resigned(text(header), '')
    ],
    'jwt-issuer-unknown': [
      home.token({ iss: undefined }), home.token({ iss: ['https://issuer.example'] }), home.token({ iss: 'https://issuer.example/' })
    ]
  }
  for (const [reason, tokens] of Object.entries(refused)) {
    for (const token of tokens) await t.rejects(ask(token), refusedFor(reason), token)
  }
  t.ok(await ask(resigned(text(header), deep(15))))
  t.ok(await ask(resigned(` ${text(header)}`, text(payload).replace('{', '{"a":{"b":1},"c":[{"b":1},"b:","\\u0062"],\n'))), 'equal names in different objects')
})

t.test('the header chooses neither algorithm nor key', async (t) => {
  const [header = '', payload = ''] = home.token().split('.')
  const hmac = (key: string): string => {
    const input = `${Buffer.from('{"alg":"HS256","typ":"at+jwt","kid":"one"}').toString('base64url')}.${payload}`
    return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
  }
  for (const alg of ['none', 'None', 'nOnE', '', 'es256', 'ES384', 'HS256']) await t.rejects(ask(home.token({}, { alg })), refusedFor('jwt-algorithm'), alg)
  await t.rejects(ask(hmac(JSON.stringify(home.jwk))), refusedFor('jwt-algorithm'))
  await t.rejects(ask(`${header}.${payload}.AA`), refusedFor('jws-signature'))

  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const embedded = { alg: 'ES256', typ: 'at+jwt', jwk: publicKey.export({ format: 'jwk' }), jku: 'https://evil.example', x5u: 'https://evil.example', x5c: ['AA'] }
  await t.rejects(ask(signed(privateKey, { ...embedded, kid: 'one' }, JSON.parse(Buffer.from(payload, 'base64url').toString()))), refusedFor('jws-signature'))
  await t.rejects(ask(home.token({}, { kid: '../one' })), refusedFor('jwt-key-unknown'))
  t.ok(await ask(home.token({}, embedded)), 'what embeds a key is judged by the issuer’s')
  t.ok(await ask(home.token({}, { kid: undefined })), 'the only key needs no name')
})

t.test('a key verifies by one algorithm, and only what it is for', async (t) => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = rsa.publicKey.export({ format: 'jwk' })
  const tokenBy = (alg: string): string => {
    const input = home.token({}, { alg, kid: 'rsa' }).split('.', 2).join('.')
    return `${input}.${sign('sha256', Buffer.from(input), rsa.privateKey).toString('base64url')}`
  }
  const withKey = async (key: Readonly<Record<string, unknown>>, algorithms: JwtIssuerOptions['algorithms'], alg = 'RS256'): Promise<Principal | null> =>
    await ask(tokenBy(alg), { algorithms, jwks: { keys: [home.jwk, { kid: 'rsa', ...key }] } })

  t.ok(await withKey(jwk, ['RS256', 'ES256']), 'the only algorithm that fits')
  t.ok(await withKey({ ...jwk, alg: 'RS256', use: 'sig', key_ops: ['verify'] }, ['RS256', 'PS256', 'ES256']), 'the algorithm it names')
  for (const wrong of [{ alg: 'PS256' }, { alg: 'RSA-OAEP' }, { use: 'enc', alg: 'RS256' }, { key_ops: ['encrypt'], alg: 'RS256' }, { key_ops: 'verify', alg: 'RS256' }, { alg: undefined }]) {
    await t.rejects(withKey({ ...jwk, ...wrong }, ['RS256', 'PS256', 'ES256']), refusedFor('jwt-key-unknown'), JSON.stringify(wrong))
  }
  for (const wrong of [rsa.privateKey.export({ format: 'jwk' }), { ...jwk, n: 7 }, { ...jwk, kid: 1 }, { ...jwk, kty: 'EC' }, { kty: 'oct', k: 'AA' }, { ...jwk, k: 'AA' }]) {
    await t.rejects(withKey(wrong, ['RS256', 'ES256']), refusedFor('jwt-key-unknown'))
  }
  const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  await t.rejects(withKey(short, ['RS256', 'ES256']), refusedFor('jwt-key-unknown'))
  await t.rejects(ask(home.token(), { jwks: { keys: [home.jwk, { ...home.jwk, ...testIssuer().jwk }] } }), refusedFor('jwt-key-unknown'), 'one of two keys of one name')
  for (const [namedCurve, crv, algorithm] of [['P-384', 'P-384', 'ES384'], ['P-521', 'P-521', 'ES512']] as const) {
    const other = generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' })
    await t.rejects(ask(home.token(), { algorithms: ['ES256', algorithm], jwks: { keys: [{ ...other, kid: 'one' }] } }), refusedFor('jwt-key-unknown'), crv)
    t.equal(readPublicJwk(home.jwk, [algorithm]), null, `a key of another curve than ${crv}`)
  }
})

t.test('a key is used by its own algorithm alone, also where it was chosen by other means', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  await t.rejects(verifyJws(parseCompactJws(home.token()), { kid: undefined, algorithm: 'ES384', key: publicKey }), refusedFor('jws-algorithm'))
  t.throws(() => readAlgorithms(['HS256', 'ES256'], 'algorithms'), { code: 'FMG_ERR_OPTION_INVALID' })
  t.equal(secretKey(publicKey, 'HS256'), null, 'a public key is no secret')
})

t.test('a modulus that is known to be factorable verifies nothing', async (t) => {
  const jwkOf = (modulus: bigint) => ({ kty: 'RSA', e: 'AQAB', n: Buffer.from(modulus.toString(16).padStart(540, '0'), 'hex').toString('base64url') })
  t.equal(readPublicJwk(jwkOf(65537n ** 130n), ['RS256']), null)
  t.ok(readPublicJwk(jwkOf(65537n ** 130n + 2n), ['RS256']))
})

t.test('an RSA signature has one spelling, also when it begins with a zero', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  for (const [algorithm, padding] of [['PS256', { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }], ['RS256', {}]] as const) {
    const [input, signature] = (function zeroFirst (): readonly [string, Buffer] {
      for (let number = 0; ; number++) {
        const input = home.token({ number }, { alg: algorithm, kid: undefined }).split('.', 2).join('.')
        const signature = sign('sha256', Buffer.from(input), { key: privateKey, ...padding })
        if (signature[0] === 0) return [input, signature]
      }
    })()
    const rules = { algorithms: [algorithm], jwks: { keys: [publicKey.export({ format: 'jwk' })] } }
    t.ok(await ask(`${input}.${signature.toString('base64url')}`, rules))
    for (const other of [signature.subarray(1), Buffer.concat([Buffer.alloc(1), signature])]) await t.rejects(ask(`${input}.${other.toString('base64url')}`, rules), refusedFor('jws-signature'))
  }
})

t.test('Ed25519 and a shared secret verify too', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  for (const algorithm of ['EdDSA', 'Ed25519'] as const) {
    const input = home.token({}, { alg: algorithm, kid: undefined }).split('.', 2).join('.')
    const token = `${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`
    t.ok(await ask(token, { algorithms: [algorithm], jwks: { keys: [publicKey.export({ format: 'jwk' })] } }))
    await t.rejects(ask(token, { algorithms: ['EdDSA', 'Ed25519'], jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), alg: algorithm === 'EdDSA' ? 'Ed25519' : 'EdDSA' }] } }), refusedFor('jwt-key-unknown'))
  }
  const secret = createSecretKey(Buffer.alloc(32, 7))
  const input = home.token({}, { alg: 'HS256', kid: undefined }).split('.', 2).join('.')
  const by = (key: Buffer): string => `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
  t.ok(await ask(by(secret.export()), { algorithms: ['HS256'], jwks: undefined, secret }))
  await t.rejects(ask(by(Buffer.alloc(32)), { algorithms: ['HS256'], jwks: undefined, secret }), refusedFor('jws-signature'))
})

t.test('every claim that decides is checked', async (t) => {
  const at = (seconds: number): number => nowSeconds + seconds
  const refused: Record<string, readonly Record<string, unknown>[]> = {
    'jwt-audience': [{ aud: undefined }, { aud: 'https://models.example/' }, { aud: 'model' }, { aud: [] }, { aud: ['other'] }, { aud: [7, 'models'] }, { aud: { models: true } }],
    'jwt-subject': [{ sub: undefined }, { sub: '' }, { sub: 7 }, { sub: 'x'.repeat(256) }],
    'jwt-client': [{ client_id: undefined }, { client_id: '' }, { client_id: ['app'] }],
    'jwt-id': [{ jti: undefined }, { jti: 7 }],
    'jwt-session': [{ sid: 7 }, { sid: '' }],
    'jwt-expired': [{ exp: undefined }, { exp: at(-5) }, { exp: at(-1e6) }, { exp: String(at(290)) }, { exp: null }, { exp: 1e300 }, { exp: -1 }],
    'jwt-not-yet-valid': [{ nbf: at(5.1) }, { nbf: '0' }, { nbf: null }],
    'jwt-issued-at': [{ iat: undefined }, { iat: at(5.1) }, { iat: '0' }],
    'jwt-lifetime': [{ iat: at(-86_400), exp: at(1) }],
    'jwt-confirmation': [{ cnf: 'x' }, { cnf: {} }, { cnf: null }, { cnf: { jwk: {} } }, { cnf: { jkt: 'short' } }, { cnf: { 'x5t#S256': 7 } }, { cnf: { jkt: 'x'.repeat(43), kid: 'k' } }],
    'jwt-claim-malformed': [{ roles: 'admin' }, { roles: [7] }, { scope: { read: true } }, { scope: 7 }, { roles: null, scope: [null] }],
    'jwt-actor': [{ act: 'bob' }, { act: {} }, { act: { sub: 7 } }]
  }
  for (const [reason, changes] of Object.entries(refused)) {
    for (const change of changes) await t.rejects(ask(home.token(change)), refusedFor(reason), JSON.stringify(change))
  }
  const infinite = Buffer.from(JSON.stringify({ ...claimsOf(home.token()), exp: 0 }).replace('"exp":0', '"exp":1e400'))
  await t.rejects(ask(signed(home.privateKey, { alg: 'ES256', typ: 'at+jwt', kid: 'one' }, infinite)), refusedFor('jwt-expired'))
  for (const change of [{ aud: ['other', 'models'] }, { exp: at(-4.9) }, { nbf: at(5) }, { iat: at(5) }, { iat: at(-86_000), exp: at(400) }, { sid: 's' }, { act: { sub: 'bob', act: { sub: 'eve' } } }]) {
    t.ok(await ask(home.token(change)), JSON.stringify(change))
  }
})

t.test('only an access token is one', async (t) => {
  for (const typ of ['JWT', 'dpop+jwt', 'logout+jwt', 'at+jwt+x', 'text/at+jwt', '', undefined]) await t.rejects(ask(home.token({}, { typ })), refusedFor('jwt-type'), String(typ))
  for (const typ of ['at+jwt', 'application/at+jwt', 'AT+JWT', 'Application/AT+JWT']) t.ok(await ask(home.token({}, { typ })), typ)
  for (const typ of ['JWT', 'jwt', undefined]) t.ok(await ask(home.token({ client_id: undefined, jti: undefined }, { typ }), { type: 'JWT' }), String(typ))
  for (const typ of ['at+jwt', 'dpop+jwt', 'logout+jwt']) await t.rejects(ask(home.token({}, { typ }), { type: 'JWT' }), refusedFor('jwt-type'), typ)
  await t.rejects(ask(home.token({ client_id: 7 }, { typ: 'JWT' }), { type: 'JWT' }), refusedFor('jwt-client'))
  await t.rejects(ask(home.token({ jti: 7 }, { typ: 'JWT' }), { type: 'JWT' }), refusedFor('jwt-id'))
  const unnamed = await ask(home.token({ jti: undefined }, { typ: 'JWT' }), { type: 'JWT' })
  t.match(unnamed?.credential.id, /^[\w-]{43}$/, 'a token without an id has its digest for one')
})

t.test('an issuer grants what it was given to grant, and names its own principals alone', async (t) => {
  const partner = testIssuer('https://partner.example')
  const authenticator = authenticatorOf([
    trusting(home, { grants: { roles: ['admin', 'analyst'] } }),
    trusting(partner, { grants: { roles: ['guest'], orgs: ['partner'], tiers: ['pro'] }, claims: { org: 'org', team: ['groups', 'team'], tier: 'plan', attributes: { region: 'https://partner.example/region' } }, tier: 'free' })
  ])
  const from = async (issuer: TestIssuer, claims: Readonly<Record<string, unknown>>): Promise<Principal | null> => await authenticator.authenticate(bearer(issuer.token(claims)), requestFacts())
  t.match(await from(home, { roles: ['admin'] }), { id: 'https://issuer.example|ann', roles: ['admin'] })
  const guest = await from(partner, { roles: ['admin', 'guest', 'guest'], org: 'partner', groups: { team: 'red' }, plan: 'pro', 'https://partner.example/region': 'eu' })
  t.match(guest, { id: 'https://partner.example|ann', org: 'partner', team: 'red', tier: 'pro', attributes: { region: 'eu' } })
  t.same(guest?.roles, ['guest'])
  t.match(await from(partner, { plan: 'enterprise' }), { tier: 'free' })
  for (const org of ['acme', '*', 'Partner']) await t.rejects(from(partner, { org }), refusedFor('jwt-org-not-granted'))
  for (const claims of [{ org: ['partner'] }, { org: '' }, { groups: { team: 7 } }, { plan: null }]) await t.rejects(from(partner, claims), refusedFor('jwt-claim-malformed'))
  t.equal((await from(partner, { groups: 'red', constructor: 'x' }))?.team, undefined)
  await t.rejects(from({ ...partner, token: (claims) => home.token({ iss: 'https://partner.example', ...claims }) }, {}), refusedFor('jws-signature'), 'signed by another issuer')
  t.equal((await ask(home.token(), { claims: { team: 'toString' } }))?.team, undefined, 'what every object has is no claim')
  t.match(await from(home, { sub: 'app', act: { sub: 'bob' } }), { type: 'service', attributes: { actor: 'bob' } })
  t.same((await from(home, { scope: ['read-all'] }))?.scopes, ['read-all'])
})

t.test('what is no JWT is left to others, what is one and cannot be read is bad', async (t) => {
  const authenticator = authenticatorOf([trusting(home)])
  const good = home.token()
  for (const presented of [bearer('opaque'), bearer('a.b'), bearer('fmg_a.b.c'), bearer('a.b.c.d'), { scheme: 'basic', value: good }, { scheme: 'x-api-key', value: good }]) {
    t.equal(await authenticator.authenticate(presented, requestFacts()), null)
    t.equal(authenticator.recall?.(presented, requestFacts()), null)
  }
  await t.rejects(Promise.resolve(authenticator.authenticate(bearer('a.b.c.d.e'), requestFacts())), refusedFor('jws-malformed'), 'an encrypted token')
})

t.test('a verified token is recalled at once, and never beyond its end', async (t) => {
  let now = nowSeconds * 1000
  const authenticator = authenticatorOf([trusting(home)], { clock: () => now, maxCached: 2 })
  const token = home.token()
  t.equal(authenticator.recall?.(bearer(token), requestFacts()), null, 'not before it was verified')
  const principal = await authenticator.authenticate(bearer(token), requestFacts())
  t.equal(authenticator.recall?.(bearer(token), requestFacts()), principal)
  t.equal(await authenticator.authenticate(bearer(token), requestFacts()), principal)
  t.equal(authenticator.recall?.(bearer(home.token()), requestFacts()), null, 'the same claims, another signature')
  t.equal(authenticator.recall?.({ scheme: 'dpop', value: token }, requestFacts()), null)
  t.equal(authenticatorOf([trusting(home)]).recall?.(bearer(token), requestFacts()), null, 'another configuration has not verified it')

  now = (nowSeconds + 290) * 1000 - 1
  t.equal(authenticator.recall?.(bearer(token), requestFacts()), principal)
  now++
  t.equal(authenticator.recall?.(bearer(token), requestFacts()), null)
  t.ok(await authenticator.authenticate(bearer(token), requestFacts()), 'the tolerance is for what is verified anew')
  now += 5000
  await t.rejects(Promise.resolve(authenticator.authenticate(bearer(token), requestFacts())), refusedFor('jwt-expired'))

  now = nowSeconds * 1000
  const tokens = ['a', 'b', 'c'].map((sub) => home.token({ sub }))
  for (const each of tokens) await authenticator.authenticate(bearer(each), requestFacts())
  t.same(tokens.map((each) => authenticator.recall?.(bearer(each), requestFacts())?.id.slice(-1)), [undefined, 'b', 'c'])
})

t.test('two long tokens that begin alike are two', async (t) => {
  const authenticator = authenticatorOf([trusting(home)])
  const [first, second] = ['ann', 'bob'].map((sub) => home.token({ padding: 'x'.repeat(2000), sub }))
  t.match(await authenticator.authenticate(bearer(first ?? ''), requestFacts()), { id: /\|ann$/ })
  t.equal(authenticator.recall?.(bearer(second ?? ''), requestFacts()), null)
  t.match(await authenticator.authenticate(bearer(second ?? ''), requestFacts()), { id: /\|bob$/ })
})

t.test('scopes and roles are whole words', async (t) => {
  const authenticator = authenticatorOf([trusting(home, { grants: { roles: ['admin', 'model-admin'] } })])
  const principal = await authenticator.authenticate(bearer(home.token({ scope: 'read-all  write', roles: ['model-admin', 'administrator', 'admin '] })), requestFacts())
  t.same(principal?.scopes, ['read-all', 'write'])
  t.same(principal?.roles, ['model-admin'])
})

t.test('a denied token counts no more, from the next request on', async (t) => {
  const iat = nowSeconds - 10
  const denials = [
    { tokenId: 'token-1' }, { subject: 'ann' }, { session: 'session-1' }, {},
    { issuedBefore: iat * 1000 + 1 }, { subject: 'ann', issuedBefore: iat * 1000 + 1 }
  ]
  for (const denial of denials) {
    const denyList = memoryDenyList(() => nowSeconds * 1000)
    const authenticator = authenticatorOf([trusting(home)], { denyList })
    const token = bearer(home.token({ sid: 'session-1' }))
    for (const other of [{ subject: 'bob' }, { tokenId: 'ann' }, { session: 'session-2' }, { issuedBefore: iat * 1000 }]) denyList.deny({ issuer: home.issuer, ...other })
    denyList.deny({ issuer: 'https://partner.example' })
    t.ok(await authenticator.authenticate(token, requestFacts()))
    t.ok(authenticator.recall?.(token, requestFacts()))
    denyList.deny({ issuer: home.issuer, ...denial })
    t.equal(authenticator.recall?.(token, requestFacts()), null, JSON.stringify(denial))
    await t.rejects(Promise.resolve(authenticator.authenticate(token, requestFacts())), refusedFor('token-denied'))
  }
})

t.test('where nobody knows what is denied, no token counts, verified before or not', async (t) => {
  let answer: boolean | 'unknown' = false
  const authenticator = authenticatorOf([trusting(home)], { denyList: { denies: () => answer } })
  const token = bearer(home.token())
  t.ok(await authenticator.authenticate(token, requestFacts()))
  answer = 'unknown'
  t.equal(authenticator.recall?.(token, requestFacts()), null)
  for (const each of [token, bearer(home.token({ jti: 'token-2' }))]) {
    await t.rejects(Promise.resolve(authenticator.authenticate(each, requestFacts())), { code: 'FMG_ERR_DENY_LIST_UNAVAILABLE', statusCode: 503, reason: 'deny-list-stale' })
  }
  answer = false
  t.ok(authenticator.recall?.(token, requestFacts()))
})

t.test('a token bound to a certificate is good with that certificate alone', async (t) => {
  const authenticator = authenticatorOf([trusting(home)])
  const thumbprint = 'c'.repeat(43)
  const token = bearer(home.token({ cnf: { 'x5t#S256': thumbprint } }))
  const certificate = { der: Buffer.alloc(1), thumbprint }
  const other = { der: Buffer.alloc(1), thumbprint: 'd'.repeat(43) }
  for (const wrong of [null, other]) await t.rejects(Promise.resolve(authenticator.authenticate(token, requestFacts({ certificate: wrong }))), refusedFor('jwt-certificate'))
  const principal = await authenticator.authenticate(token, requestFacts({ certificate }))
  t.equal(principal?.credential.boundTo, thumbprint)
  t.equal(authenticator.recall?.(token, requestFacts({ certificate })), principal)
  for (const wrong of [null, other]) t.equal(authenticator.recall?.(token, requestFacts({ certificate: wrong })), null)
})

t.test('options that would trust more than was meant do not boot', async (t) => {
  const secret = createSecretKey(Buffer.alloc(32))
  const wrong: Partial<JwtIssuerOptions>[] = [
    { issuer: 'http://issuer.example' }, { issuer: 'issuer' }, { issuer: 'https://a|b' }, { issuer: 'https://user@issuer.example' }, { issuer: 'https://:secret@issuer.example' }, { issuer: 'https://issuer.example/#x' },
    { audiences: [] }, { algorithms: [] }, { algorithms: ['HS256', 'ES256'], secret, jwks: undefined }, { algorithms: ['HS256'] }, { algorithms: ['HS256'], jwks: undefined },
    { secret }, { secret, jwks: undefined }, { secret, jwks: undefined, algorithms: ['HS256', 'HS384'] }, { secret, jwks: undefined, algorithms: ['HS384'] },
    { jwksUrl: 'https://issuer.example/jwks' }, { jwks: undefined, jwksUrl: 'http://issuer.example/jwks' }, { jwks: { keys: [] } }, { jwks: { keys: ['x'] } },
    { clockToleranceSeconds: 61 }, { tier: '' }
  ]
  for (const changed of wrong) t.throws(() => authenticatorOf([trusting(home, changed)]), { code: 'FMG_ERR_OPTION_INVALID' }, Object.keys(changed).join())
  t.throws(() => authenticatorOf([]), { code: 'FMG_ERR_OPTION_INVALID' })
  t.throws(() => authenticatorOf([trusting(home), trusting(home)]), { code: 'FMG_ERR_OPTION_INVALID' })
  t.ok(authenticatorOf([trusting(home, { jwks: undefined, issuer: 'http://127.0.0.1:1' })]))
  t.ok(jwt({ issuers: [trusting(home)] }))
})

t.test('no changed token is accepted, every unchanged one is', async (t) => {
  const authenticator = authenticatorOf([trusting(home)])
  const judge = async (token: string): Promise<Principal | null> => await authenticator.authenticate(bearer(token), requestFacts())
  const letters = Array.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n')
  await fc.assert(fc.asyncProperty(fc.string({ minLength: 1, maxLength: 20 }), fc.nat(), fc.constantFrom('replace', 'insert', 'remove'), fc.constantFrom(...letters), async (sub, place, kind, letter) => {
    fc.pre(sub.isWellFormed())
    const good = home.token({ sub })
    t.match(await judge(good), { id: `${home.issuer}|${sub}` })
    const at = place % good.length
    const changed = good.slice(0, at) + (kind === 'remove' ? '' : letter) + good.slice(kind === 'insert' ? at : at + 1)
    fc.pre(changed !== good)
    await accepted(judge(changed)).then((is) => { t.notOk(is, changed) })
  }), { numRuns: 300 })
  await fc.assert(fc.asyncProperty(fc.string({ unit: fc.constantFrom(...letters), maxLength: 60 }), async (text) => { t.notOk(await accepted(judge(text))) }))
})

/** Whether a principal came out; "not mine" and a refusal are both a no. */
async function accepted (judging: Promise<Principal | null>): Promise<boolean> {
  return await judging.then((principal) => principal !== null, () => false)
}

function claimsOf (token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
}
