import type { FastifyReply, FastifyRequest } from 'fastify'
import { badCredential } from '../authn/bad-credential.ts'
import { cookiePairs, setCookie } from '../authn/browser-cookie.ts'
import type { BrowserSessions, RefreshPart, SessionPart } from '../authn/browser-sessions.ts'
import type { ProviderTokens } from '../authn/login-provider.ts'
import { isGuardError } from '../errors.ts'
import type { JsonObject } from '../strict-json.ts'
import { factsOf } from './request-facts.ts'

/** The cookies of a session. */
export interface SessionCookies {
  set (session: RefreshPart & Partial<SessionPart>, reply: FastifyReply): void
  clear (reply: FastifyReply): void
  /** @throws FMG_ERR_CREDENTIAL_INVALID when there is none, or more than one. */
  refreshToken (request: FastifyRequest): string
  /** Whether the browser has a session that could be renewed, as far as it says. */
  arePresent (request: FastifyRequest): boolean
  /** Ends the session of this browser, if it has one that counts. */
  endPresent (request: FastifyRequest): Promise<void>
}

/** @param clock milliseconds since the epoch. */
export function sessionCookies (sessions: BrowserSessions, clock: () => number): SessionCookies {
  const { sessionCookie, refreshCookie, authenticator } = sessions

  function put (reply: FastifyReply, name: string, value: string, expiresAt: number): void {
    void reply.header('set-cookie', setCookie(name, value, Math.max(0, Math.floor((expiresAt - clock()) / 1000))))
  }

  function valuesOf (name: string, { raw: { rawHeaders } }: FastifyRequest): readonly string[] {
    return cookiePairs(rawHeaders).filter(([given]) => given === name).map(([, value]) => value)
  }

  function refreshToken (request: FastifyRequest): string {
    const [token, ...others] = valuesOf(refreshCookie, request)
    if (token === undefined || others.length > 0) throw badCredential('session-refresh-cookie')
    return token
  }

  async function idOf (request: FastifyRequest): Promise<string | undefined> {
    const found = await unlessBad(async () => (await sessions.find(refreshToken(request))).id)
    const [value] = valuesOf(sessionCookie, request)
    if (found !== undefined || value === undefined) return found
    return await unlessBad(async () => (await authenticator.authenticate({ scheme: 'cookie', value }, factsOf(request, null)))?.credential.id)
  }

  return {
    set ({ token, expiresAt, refreshToken: next, refreshExpiresAt }, reply) {
      put(reply, refreshCookie, next, refreshExpiresAt)
      if (token !== undefined && expiresAt !== undefined) put(reply, sessionCookie, token, expiresAt)
    },
    clear (reply) {
      for (const name of [sessionCookie, refreshCookie]) void reply.header('set-cookie', setCookie(name, '', 0))
    },
    refreshToken,
    arePresent: (request) => valuesOf(refreshCookie, request).length > 0,
    async endPresent (request) {
      const id = await idOf(request)
      if (id !== undefined) await sessions.end(id)
    }
  }
}

async function unlessBad (find: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await find()
  } catch (error) {
    if (!isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) throw error
    return undefined
  }
}

/** What is kept of a login, to ask the provider again by: its refresh token, or where it gave none, the access token. */
export function keepOf (provider: string, principalId: string, { accessToken, refreshToken }: ProviderTokens): JsonObject {
  return { provider, principalId, ...refreshToken === undefined ? { accessToken } : { refreshToken } }
}
