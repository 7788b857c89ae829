import { createHash, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import type { RequestListener } from 'node:http'
import Provider, { type Configuration } from 'oidc-provider'
import t, { type Test } from 'tap'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { introspection } from '../../src/authn/introspection.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import type { Principal } from '../../src/principal.ts'
import { requestFacts } from '../helpers/facts.ts'
import { memberOf, textOf } from '../helpers/json.ts'
import { listen } from '../helpers/listen.ts'
import { signed } from '../helpers/tokens.ts'

const audience = 'https://models.example'
const secret = 'a secret of a client'
const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

/** A provider of this process; its keys are changed by starting another in its place. */
async function startProvider (t: Test, format: 'jwt' | 'opaque'): Promise<{ issuer: string, rotate: (...kids: string[]) => void }> {
  let handler: RequestListener = () => undefined
  const { url: issuer } = await listen(t, (request, response) => { handler(request, response) })
  return {
    issuer,
    rotate (...kids) {
      const answer = new Provider(issuer, configuration(format, kids)).callback()
      handler = (request, response) => { void answer(request, response) }
    }
  }
}

const privateKeys = new Map<string, JsonWebKey>()

function privateKey (kid: string): JsonWebKey {
  const key = privateKeys.get(kid) ?? { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' }
  privateKeys.set(kid, key)
  return key
}

function configuration (format: 'jwt' | 'opaque', kids: readonly string[]): Configuration {
  const resourceServer = { scope: 'predict read', audience, accessTokenTTL: 300, accessTokenFormat: format, jwt: { sign: { alg: 'ES256' as const } } }
  return {
    clients: [{ client_id: 'app', client_secret: secret, id_token_signed_response_alg: 'ES256', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    jwks: { keys: kids.map(privateKey) },
    enabledJWA: { dPoPSigningAlgValues: ['ES256'] },
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      dPoP: { enabled: true },
      resourceIndicators: { enabled: true, defaultResource: () => audience, getResourceServerInfo: () => resourceServer }
    }
  }
}

async function takeToken (issuer: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`app:${secret.replaceAll(' ', '+')}`).toString('base64')}`, ...headers },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'predict', resource: audience })
  })
  return textOf(memberOf(await response.json(), 'access_token'))
}

const holder = generateKeyPairSync('ec', { namedCurve: 'P-256' })

function proof (method: string, url: string, token?: string): string {
  const ath = token === undefined ? {} : { ath: createHash('sha256').update(token).digest('base64url') }
  return signed(holder.privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk: holder.publicKey.export({ format: 'jwk' }) }, { htm: method, htu: url, iat: Math.floor(Date.now() / 1000), jti: url, ...ath })
}

async function ask (authenticator: Authenticator, value: string): Promise<Principal | null> {
  return await authenticator.authenticate({ scheme: 'bearer', value }, requestFacts())
}

t.test('a provider’s tokens are good, and stay so when its keys rotate', async (t) => {
  const { issuer, rotate } = await startProvider(t, 'jwt')
  let passed = 0
  rotate('one')
  const authenticator = jwt({ issuers: [{ issuer, audiences: [audience], algorithms: ['ES256'], tier: 'standard' }], clock: () => Date.now() + passed })
  const first = await takeToken(issuer)
  t.match(await ask(authenticator, first), { id: `${issuer}|app`, type: 'service', scopes: ['predict'], credential: { method: 'jwt', issuer } })
  t.ok(authenticator.recall?.({ scheme: 'bearer', value: first }, requestFacts()))

  rotate('two', 'one')
  const second = await takeToken(issuer)
  await t.rejects(ask(authenticator, second), refusedFor('jwt-key-unknown'), 'within the cool-down')
  passed = 31_000
  t.match(await ask(authenticator, second), { id: `${issuer}|app` })
  t.ok(authenticator.recall?.({ scheme: 'bearer', value: first }, requestFacts()), 'the old key is still published')
  await t.rejects(ask(jwt({ issuers: [{ issuer, audiences: ['https://other.example'], algorithms: ['ES256'], tier: 'standard' }] }), first), refusedFor('jwt-audience'))
  await t.rejects(ask(jwt({ issuers: [{ issuer, audiences: [audience], algorithms: ['RS256'], tier: 'standard' }] }), first), refusedFor('jwt-algorithm'))
})

t.test('a token that a provider bound to a key needs its proof', async (t) => {
  const { issuer, rotate } = await startProvider(t, 'jwt')
  rotate('one')
  const token = await takeToken(issuer, { dpop: proof('POST', `${issuer}/token`) })
  const authenticator = jwt({ issuers: [{ issuer, audiences: [audience], algorithms: ['ES256'], tier: 'standard' }], dpop: { replayStore: memoryReplayStore() } })
  const { method, url } = requestFacts()
  await t.rejects(ask(authenticator, token), refusedFor('jwt-scheme'))
  t.match(await authenticator.authenticate({ scheme: 'dpop', value: token }, requestFacts({ dpopProofs: [proof(method, url, token)] })), { id: `${issuer}|app`, credential: { boundTo: /^[\w-]{43}$/ } })
})

t.test('a provider is asked about its opaque tokens', async (t) => {
  const { issuer, rotate } = await startProvider(t, 'opaque')
  rotate('one')
  const token = await takeToken(issuer)
  const options = { issuer, endpoint: `${issuer}/token/introspection`, audiences: [audience], clientId: 'app', tier: 'standard' }
  const authenticator = introspection({ ...options, clientSecret: { read: async () => Buffer.from(secret) } })
  t.match(await ask(authenticator, token), { id: `${issuer}|app`, type: 'service', scopes: ['predict'] })
  await t.rejects(ask(authenticator, `${token}x`), refusedFor('token-inactive'))
  const stranger = introspection({ ...options, clientSecret: { read: async () => Buffer.from('another') } })
  await t.rejects(ask(stranger, token), { code: 'FMG_ERR_ISSUER_UNAVAILABLE' })
})
