import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t from 'tap'
import { clientCertificate } from '../../src/authn/client-certificate.ts'
import { jwtSvid, type JwtSvidOptions } from '../../src/authn/jwt-svid.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { memoryDenyList } from '../../src/authn/memory-deny-list.ts'
import { mtls } from '../../src/authn/mtls.ts'
import type { TrustDomainOptions } from '../../src/authn/trust-domain.ts'
import type { Principal } from '../../src/principal.ts'
import { issue, namesOf } from '../helpers/certificates.ts'
import { requestFacts } from '../helpers/facts.ts'
import { nowSeconds, signed, testIssuer } from '../helpers/tokens.ts'

const { privateKey, jwk } = testIssuer('https://unused.example', 'prod-1')
const svidKey = { ...jwk, use: 'jwt-svid' }
const spiffeId = 'spiffe://prod.example/ns/ml/sa/scorer'
const audience = 'https://models.example'
const good = { sub: spiffeId, aud: [audience], exp: nowSeconds + 300, iat: nowSeconds }
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

/** A good token of the scorer, with these changed. */
function svid (claims: Readonly<Record<string, unknown>> = {}, header: Readonly<Record<string, unknown>> = {}, key = privateKey): string {
  return signed(key, { alg: 'ES256', kid: 'prod-1', typ: 'JWT', ...header }, { ...good, ...claims })
}

function trusting (changed: Partial<TrustDomainOptions> = {}): TrustDomainOptions {
  return { name: 'prod.example', bundle: { keys: [svidKey] }, ...changed }
}

function asking (changed: Partial<JwtSvidOptions> = {}) {
  const authenticator = jwtSvid({ trustDomains: [trusting()], audiences: [audience], clock: () => nowSeconds * 1000, ...changed })
  return {
    authenticator,
    ask: async (value = svid(), scheme = 'bearer'): Promise<Principal | null> => await authenticator.authenticate({ scheme, value }, requestFacts()),
    recall: (value: string): Principal | null => authenticator.recall?.({ scheme: 'bearer', value }, requestFacts()) ?? null
  }
}

t.test('a workload is the same principal by its token as by its certificate', async (t) => {
  const identities = [{ spiffeId: 'spiffe://prod.example/batch', id: 'batch', org: 'acme', team: 'nightly', tier: 'pro' }]
  const { ask } = asking({ identities })
  const authority = issue({ subject: 'prod', isAuthority: true })
  const certificates = mtls({ authorities: [{ certificate: authority.certificate, trustDomain: 'prod.example', identities }], clock: () => nowSeconds * 1000, onExpiring: () => undefined })
  for (const sub of [spiffeId, 'spiffe://prod.example/batch']) {
    const leaf = issue({ subject: 'leaf', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf(sub) })
    const certificate = clientCertificate(leaf.certificate.raw)
    const byCertificate = await certificates.authenticate({ scheme: 'certificate', value: certificate.thumbprint }, requestFacts({ certificate }))
    const byToken = await ask(svid({ sub }))
    t.same({ ...byToken, credential: null }, { ...byCertificate, credential: null })
  }
  t.match(await ask(), { id: spiffeId, type: 'service', tier: 'standard', roles: [], scopes: [], credential: { method: 'jwt', issuer: 'spiffe://prod.example', id: /^[\w-]{43}$/, expiresAt: good.exp * 1000 } })
  t.match(await asking({ tier: 'trial' }).ask(svid({ jti: 'x' })), { tier: 'trial', credential: { id: 'x' } })
})

t.test('what it was verified as is remembered until it ends, is denied or its key is gone', async (t) => {
  let now = nowSeconds * 1000
  const denyList = memoryDenyList()
  const { ask, recall } = asking({ clock: () => now, denyList })
  const token = svid({ iat: undefined })
  t.equal(recall(token), null)
  const principal = await ask(token)
  t.equal(recall(token), principal)
  now += 299_999
  t.equal(recall(token), principal)
  now += 1
  t.equal(recall(token), null)
  now -= 1
  denyList.deny({ issuer: 'spiffe://prod.example', subject: spiffeId })
  t.equal(recall(token), null)
  await t.rejects(ask(token), refusedFor('token-denied'))
})

