import { string } from '../options.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { SessionPrincipal } from './membership.ts'

/** Where a provider's endpoints are, and how it wants to be shown the client's secret (RFC 6749 section 2.3.1). */
export interface LoginEndpoints {
  readonly authorization: string
  readonly token: string
  readonly clientSecretIn: 'header' | 'body'
}

/** What a provider gave for a code, or for a refresh token. */
export interface ProviderTokens {
  readonly accessToken: string
  readonly refreshToken: string | undefined
  readonly idToken: string | undefined
}

/** An id that may stand in a path and in the name of a decorator. */
export const readProviderId = string(/^[a-z][a-z0-9-]{0,31}$/, 'lower-case letters, digits and hyphens')

/** Someone else who knows people, and says who they are. */
export interface LoginProvider {
  /** In paths. */
  readonly id: string
  /** For people. */
  readonly label: string
  /** Qualifies the ids of its people. */
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: SecretSource
  readonly scopes: readonly string[]
  readonly timeoutMs: number
  readonly maxBytes: number
  /** @throws FMG_ERR_ISSUER_UNAVAILABLE */
  endpoints (): Promise<LoginEndpoints>
  /**
   * Whether an answer is this provider's, by its parameter `iss` (RFC 9207).
   * @throws FMG_ERR_CREDENTIAL_INVALID with reason `login-issuer`.
   */
  checkIssuer (iss: unknown): Promise<void>
  /**
   * Who these tokens are of, and what they may be here, as the provider sees it now.
   * @param nonce of the login; `null` when a session is renewed.
   * @throws FMG_ERR_CREDENTIAL_INVALID when the provider does not stand by the tokens.
   * @throws FMG_ERR_ACCESS_DENIED when they are of nobody who may come in.
   * @throws FMG_ERR_ISSUER_UNAVAILABLE
   */
  identify (tokens: ProviderTokens, nonce: string | null): Promise<SessionPrincipal>
}
