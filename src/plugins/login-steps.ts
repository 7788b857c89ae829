import type { FastifyReply, FastifyRequest } from 'fastify'
import { badCredential } from '../authn/bad-credential.ts'
import { setCookie } from '../authn/browser-cookie.ts'
import type { BrowserSessions } from '../authn/browser-sessions.ts'
import { usedMark, type LoginFlows } from '../authn/login-flow.ts'
import type { LoginProvider } from '../authn/login-provider.ts'
import type { ReplayStore } from '../authn/replay-store.ts'
import { returnPath } from '../authn/return-path.ts'
import { randomBase62 } from '../encoding.ts'
import { guardError } from '../errors.ts'
import type { LoginClient } from './login-client.ts'
import { arrivalOf, checkState, usedState } from './login-state.ts'
import { keepOf, type SessionCookies } from './session-cookies.ts'

/** A provider, and this server as its client. */
export interface LoginWay {
  readonly provider: LoginProvider
  readonly client: LoginClient
}

/** A parameter that came twice is a list, and then none. */
export interface LoginRoute {
  Querystring: Readonly<Record<string, unknown>>
}

export interface LoginStepsOptions {
  readonly sessions: BrowserSessions
  readonly cookies: SessionCookies
  readonly flows: LoginFlows
  readonly replayStore: ReplayStore
  /** Milliseconds since the epoch. */
  readonly clock: () => number
}

/** @returns where the browser is sent. */
export type LoginStep = (way: LoginWay, request: FastifyRequest<LoginRoute>, reply: FastifyReply) => Promise<string>

/** Both steps of a login. */
export interface LoginSteps {
  /** To the provider. */
  readonly begin: LoginStep
  /** And back. */
  readonly finish: LoginStep
}

// RFC 6749 section 4.1.2.1 and OpenID Connect Core 1.0 section 3.1.2.6: the person's answer. All others are the provider's, or this server's registration.
const declined = ['access_denied', 'login_required', 'interaction_required', 'consent_required', 'account_selection_required']

export function loginSteps ({ sessions, cookies, flows, replayStore, clock }: LoginStepsOptions): LoginSteps {
  const { origin } = sessions

  return {
    async begin ({ provider, client }, request, reply) {
      // An image or a frame of another page begins no login.
      const { 'sec-fetch-dest': destination = 'document' } = request.headers
      if (destination !== 'document') throw guardError('FMG_ERR_REQUEST_INVALID', { reason: 'login-not-navigation', detail: 'a login begins in the address bar, or by a link' })
      const id = flows.newId()
      const nonce = randomBase62(43)
      const state = await flows.sealState({ id, provider: provider.id, startedAt: clock(), ...arrivalOf(request, origin) })
      const { url, verifier } = await client.authorize(state, nonce)
      const pending = await flows.sealPending({ id, verifier, nonce, returnTo: returnPath(request.query.returnTo) })
      for (const name of flows.surplus(request.raw.rawHeaders)) void reply.header('set-cookie', setCookie(name, '', 0))
      void reply.header('set-cookie', setCookie(flows.cookieName(id), pending, flows.lifetimeSeconds))
      return url
    },
    async finish ({ provider, client }, request, reply) {
      const { query } = request
      const { id, verifier, nonce, returnTo } = await checkState({ flows, provider: provider.id, state: query.state, request, origin, now: clock() })
      void reply.header('set-cookie', setCookie(flows.cookieName(id), usedMark, flows.lifetimeSeconds))
      // The cookie alone would be the browser's word for it.
      if (!await replayStore.remember(`login ${id}`, flows.lifetimeSeconds * 1000)) throw usedState()
      await provider.checkIssuer(query.iss)
      const tokens = await client.exchange(codeOf(query), verifier)
      const principal = await provider.identify(tokens, nonce)
      // Whoever used this browser before is not logged in any more; and no session is taken over from before the login.
      await cookies.endPresent(request)
      const session = await sessions.begin(principal, provider.issuer, keepOf(provider.id, principal.id, tokens))
      cookies.set(session, reply)
      // Where there is no authenticate plugin, there is no such member either.
      if (request.principal === null) request.principal = session.principal
      return `${origin}${returnTo}`
    }
  }
}

function codeOf ({ code, error }: LoginRoute['Querystring']): string {
  if (typeof error === 'string') {
    if (declined.includes(error)) throw guardError('FMG_ERR_ACCESS_DENIED', { reason: 'login-declined' })
    throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'login-provider-error' })
  }
  if (typeof code !== 'string' || code === '') throw badCredential('login-code-missing')
  return code
}
