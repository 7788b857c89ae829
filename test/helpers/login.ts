import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { browserSessions, type BrowserSessions } from '../../src/authn/browser-sessions.ts'
import { issuedTokens } from '../../src/authn/issued-tokens.ts'
import { memoryDenyList } from '../../src/authn/memory-deny-list.ts'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { refreshFamilies, type RefreshFamilies } from '../../src/authn/refresh-families.ts'
import type { TokenIssuer, TokenIssuerOptions } from '../../src/authn/token-issuer.ts'
import { login, type LoginOptions } from '../../src/plugins/login.ts'
import type { ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { tokenEndpoint } from '../../src/plugins/token-endpoint.ts'
import { testAuthenticator } from '../../src/testing.ts'
import { browser, overHttp, type Ask, type Browser } from './browser.ts'
import { startGithub, type Github } from './github.ts'
import { guardedApp, guardOptions } from './guard.ts'
import { issuerAt } from './issuer.ts'
import { nowSeconds } from './tokens.ts'

export const origin = 'https://models.example'

/** A guarded server with a login by the stand-in of GitHub, and a browser that knows both. */
export interface LoginWorld {
  readonly app: FastifyInstance & { reached: number }
  readonly github: Github
  readonly sessions: BrowserSessions
  readonly families: RefreshFamilies
  readonly issuer: TokenIssuer
  readonly time: { now: number }
  readonly browser: Browser
  /** Another one, that has been nowhere yet. */
  newBrowser (): Browser
}

export interface LoginWorldOptions {
  readonly login?: Partial<LoginOptions>
  readonly guard?: Partial<ModelGuardOptions>
  readonly graceSeconds?: number
  readonly members?: readonly unknown[]
  readonly tokens?: Partial<TokenIssuerOptions>
}

export const secret = { read: async () => Buffer.alloc(32, 7) }

/** Options of a login by this stand-in. */
export function githubOptions (github: Github, members: readonly unknown[] = [{ org: 'acme', roles: ['analyst'], principalOrg: 'acme' }]): LoginOptions['providers'][number] {
  const clientSecret = { read: async () => Buffer.from(`${github.clientSecret}\n`) }
  // As a configuration file gives them.
  return { kind: 'github', url: github.url, clientId: github.clientId, clientSecret, members: members as [], tier: 'standard' }
}

export async function loginWorld (t: Test, { login: more = {}, guard = {}, graceSeconds = 0, members, tokens = {} }: LoginWorldOptions = {}): Promise<LoginWorld> {
  const time = { now: nowSeconds * 1000 }
  const clock = (): number => time.now
  const github = await startGithub(t, `${origin}/login/github/callback`)
  const families = refreshFamilies({ store: memoryRefreshStore(), graceSeconds, clock })
  const denyList = memoryDenyList(clock)
  const issuer = await issuerAt(t, time, { denyList, ...tokens })
  const sessions = browserSessions({ origin, tokens: issuer, families, secret })
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [sessions.authenticator, issuedTokens({ issuer, sources: [sessions.authenticator], clock }), testAuthenticator()], failedAttempts: { maxDelayMs: 0 } }, ...guard }), { trustProxy: true })
  await app.register(tokenEndpoint, { issuer, families, clock })
  await app.register(login, { sessions, providers: [githubOptions(github, members)], edge: { max: 1000 }, clock, ...more })
  const newBrowser = (): Browser => browser(asks(app))
  return { app, github, sessions, families, issuer, time, browser: newBrowser(), newBrowser }
}

/** Asks an app without a socket for whatever is on no loopback address, and the network for all else. */
export function asks (app: FastifyInstance): Ask {
  return async (url, init) => {
    const { protocol, host, hostname, pathname, search } = new URL(url)
    if (hostname === '127.0.0.1') return await overHttp(url, init)
    const headers = { host, 'x-forwarded-proto': protocol.slice(0, -1), ...Object.fromEntries(new Headers(init.headers)) }
    const answer = await app.inject({ method: init.method === 'POST' ? 'POST' : 'GET', url: pathname + search, headers, ...typeof init.body === 'string' && { payload: init.body } })
    const response = new Headers()
    for (const [name, value] of Object.entries(answer.headers)) for (const line of [value ?? []].flat()) response.append(name, String(line))
    return new Response(answer.statusCode === 204 ? null : answer.body, { status: answer.statusCode, headers: response })
  }
}
