import Fastify, { type FastifyInstance } from 'fastify'
import { badCredential } from '../authn/bad-credential.ts'
import type { LoginEndpoints, LoginProvider, ProviderTokens } from '../authn/login-provider.ts'
import { guardError, type GuardError } from '../errors.ts'
import { isJsonObject, type JsonObject } from '../strict-json.ts'

/** What a browser is sent to a provider with, and what it keeps for its way back. */
export interface Authorization {
  readonly url: string
  /** Of PKCE (RFC 7636), S256. */
  readonly verifier: string
}

/** This server as a client of a provider, by @fastify/oauth2. */
export interface LoginClient {
  /** @throws FMG_ERR_ISSUER_UNAVAILABLE */
  authorize (state: string, nonce: string): Promise<Authorization>
  /**
   * @throws FMG_ERR_CREDENTIAL_INVALID when the provider does not take the code.
   * @throws FMG_ERR_ISSUER_UNAVAILABLE
   */
  exchange (code: string, verifier: string): Promise<ProviderTokens>
  /**
   * @throws FMG_ERR_CREDENTIAL_INVALID when the provider does not take the refresh token (any more).
   * @throws FMG_ERR_ISSUER_UNAVAILABLE
   */
  renew (refreshToken: string): Promise<ProviderTokens>
  close (): Promise<void>
}

/** Members of the token endpoint's answer, as they came. */
interface OAuthAnswer {
  readonly token: JsonObject
}

/** What is used of the decorator of @fastify/oauth2, and what that uses of requests and replies. */
interface OAuthNamespace {
  generateAuthorizationUri (request: { readonly id: string }, reply: { setCookie (name: string, value: string): void }): Promise<string>
  getAccessTokenFromAuthorizationCodeFlow (request: { readonly query: { readonly code: string }, readonly cookies: Readonly<Record<string, string>> }): Promise<OAuthAnswer>
  getNewAccessTokenUsingRefreshToken (token: { readonly refresh_token: string }, params: object): Promise<OAuthAnswer>
}

const verifierCookie = 'verifier'
// RFC 6749 section 5.2 and GitHub: the caller's code or token, all others are this server's own registration.
const refusedGrants = ['invalid_grant', 'bad_verification_code', 'bad_refresh_token']

/** The plugin of @fastify/oauth2. */
export type OAuthPlugin = Awaited<ReturnType<typeof loadOAuthPlugin>>

/** @throws FMG_ERR_OPTION_INVALID when it is not installed. */
export async function loadOAuthPlugin () {
  const { default: plugin } = await import('@fastify/oauth2').catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'login needs the package @fastify/oauth2: npm install @fastify/oauth2', cause })
  })
  return plugin
}

/** @param callbackUrl as it is registered with the provider, to the letter. */
export function loginClient (plugin: OAuthPlugin, provider: LoginProvider, callbackUrl: string): LoginClient {
  let current: { readonly key: string, readonly host: FastifyInstance, readonly oauth: OAuthNamespace } | undefined

  /** Made anew when the provider has moved, or the secret was replaced. */
  async function client (): Promise<OAuthNamespace> {
    const endpoints = await provider.endpoints()
    const secret = await secretOf(provider)
    const key = JSON.stringify([endpoints, secret])
    if (current?.key === key) return current.oauth
    const host = await hostOf(plugin, provider, endpoints, secret, callbackUrl)
    const oauth = host.getDecorator<OAuthNamespace>('login')
    await current?.host.close()
    current = { key, host, oauth }
    return oauth
  }

  return {
    async authorize (state, nonce) {
      const oauth = await client()
      let verifier = ''
      const url = new URL(await oauth.generateAuthorizationUri({ id: state }, { setCookie: (name, value) => { if (name === verifierCookie) verifier = value } }))
      if (provider.scopes.includes('openid')) url.searchParams.set('nonce', nonce)
      return { url: url.href, verifier }
    },
    async exchange (code, verifier) {
      const oauth = await client()
      return await tokensFrom(async () => await oauth.getAccessTokenFromAuthorizationCodeFlow({ query: { code }, cookies: { [verifierCookie]: verifier } }))
    },
    async renew (refreshToken) {
      const oauth = await client()
      const tokens = await tokensFrom(async () => await oauth.getNewAccessTokenUsingRefreshToken({ refresh_token: refreshToken }, {}))
      // RFC 6749 section 6: without a new one the old one goes on.
      return { ...tokens, refreshToken: tokens.refreshToken ?? refreshToken }
    },
    async close () { await current?.host.close() }
  }
}

/** White space around it, a line feed at the end of its file, is no part of it. */
async function secretOf ({ clientSecret }: LoginProvider): Promise<string> {
  const secret = Buffer.from(await clientSecret.read()).toString().trim()
  // RFC 6749 appendix A.2. @fastify/oauth2 refuses any other, too, by an error that quotes it.
  if (!/^[ -~]+$/.test(secret)) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'client-secret-malformed' })
  return secret
}

// An instance of its own: a server that uses @fastify/oauth2 or @fastify/cookie itself is not disturbed, and cookies are set by the login, one a tab.
async function hostOf (plugin: OAuthPlugin, { clientId, scopes, timeoutMs, maxBytes }: LoginProvider, endpoints: LoginEndpoints, secret: string, callbackUri: string): Promise<FastifyInstance> {
  const authorization = new URL(endpoints.authorization)
  const token = new URL(endpoints.token)
  const host = Fastify()
  await host.register(plugin, {
    name: 'login',
    scope: [...scopes],
    callbackUri,
    pkce: 'S256',
    verifierCookieName: verifierCookie,
    // The state is sealed, and was held against the browser, before it comes here.
    generateStateFunction: ({ id }) => id,
    checkStateFunction: () => true,
    credentials: {
      client: { id: clientId, secret },
      auth: { authorizeHost: authorization.origin, authorizePath: authorization.pathname + authorization.search, tokenHost: token.origin, tokenPath: token.pathname + token.search },
      options: { authorizationMethod: endpoints.clientSecretIn },
      // Redirects are not followed: the code and the secret go where the metadata says, and nowhere else.
      http: { timeout: timeoutMs, maxBytes, redirects: false }
    }
  })
  return host
}

async function tokensFrom (ask: () => Promise<OAuthAnswer>): Promise<ProviderTokens> {
  let answer: JsonObject
  try {
    answer = (await ask()).token
  } catch (error) {
    throw refusalOf(payloadOf(error))
  }
  const { accessToken, refreshToken, idToken } = readTokens(answer)
  // GitHub answers 200 to a code that it does not take, and @fastify/oauth2 hands that on as if it were a token.
  if (accessToken === undefined) throw refusalOf(answer)
  return { accessToken, refreshToken, idToken }
}

function readTokens (answer: JsonObject): { readonly [K in keyof ProviderTokens]: ProviderTokens[K] | undefined } {
  return { accessToken: text(answer.access_token), refreshToken: text(answer.refresh_token), idToken: text(answer.id_token) }
}

function text (value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** What the token endpoint said with a status of failure. The error itself is left behind: it holds the request, and in it the secret. */
function payloadOf (error: unknown): unknown {
  const data = error instanceof Error && 'data' in error ? error.data : undefined
  return isJsonObject(data) ? data.payload : undefined
}

function refusalOf (payload: unknown): GuardError {
  const code = isJsonObject(payload) && typeof payload.error === 'string' ? payload.error : 'no answer'
  if (refusedGrants.includes(code)) return badCredential('login-code-refused')
  return guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'login-token-endpoint', cause: new Error(/^[\w ]{1,40}$/.test(code) ? code : 'an unknown error') })
}
