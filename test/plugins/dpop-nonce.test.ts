import { generateKeyPairSync } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import * as oauth from 'oauth4webapi'
import Provider from 'oidc-provider'
import t, { type Test } from 'tap'
import { jwt } from '../../src/authn/jwt.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'
import { listen } from '../helpers/listen.ts'

const audience = 'https://models.example'
const external = 'https://models.example/api'
const secret = 'secret-of-a-client'
const issuer = 'https://login.example'

/** A provider that binds tokens to keys, behind a proxy: what is asked of it goes there. */
async function startProvider (t: Test): Promise<(url: string, init: RequestInit) => Promise<Response>> {
  const resourceServer = { scope: 'predict', audience, accessTokenTTL: 300, accessTokenFormat: 'jwt' as const, jwt: { sign: { alg: 'ES256' as const } } }
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'app', client_secret: secret, id_token_signed_response_alg: 'ES256', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'ES256' }] },
    enabledJWA: { dPoPSigningAlgValues: ['ES256'] },
    features: {
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: { enabled: true, defaultResource: () => audience, getResourceServerInfo: () => resourceServer }
    }
  })
  provider.proxy = true
  const answer = provider.callback()
  const { url: inside } = await listen(t, (request, response) => { void answer(request, response) })
  return async (url, init) => {
    const headers = new Headers(init.headers)
    headers.set('x-forwarded-proto', 'https')
    headers.set('x-forwarded-host', new URL(issuer).host)
    return await fetch(url.replace(issuer, inside), { ...init, headers })
  }
}

interface Bound {
  readonly app: FastifyInstance & { reached: number }
  /** What the server was sent and answered. */
  readonly exchanged: readonly { readonly status: number, readonly nonce: string | null, readonly challenge: string | null }[]
  /** Asks with a proof of the client's own making, for the URL that it knows the server by. */
  readonly ask: () => Promise<Response>
  /** The server's time. */
  readonly state: { now: number }
}

/** A client that holds a bound token, and a server behind a proxy that asks for nonces. */
async function bound (t: Test): Promise<Bound> {
  const askProvider = await startProvider(t)
  const toProvider = { [oauth.customFetch]: async (url: string, { method, headers, body }: oauth.CustomFetchOptions<string, URLSearchParams | undefined>) => await askProvider(url, { method, headers, body }) }
  const state = { now: Date.now() }
  const clock = (): number => state.now
  const authenticators = [jwt({ issuers: [{ issuer, audiences: [audience], algorithms: ['ES256'], tier: 'standard' }], clock, fetch: askProvider, dpop: { replayStore: memoryReplayStore({ clock }), windowSeconds: 300, nonce: { lifetimeSeconds: 20 } } })]
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators, failedAttempts: { maxByAddress: 1, maxDelayMs: 0 } } }), {
    trustProxy: '127.0.0.1', rewriteUrl: ({ url = '' }) => url.replace(/^\/api/, '')
  })
  const client = { client_id: 'app' }
  const handle = oauth.DPoP({ ...client, [oauth.clockSkew]: 0 }, await oauth.generateKeyPair('ES256', { extractable: false }))
  const server = await oauth.processDiscoveryResponse(new URL(issuer), await oauth.discoveryRequest(new URL(issuer), { [oauth.customFetch]: async (url, { method, headers }) => await askProvider(url, { method, headers }) }))
  const asked = await oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(secret), { resource: audience, scope: 'predict' }, { DPoP: handle, ...toProvider })
  const { access_token: token } = await oauth.processClientCredentialsResponse(server, client, asked)
  const exchanged: { status: number, nonce: string | null, challenge: string | null }[] = []
  const through = async (url: string, { method, headers }: { method: string, headers: Record<string, string> }): Promise<Response> => {
    const { pathname, host } = new URL(url)
    const answer = await app.inject({ method: method === 'POST' ? 'POST' : 'GET', url: pathname, headers: { ...headers, host: 'inside', 'x-forwarded-proto': 'https', 'x-forwarded-host': host } })
    const response = new Response(answer.body, { status: answer.statusCode, headers: Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)]) })
    exchanged.push({ status: response.status, nonce: response.headers.get('dpop-nonce'), challenge: response.headers.get('www-authenticate') })
    return response
  }
  return {
    app,
    exchanged,
    state,
    ask: async () => await oauth.protectedResourceRequest(token, 'GET', new URL(`${external}/known`), new Headers(), null, {
      DPoP: handle, [oauth.customFetch]: async (url, options) => await through(url, { method: options.method, headers: options.headers })
    })
  }
}

t.test('a client learns the nonce, uses it, and is given the next before it ends', async (t) => {
  const { app, ask, exchanged, state } = await bound(t)
  for (let count = 0; count < 3; count++) {
    const refusal: unknown = await ask().catch((error: unknown) => error)
    t.ok(oauth.isDPoPNonceError(refusal))
    t.match(exchanged.at(-1), { status: 401, nonce: /^[\w-]{43}$/, challenge: /^DPoP realm="model-guard", algs="[\w ]+", error="use_dpop_nonce"$/ }, 'however often, it is not counted as bad')
    const answer = await ask()
    t.match(await answer.text(), /\|app$/)
    t.match(exchanged.at(-1), { status: 200, nonce: null })
    state.now += 60_000
  }
  state.now -= 60_000 - 20_000
  t.equal((await ask()).status, 200)
  t.match(exchanged.at(-1), { status: 200, nonce: /^[\w-]{43}$/ }, 'a new one before the old one ends')
  t.equal((await ask()).status, 200)
  t.match(exchanged.at(-1), { status: 200, nonce: null }, 'which is then the one that is used')
  t.equal(app.reached, 0)
})