t.test('every part of a token is checked', async (t) => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(good)).toString('base64url')}.AA`
  const refused: Record<string, readonly string[]> = {
    'svid-subject': ['spiffe:', 'spiffe://prod.example', 'spiffe://prod.example/', 'spiffe://prod.example/a/../b', 'spiffe://PROD.example/a', 'spiffe://prod.example:1/a', 'spiffe://prod.example/a?b', [spiffeId]].map((sub) => svid({ sub })),
    'svid-trust-domain-unknown': [svid({ sub: 'spiffe://other.example/a' })],
    'svid-header': [{ jku: 'https://x.example' }, { x5c: [] }, { jwk }, { cty: 'JWT' }, { foo: 1 }].map((header) => svid({}, header)),
    'jws-header-critical': [svid({}, { crit: ['exp'] })],
    'svid-type': ['at+jwt', 'jwt', 'application/jwt', ''].map((typ) => svid({}, { typ })),
    'svid-algorithm': [unsigned, svid({}, { alg: 'HS256' }), svid({}, { alg: 'PS256' }), svid({}, { alg: 'EdDSA' })],
    'svid-key-unknown': [svid({}, { kid: 'prod-2' }), svid({}, { alg: 'ES384' }), svid({}, { alg: 'RS256' }, rsa)],
    'jws-signature': [svid({}, {}, other)],
    'svid-audience': [undefined, 'https://other.example', [], [7], 'https://models.example/', { 0: audience }].map((aud) => svid({ aud })),
    'svid-expired': [undefined, nowSeconds - 5, '9999999999', null].map((exp) => svid({ exp })),
    'svid-not-yet-valid': [...['x', nowSeconds + 6].map((nbf) => svid({ nbf })), ...['x', nowSeconds + 6, null].map((iat) => svid({ iat }))],
    'svid-lifetime': [svid({ exp: nowSeconds + 86_401 }), svid({ exp: nowSeconds + 86_401, iat: undefined }), svid({ exp: 1e300 })],
    'svid-id': [svid({ jti: '' }), svid({ jti: 7 })],
    'jwt-confirmation': [svid({ cnf: {} })]
  }
  const { ask } = asking()
  for (const [reason, tokens] of Object.entries(refused)) for (const token of tokens) await t.rejects(ask(token), refusedFor(reason), token)
  for (const token of [svid({}, { typ: undefined }), svid({}, { typ: 'JOSE' }), svid({}, { kid: undefined }), svid({ aud: audience }), svid({ iat: undefined }), svid({ exp: nowSeconds - 4 }), svid({ nbf: nowSeconds + 5 }), svid({ iat: nowSeconds + 5 })]) {
    t.ok(await ask(token), token)
  }
})

t.test('only the trust domain of the subject speaks for it', async (t) => {
  const partner = testIssuer('https://unused.example', 'partner-1')
  const { ask } = asking({ trustDomains: [trusting(), trusting({ name: 'partner.example', bundle: { keys: [{ ...partner.jwk, use: 'jwt-svid' }] } })] })
  const signedByPartner = (sub: string): string => svid({ sub }, { kid: 'partner-1' }, partner.privateKey)
  t.match(await ask(signedByPartner('spiffe://partner.example/a')), { id: 'spiffe://partner.example/a', credential: { issuer: 'spiffe://partner.example' } })
  await t.rejects(ask(signedByPartner(spiffeId)), refusedFor('svid-key-unknown'))
  await t.rejects(ask(svid({ sub: 'spiffe://partner.example/a' })), refusedFor('svid-key-unknown'))
})

t.test('of a bundle, only keys for tokens with an id are used, each with one algorithm', async (t) => {
  for (const changed of [{ use: undefined }, { use: 'sig' }, { use: 'x509-svid' }, { use: 'jwt-svid', kid: undefined }]) {
    const { ask } = asking({ trustDomains: [trusting({ bundle: { keys: [{ ...svidKey, ...changed }, 'x'] } })] })
    await t.rejects(ask(svid({}, { kid: undefined })), refusedFor('svid-key-unknown'))
  }
  const { privateKey: key, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const keys = [{ ...publicKey.export({ format: 'jwk' }), kid: 'rsa', use: 'jwt-svid' }]
  const rs256 = ((input: string) => `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`)(svid({}, { alg: 'RS256', kid: 'rsa' }).split('.', 2).join('.'))
  t.ok(await asking({ trustDomains: [trusting({ bundle: { keys } })] }).ask(rs256))
  await t.rejects(asking({ trustDomains: [trusting({ bundle: { keys }, algorithms: ['PS256'] })] }).ask(rs256), refusedFor('svid-algorithm'))
})

t.test('a bundle that is fetched rotates, and is a 503 where it cannot be reached', async (t) => {
  let [now, answer] = [nowSeconds * 1000, { keys: [svidKey], spiffe_sequence: 1, spiffe_refresh_hint: 300 } as unknown]
  const asked: string[] = []
  const bundleUrl = 'https://prod.example/bundle.json'
  const { ask, recall } = asking({
    trustDomains: [{ name: 'prod.example', bundleUrl }],
    clock: () => now,
    fetch: async (url) => {
      asked.push(url)
      return Response.json(answer)
    }
  })
  const token = svid({ exp: nowSeconds + 3000 })
  t.ok(await ask(token))
  await t.rejects(ask(svid({ sub: 'spiffe://other.example/a' })), refusedFor('svid-trust-domain-unknown'))
  t.same(asked, [bundleUrl])
  const next = testIssuer('https://unused.example', 'prod-2')
  answer = { keys: [{ ...next.jwk, use: 'jwt-svid' }] }
  now += 301_000
  t.ok(await ask(svid({ exp: nowSeconds + 3000 }, { kid: 'prod-2' }, next.privateKey)))
  t.equal(recall(token), null, 'its key is gone')
  await t.rejects(ask(token), refusedFor('svid-key-unknown'))
  for (const wrong of [[], {}, { keys: {} }]) {
    answer = wrong
    now += 301_000
    await t.rejects(ask(token), { code: 'FMG_ERR_ISSUER_UNAVAILABLE', statusCode: 503 })
  }
})

t.test('what is no such token is left to the next, and what is one is not', async (t) => {
  const home = testIssuer()
  const { ask, authenticator, recall } = asking()
  for (const value of ['fmg_live_x', 'opaque', home.token(), home.token({ azp: 'spiffe:' }), `a.${Buffer.from('{"sub":"spiffe:').toString('base64url')}.b`, 'a.b.c']) {
    t.equal(await ask(value), null, value)
    t.equal(recall(value), null)
  }
  t.equal(await ask(svid(), 'dpop'), null)
  t.equal(await ask(svid(), 'x-api-key'), null)
  t.equal(authenticator.isMine?.({ scheme: 'bearer', value: svid() }), true)
  const issuers = [{ issuer: home.issuer, audiences: [audience], algorithms: ['ES256'] as const, jwks: { keys: [home.jwk] }, tier: 'standard' }]
  await t.rejects(Promise.resolve(jwt({ issuers }).authenticate({ scheme: 'bearer', value: svid() }, requestFacts())), refusedFor('jwt-issuer-unknown'))
})

t.test('a token bound to a key is refused, for nothing proves that one holds it', async (t) => {
  await t.rejects(asking().ask(svid({ cnf: { jkt: createHash('sha256').digest('base64url') } })), refusedFor('jwt-scheme'))
})

t.test('options that would trust more than was meant do not boot', async (t) => {
  const identity = { spiffeId, id: 'scorer' }
  const wrong: Record<string, Partial<JwtSvidOptions>> = {
    'no trust domain': { trustDomains: [] },
    'one twice': { trustDomains: [trusting(), trusting()] },
    'no audience': { audiences: [] },
    'no name of a trust domain': { trustDomains: [trusting({ name: 'spiffe://prod.example' })] },
    'no bundle': { trustDomains: [{ name: 'prod.example' }] },
    'two bundles': { trustDomains: [trusting({ bundleUrl: 'https://prod.example/' })] },
    'a bundle in the clear': { trustDomains: [{ name: 'prod.example', bundleUrl: 'http://prod.example/' }] },
    'no algorithm': { trustDomains: [trusting({ algorithms: [] })] },
    'two for a key of RSA': { trustDomains: [trusting({ algorithms: ['RS256', 'PS256'] })] },
    'another algorithm': { trustDomains: [trusting({ algorithms: ['EdDSA' as never] })] },
    'a workload twice': { identities: [identity, identity] },
    'a workload without a path': { identities: [{ ...identity, spiffeId: 'spiffe://prod.example' }] },
    'a workload that is none': { identities: [{ ...identity, spiffeId: 'scorer' }] },
    'too much tolerance': { clockToleranceSeconds: 61 }
  }
  for (const [what, options] of Object.entries(wrong)) t.throws(() => asking(options), { code: 'FMG_ERR_OPTION_INVALID' }, what)
  t.ok(asking({ clock: undefined, fetch: undefined }))
})
