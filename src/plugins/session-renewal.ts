import { badCredential } from '../authn/bad-credential.ts'
import type { BrowserSessions, RefreshPart, SessionPart } from '../authn/browser-sessions.ts'
import type { ProviderTokens } from '../authn/login-provider.ts'
import { isGuardError } from '../errors.ts'
import type { JsonObject } from '../strict-json.ts'
import type { LoginWay } from './login-steps.ts'
import { keepOf } from './session-cookies.ts'

/** A session that was renewed; or, without a token, one that its provider could not be asked about. */
export type RenewedSession = RefreshPart & (SessionPart | { readonly token: undefined, readonly problem: unknown })

/**
 * Gives sessions another short life, each time after its provider was asked what its person is a member of now.
 * Tabs that ask at once get the same answer.
 * @returns throws FMG_ERR_CREDENTIAL_INVALID or FMG_ERR_ACCESS_DENIED for a session that has ended, or ends with this.
 */
export function sessionRenewal (sessions: BrowserSessions, ways: ReadonlyMap<string, LoginWay>): (refreshToken: string) => Promise<RenewedSession> {
  const running = new Map<string, Promise<RenewedSession>>()

  return async function renewOnce (refreshToken) {
    const present = running.get(refreshToken) ?? renew(refreshToken).finally(() => { running.delete(refreshToken) })
    running.set(refreshToken, present)
    return await present
  }

  async function renew (refreshToken: string): Promise<RenewedSession> {
    const { id, kept } = await sessions.find(refreshToken)
    try {
      return await renewKept(refreshToken, kept)
    } catch (error) {
      // That a provider or a store does not answer says nothing about the session.
      if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID') || isGuardError(error, 'FMG_ERR_ACCESS_DENIED')) await sessions.end(id)
      throw error
    }
  }

  async function renewKept (refreshToken: string, kept: JsonObject): Promise<RenewedSession> {
    const way = ways.get(String(kept.provider))
    if (way === undefined) throw badCredential('session-provider-unknown')
    const { provider, client } = way
    const tokens = typeof kept.refreshToken === 'string' ? await client.renew(kept.refreshToken) : accessTokenOf(kept)
    // Before all else that may fail: a provider's refresh token is used once, too, and the new one must not be lost.
    const turned = await sessions.turn(refreshToken, keepOf(provider.id, String(kept.principalId), tokens))
    try {
      const principal = await provider.identify(tokens, null)
      if (principal.id !== kept.principalId) throw badCredential('session-other-person')
      return { ...turned, ...sessions.issue(turned, principal, provider.issuer) }
    } catch (problem) {
      if (!isGuardError(problem, 'FMG_ERR_ISSUER_UNAVAILABLE')) throw problem
      return { ...turned, token: undefined, problem }
    }
  }
}

function accessTokenOf ({ accessToken }: JsonObject): ProviderTokens {
  return { accessToken: String(accessToken), refreshToken: undefined, idToken: undefined }
}
