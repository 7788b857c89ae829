import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { githubLogin, type GithubLoginOptions } from '../authn/github-login.ts'
import type { BrowserSessions } from '../authn/browser-sessions.ts'
import { loginFlows } from '../authn/login-flow.ts'
import type { LoginProvider } from '../authn/login-provider.ts'
import { openidLogin, type OpenidLoginOptions } from '../authn/openid-login.ts'
import { isOwnRequest } from '../authn/own-request.ts'
import { memoryReplayStore, type ReplayStore } from '../authn/replay-store.ts'
import { returnPath } from '../authn/return-path.ts'
import type { Fetch } from '../bounded-fetch.ts'
import { guardError, isGuardError } from '../errors.ts'
import { functionOf, havingMethods, integer, listOf, object, optional, optionInvalid, string, withDefault } from '../options.ts'
import { isJsonObject } from '../strict-json.ts'
import { edgeLimit, edgeLimitReader, type EdgeLimitOptions } from './edge-limit.ts'
import { loadOAuthPlugin, loginClient, type OAuthPlugin } from './login-client.ts'
import { loginPage, pageHeaders, problemPage, type LoginPaths } from './login-pages.ts'
import { loginSteps, type LoginRoute, type LoginStep, type LoginWay } from './login-steps.ts'
import { initiatorOf } from './request-facts.ts'
import { sessionCookies } from './session-cookies.ts'
import { sessionRenewal } from './session-renewal.ts'

/** Login by one provider. */
export type LoginProviderOptions = GithubLoginOptions | OpenidLoginOptions

