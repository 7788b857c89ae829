import fc from 'fast-check'
import * as oauth from 'oauth4webapi'
import t from 'tap'
import { jwt } from '../../src/authn/jwt.ts'
import { isGuardError } from '../../src/errors.ts'
import { requestFacts } from '../helpers/facts.ts'
import { signed, testIssuer } from '../helpers/tokens.ts'

// The other one has no clock to set. Times here are a thousand seconds from every edge.
const now = Math.floor(Date.now() / 1000)
const home = testIssuer()
const stranger = testIssuer()
const audience = 'https://models.example'

type Members = Readonly<Record<string, unknown>>

interface Token {
  readonly header: Members
  readonly claims: Members
  readonly text: string
}

const goodHeader: Members = { alg: 'ES256', typ: 'at+jwt', kid: 'one' }
const goodClaims: Members = { iss: home.issuer, aud: audience, sub: 'ann', client_id: 'app', jti: 'id', iat: now - 1000, exp: now + 2000, nbf: now - 1000, scope: 'read', roles: ['a'], sid: 's' }

const odd = [undefined, null, '', 'other', 7, -1, true, [], {}, [null], ['other'], 'x'.repeat(300)]
const times = [now - 5000, now - 1000, now + 1000, now + 5000, now + 200_000, now + 0.5, 1e300]
/** What may stand in place of each member. */
const changes = {
  header: { alg: ['none', 'HS256', 'ES384', 'es256'], typ: ['application/at+jwt', 'AT+JWT', 'JWT', 'dpop+jwt'], kid: ['two'], crit: [['exp'], []], b64: [false, true], jwk: [stranger.jwk] },
  claims: {
    iss: ['https://issuer.example/', 'https://partner.example'],
    aud: [[audience], ['other', audience], [audience, 7], { [audience]: true }, `${audience}/`],
    sub: ['bob'],
    client_id: ['ann'],
    jti: ['id2'],
    iat: times,
    exp: times,
    nbf: times,
    scope: ['read write', ['read']],
    roles: [['a', 'b'], 'a'],
    sid: ['s2'],
    act: [{ sub: 'bob' }, { act: 7 }],
    cnf: [{ jkt: 'x'.repeat(43) }, { jkt: 'x' }, { 'x5t#S256': 'x'.repeat(43) }]
  }
}

/** A change of one member, and the good token with some of them. */
const changed = (good: Members, alternatives: Readonly<Record<string, readonly unknown[]>>, maxLength: number): fc.Arbitrary<Members> => {
  const change = fc.constantFrom(...Object.entries(alternatives)).chain(([name, values]) => fc.constantFrom(...values, ...values, ...odd).map((value): Members => ({ [name]: value })))
  return fc.array(change, { maxLength }).map((made) => made.reduce((before, members) => ({ ...before, ...members }), good))
}
const seldom = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: value })

/** A good token, with up to two claims and a header changed, and seldom by another's key or with a character of its text changed. */
const tokens: fc.Arbitrary<Token> = fc.record({
  header: seldom(changed(goodHeader, changes.header, 2)),
  claims: changed(goodClaims, changes.claims, 2),
  by: seldom(fc.constant(stranger)),
  broken: seldom(fc.record({ at: fc.nat(), letter: fc.constantFrom('A', 'w', '-', '.', '=') }))
}).map(({ header, claims, by, broken }) => {
  const text = signed((by ?? home).privateKey, header ?? goodHeader, claims)
  const at = (broken?.at ?? 0) % text.length
  return { header: header ?? goodHeader, claims, text: broken === null ? text : text.slice(0, at) + broken.letter + text.slice(at + 1) }
})

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '' && value.length <= 255

/** Where we refuse and the other does not: our reason, and when it may be. It never is the other way round. */
const stricter: Readonly<Record<string, (token: Token) => boolean>> = {
  // RFC 7797 is not understood here, whether or not the header says that it must be.
  'jws-header-critical': ({ header }) => 'b64' in header,
  // A second spelling of the same bytes would be a second entry in caches and deny-lists.
  'jws-malformed': ({ text }) => text.split('.').some((part) => Buffer.from(part, 'base64url').toString('base64url') !== part),
  // RFC 7519 section 4.1.3: `aud` is a string or a list of strings.
  'jwt-audience': ({ claims: { aud } }) => Array.isArray(aud) && aud.includes(7),
  // An empty name is nobody's, and one of any length would be a key of any length in limits and logs.
  'jwt-subject': ({ claims: { sub } }) => !isText(sub),
  'jwt-client': ({ claims: { client_id: client } }) => !isText(client),
  'jwt-id': ({ claims: { jti } }) => !isText(jti),
  // What was issued in the future was issued by a clock that is wrong, or to outlive a denial of everything before.
  'jwt-issued-at': ({ claims: { iat } }) => Number(iat) > now + 5 || Number(iat) < 0,
  // A lifetime is bounded here.
  'jwt-lifetime': ({ claims: { iat, exp } }) => Number(exp) - Number(iat) > 86_400,
  // A number that is no time.
  'jwt-expired': ({ claims: { exp } }) => Number(exp) > 1e15,
  'jwt-not-yet-valid': ({ claims: { nbf } }) => Number(nbf) < 0,
  // An empty binding is one that is not understood, not none.
  'jwt-confirmation': ({ claims: { cnf } }) => JSON.stringify(cnf) === '{}',
  // Claims that the other does not read.
  'jwt-session': ({ claims: { sid } }) => !isText(sid),
  'jwt-claim-malformed': ({ claims: { roles, scope } }) => !Array.isArray(roles) || roles.includes(null) || typeof scope !== 'string',
  'jwt-actor': ({ claims: { act } }) => act !== undefined
}

t.test('another implementation of RFC 9068 agrees on 2,000 tokens, or there is a reason', async (t) => {
  const authenticator = jwt({ issuers: [{ issuer: home.issuer, audiences: [audience], algorithms: ['ES256'], jwks: { keys: [home.jwk] }, tier: 'standard' }], clock: () => now * 1000 })
  const ours = async (text: string): Promise<string> => {
    try {
      return await authenticator.authenticate({ scheme: 'bearer', value: text }, requestFacts()) === null ? 'not-mine' : 'accepted'
    } catch (error) {
      return isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID') ? String(error.reason) : String(error)
    }
  }
  const server: oauth.AuthorizationServer = { issuer: home.issuer, jwks_uri: `${home.issuer}/jwks` }
  const theirs = async (text: string): Promise<boolean> => {
    const request = new Request(audience, { headers: { authorization: `Bearer ${text}` } })
    const options = { signingAlgorithms: ['ES256'], [oauth.clockTolerance]: 5, [oauth.customFetch]: async () => Response.json({ keys: [home.jwk] }) }
    return await oauth.validateJwtAccessToken(server, request, audience, options).then(() => true, () => false)
  }

  const counts = { both: 0, neither: 0, stricter: 0 }
  await fc.assert(fc.asyncProperty(tokens, async (token) => {
    const [verdict, accepted] = [await ours(token.text), await theirs(token.text)]
    if (accepted === (verdict === 'accepted')) counts[accepted ? 'both' : 'neither']++
    else {
      counts.stricter++
      if (!accepted || stricter[verdict]?.(token) !== true) throw new Error(`${verdict}, and the other ${accepted ? 'accepts' : 'refuses'}`)
    }
  }), { numRuns: 2000 })
  t.ok(counts.both > 100 && counts.neither > 100, JSON.stringify(counts))
  t.comment(JSON.stringify(counts))
})
