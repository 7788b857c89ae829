import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { listen } from './listen.ts'

/** A user of the stand-in, and what they are a member of. */
export interface GithubUser {
  id: number
  login: string
  /** Organizations by name: whether the membership is active, and the slugs of teams. */
  orgs: Record<string, { id: number, state?: 'active' | 'pending', teams?: Record<string, number> }>
}

/** What stands in for GitHub: codes are used once, PKCE and redirect_uri are verified, and nobody is told anything without a token. */
export interface Github {
  readonly url: string
  readonly clientId: string
  readonly clientSecret: string
  /** Who is logged in there, in whatever browser comes. */
  user: GithubUser
  /** Answers in place of the real ones: by path a status, or a body. */
  readonly instead: Map<string, { readonly status?: number, readonly body?: unknown, readonly location?: string }>
  /** Paths asked for, with their query. */
  readonly asked: string[]
  /** What the next authorization ends with, in place of a code. */
  declines: string | undefined
  /** Tokens expire, and are renewed by refresh tokens that are used once, as those of GitHub Apps. */
  expiring: boolean
  /** A refresh token lives on, and the answer to it names none. */
  lasting: boolean
  /** Access tokens count no more. */
  expire (): void
  revoke (): void
  readonly stop: () => void
}

interface Grant {
  readonly user: GithubUser
  readonly redirectUri: string
  readonly challenge: string | null
}

/** @param callbackUrl the one that is registered. */
export async function startGithub (t: Test, callbackUrl: string): Promise<Github> {
  const codes = new Map<string, Grant>()
  const tokens = new Map<string, GithubUser>()
  const refreshTokens = new Map<string, GithubUser>()
  const secret = (prefix: string): string => prefix + randomBytes(20).toString('hex')
  const { url, stop } = await listen(t, (request, response) => { void answer(request, response) })
  const github: Github = {
    url,
    clientId: 'client-1',
    clientSecret: 'a secret of GitHub',
    user: { id: 583231, login: 'octocat', orgs: { Acme: { id: 1001, teams: { ml: 2001 } } } },
    instead: new Map(),
    asked: [],
    declines: undefined,
    expiring: false,
    lasting: false,
    expire () { tokens.clear() },
    revoke () { for (const given of [codes, tokens, refreshTokens]) given.clear() },
    stop
  }
  return github

  async function answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(String(request.url), url)
    github.asked.push(String(request.url))
    const other = github.instead.get(pathname)
    if (other !== undefined) {
      response.writeHead(other.status ?? 200, { 'content-type': 'application/json', ...other.location !== undefined && { location: other.location } }).end(JSON.stringify(other.body ?? {}))
    } else if (pathname === '/login/oauth/authorize') authorize(searchParams, response)
    else if (pathname === '/login/oauth/access_token') exchange(new URLSearchParams(await bodyOf(request)), response)
    else if (pathname.startsWith('/api/v3/')) api(pathname.slice('/api/v3'.length), searchParams, request, response)
    else json(response, 404, { message: 'Not Found' })
  }

  function authorize (query: URLSearchParams, response: ServerResponse): void {
    const wanted = { client_id: github.clientId, redirect_uri: callbackUrl, response_type: 'code', code_challenge_method: 'S256' }
    const wrong = Object.entries(wanted).find(([name, value]) => query.get(name) !== value)
    if (wrong !== undefined) {
      json(response, 400, { message: `${wrong[0]} is ${String(query.get(wrong[0]))}` })
      return
    }
    const back = new URL(callbackUrl)
    back.searchParams.set('state', query.get('state') ?? '')
    if (github.declines !== undefined) back.searchParams.set('error', github.declines)
    else {
      const code = secret('')
      codes.set(code, { user: github.user, redirectUri: callbackUrl, challenge: query.get('code_challenge') })
      back.searchParams.set('code', code)
    }
    response.writeHead(302, { location: back.href }).end()
  }

  function exchange (form: URLSearchParams, response: ServerResponse): void {
    if (form.get('client_id') !== github.clientId || form.get('client_secret') !== github.clientSecret) json(response, 200, { error: 'incorrect_client_credentials' })
    else if (form.get('grant_type') === 'refresh_token') renew(form, response)
    else redeem(form, response)
  }

  function redeem (form: URLSearchParams, response: ServerResponse): void {
    const code = form.get('code') ?? ''
    const grant = codes.get(code)
    codes.delete(code)
    const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
    if (grant === undefined || grant.redirectUri !== form.get('redirect_uri') || grant.challenge !== challenge) {
      // Status 200, as GitHub does.
      json(response, 200, { error: 'bad_verification_code', error_description: 'The code passed is incorrect or expired.' })
      return
    }
    give(grant.user, response)
  }

  function renew (form: URLSearchParams, response: ServerResponse): void {
    const refreshToken = form.get('refresh_token') ?? ''
    const user = refreshTokens.get(refreshToken)
    if (!github.lasting) refreshTokens.delete(refreshToken)
    if (user === undefined) json(response, 200, { error: 'bad_refresh_token' })
    else give(user, response, !github.lasting)
  }

  function give (user: GithubUser, response: ServerResponse, withRefreshToken = github.expiring): void {
    const token = secret('gho_')
    tokens.set(token, user)
    const more = withRefreshToken ? { expires_in: 28_800, refresh_token: secret('ghr_') } : {}
    if (more.refresh_token !== undefined) refreshTokens.set(more.refresh_token, user)
    json(response, 200, { access_token: token, token_type: 'bearer', scope: 'read:org', ...more })
  }

  function api (path: string, query: URLSearchParams, { headers: { authorization = '' } }: IncomingMessage, response: ServerResponse): void {
    const user = tokens.get(authorization.replace(/^Bearer /, ''))
    if (user === undefined) {
      json(response, 401, { message: 'Requires authentication' })
      return
    }
    const orgs = Object.entries(user.orgs).map(([login, { id, state = 'active', teams = {} }]) => ({ organization: { id, login }, state, teams: Object.entries(teams) }))
    const answers: Record<string, () => unknown> = {
      '/user': () => ({ id: user.id, login: user.login }),
      // Whatever `state` was asked for: the reader must look for itself.
      '/user/memberships/orgs': () => page(orgs.map(({ organization, state }) => ({ organization, state })), query),
      '/user/teams': () => page(orgs.flatMap(({ organization, teams }) => teams.map(([slug, id]) => ({ id, slug, organization }))), query)
    }
    const found = answers[path]
    if (found === undefined) json(response, 404, { message: 'Not Found' })
    else json(response, 200, found())
  }
}

function page (list: readonly unknown[], query: URLSearchParams): readonly unknown[] {
  const size = Math.min(Number(query.get('per_page') ?? 30), 100)
  const from = (Number(query.get('page') ?? 1) - 1) * size
  return list.slice(from, from + size)
}

function json (response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body))
}

async function bodyOf (request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(Buffer.from(chunk as Uint8Array))
  return Buffer.concat(chunks).toString()
}