export interface LoginOptions {
  /** Of `browserSessions`, whose authenticator is among those of `authenticate`. */
  readonly sessions: BrowserSessions
  /** At least one, each id once. */
  readonly providers: readonly LoginProviderOptions[]
  /** Between the way to the provider and the way back. Default 600. */
  readonly loginSeconds?: number
  /** Where logins that are finished are remembered, so that each is once; `redisReplayStore` where there are many nodes. Default: this process alone. */
  readonly replayStore?: ReplayStore
  /** Logins and renewals by address. Default 60 in 60 seconds. */
  readonly edge?: EdgeLimitOptions
  /** Default: that of the platform. Codes are exchanged by @fastify/oauth2, which has its own. */
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  // Fastify's own, and read by it.
  prefix: optional(string()),
  sessions: havingMethods<BrowserSessions>('begin', 'find', 'turn', 'issue', 'end'),
  providers: listOf((value) => value),
  loginSeconds: withDefault(integer({ min: 30, max: 3600 }), 600),
  replayStore: optional(havingMethods<ReplayStore>('remember')),
  edge: edgeLimitReader(60),
  fetch: withDefault(functionOf<Fetch>(), async (url, init) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

interface ProviderRoute extends LoginRoute {
  Params: { readonly provider: string }
}

const publicRoute = {
  exposeHeadRoute: false,
  config: { access: 'public' },
  // Fastify's own would write the URL to the log, and in it codes and states.
  logSerializers: { req: ({ method, routeOptions: { url: route } }: FastifyRequest) => ({ method, route }) }
} as const

/**
 * Login in a browser, by GitHub or any OpenID provider: `GET /login`, `/login/:provider` and its `/callback`, `POST /login/refresh`, `POST /logout`.
 * Needs @fastify/oauth2. Register it without fastify-plugin around it, for its error pages are its own.
 * @throws FMG_ERR_OPTION_INVALID
 */
export async function login (app: FastifyInstance, options: LoginOptions): Promise<void> {
  const { sessions, providers, loginSeconds, edge, fetch, clock, replayStore = memoryReplayStore({ clock }) } = readOptions(options, 'login')
  const { origin } = sessions
  const paths: LoginPaths = { login: `${app.prefix}/login`, logout: `${app.prefix}/logout` }
  const ways = waysOf(await loadOAuthPlugin(), providers.map((value, index) => readProvider(value, `login.providers[${index}]`, fetch, clock)), `${origin}${paths.login}`)
  const flows = loginFlows(sessions.sealer, origin.startsWith('https:'), loginSeconds)
  const cookies = sessionCookies(sessions, clock)
  const steps = loginSteps({ sessions, cookies, flows, replayStore, clock })
  const renew = sessionRenewal(sessions, ways)
  const limitEdge = await edgeLimit(app, edge)
  app.addHook('onClose', async () => { for (const { client } of ways.values()) await client.close() })

  app.setErrorHandler(function sendProblem (error, request, reply) {
    void reply.header('cache-control', 'no-store')
    if (!isGuardError(error)) throw error
    // RFC 9110 section 15.5.2: every 401 has a challenge.
    if (error.statusCode === 401) void reply.header('www-authenticate', 'Bearer realm="model-guard"')
    if (!wantsPage(request)) throw error
    if (error.statusCode >= 500) request.log.error({ err: error }, 'login failed')
    void reply.code(error.statusCode).headers({ ...error.headers, ...pageHeaders }).send(problemPage(error, origin, paths))
  })

  // A form without fields still names its type. What else is in it is not looked at.
  const form = 'application/x-www-form-urlencoded'
  if (!app.hasContentTypeParser(form)) app.addContentTypeParser(form, { parseAs: 'buffer', bodyLimit: 1024 }, (_request, _body, done) => { done(null) })

  app.get<LoginRoute>('/login', publicRoute, async (request, reply) => {
    const { returnTo } = request.query
    if (returnTo !== undefined && cookies.arePresent(request) && await isRenewed(request, reply)) return await reply.redirect(`${origin}${returnPath(returnTo)}`, 303)
    const choices = [...ways.values()].map(({ provider: { id, label } }) => ({ label, href: hrefOf(id, returnTo) }))
    if (!wantsPage(request)) return await reply.header('cache-control', 'no-store').send({ providers: choices })
    return await reply.headers(pageHeaders).send(loginPage(choices, returnTo === undefined && cookies.arePresent(request), paths))
  })

  app.get<ProviderRoute>('/login/:provider', publicRoute, async (request, reply) => await go(steps.begin, request, reply))
  app.get<ProviderRoute>('/login/:provider/callback', publicRoute, async (request, reply) => await go(steps.finish, request, reply))

  app.post('/login/refresh', publicRoute, async (request, reply) => {
    requireOwn(request)
    await renewPresent(request, reply)
    return await reply.code(204).header('cache-control', 'no-store').send()
  })

  app.post('/logout', publicRoute, async (request, reply) => {
    requireOwn(request)
    // First: whatever a store says, this browser is done with it.
    cookies.clear(reply)
    await cookies.endPresent(request)
    return wantsPage(request) ? await redirect(reply, `${origin}${paths.login}`) : await reply.code(204).header('cache-control', 'no-store').send()
  })

  /** One of the two steps, with the provider of the path. */
  async function go (step: LoginStep, request: FastifyRequest<ProviderRoute>, reply: FastifyReply): Promise<FastifyReply> {
    await limitEdge(request)
    const way = ways.get(request.params.provider)
    if (way !== undefined) return await redirect(reply, await step(way, request, reply))
    reply.callNotFound()
    return await reply
  }

  /** On this server's own address, whichever was used to come here: the cookie of the login must be set where the provider comes back to. */
  function hrefOf (id: string, returnTo: unknown): string {
    return `${origin}${paths.login}/${id}${returnTo === undefined ? '' : `?${new URLSearchParams({ returnTo: returnPath(returnTo) }).toString()}`}`
  }

  /** Cookies are sent whoever made the request; writes count only from this origin's own pages. */
  function requireOwn (request: FastifyRequest): void {
    if (!isOwnRequest(request.method, initiatorOf(request), origin)) throw guardError('FMG_ERR_ACCESS_DENIED', { reason: 'request-cross-site' })
  }

  async function renewPresent (request: FastifyRequest, reply: FastifyReply): Promise<void> {
    await limitEdge(request)
    try {
      const session = await renew(cookies.refreshToken(request))
      cookies.set(session, reply)
      if (session.token === undefined) throw session.problem
    } catch (error) {
      if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID') || isGuardError(error, 'FMG_ERR_ACCESS_DENIED')) cookies.clear(reply)
      throw error
    }
  }

  /** Whether the session goes on; `false` when it has ended, and a new login is due. */
  async function isRenewed (request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    try {
      await renewPresent(request, reply)
      return true
    } catch (error) {
      if (!isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) throw error
      return false
    }
  }
}

function readProvider (value: unknown, path: string, fetch: Fetch, clock: () => number): LoginProvider {
  const kind = isJsonObject(value) ? value.kind : undefined
  if (kind === 'github') return githubLogin(value, path, fetch)
  if (kind === 'openid') return openidLogin(value, path, fetch, clock)
  throw optionInvalid(`${path}.kind`, 'one of github, openid', kind)
}

function waysOf (plugin: OAuthPlugin, providers: readonly LoginProvider[], url: string): ReadonlyMap<string, LoginWay> {
  const ways = new Map(providers.map((provider) => [provider.id, { provider, client: loginClient(plugin, provider, `${url}/${provider.id}/callback`) }]))
  if (ways.size === 0 || ways.size < providers.length) throw optionInvalid('login.providers', 'a list of at least one, each id once', providers)
  return ways
}

function wantsPage ({ headers: { accept = '' } }: Pick<FastifyRequest, 'headers'>): boolean {
  return accept.includes('text/html')
}

async function redirect (reply: FastifyReply, url: string): Promise<FastifyReply> {
  return await reply.header('cache-control', 'no-store').header('referrer-policy', 'same-origin').redirect(url, 303)
}
