/** How a principal proved who it is. */
export type CredentialMethod = 'api-key' | 'jwt' | 'mtls' | 'session'

/** Who is asking. Policy, limits, audit and anomaly rules all see this one value. */
export interface Principal {
  /** Stable across rotated keys and tokens: what limits and audit count by. */
  readonly id: string
  readonly type: 'user' | 'service'
  readonly org?: string
  readonly team?: string
  readonly tier: string
  readonly roles: readonly string[]
  readonly scopes: readonly string[]
  readonly attributes: Readonly<Record<string, unknown>>
  readonly credential: Credential
}

/** What was presented, without any of its secret. */
export interface Credential {
  readonly method: CredentialMethod
  /** Public id: a key id, a token's `jti`, a certificate's fingerprint. */
  readonly id: string
  readonly issuer?: string
  /** Milliseconds since the epoch, where its authenticator tells when this very secret or token was issued: of an exchanged token and a session it is not told. */
  readonly issuedAt?: number
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
  /** Thumbprint of the key or certificate that this credential is bound to. */
  readonly boundTo?: string
  /** Scopes that it may be used for, whatever else its principal may do (`model:predict:fraud-*`). Left out, it is not limited. */
  readonly limitedTo?: readonly string[]
  /** `jti` of the short-lived token of this server that was presented in its place; all else speaks of the credential that the token was made from. */
  readonly token?: string
}

/** Freezes a principal and everything in it, so that no later hook can change who is asking. */
export function freezePrincipal (principal: Principal): Principal {
  return deepFreeze({ ...principal })
}

function deepFreeze<T> (value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const member of Object.values(value)) deepFreeze(member)
  return Object.freeze(value)
}
