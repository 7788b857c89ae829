import { integer, object, oneOf, optional, string, type Reader } from '../options.ts'
import type { CredentialMethod } from '../principal.ts'
import type { TokenBinding } from './token-binding.ts'

/**
 * The credential that a token of this server was made from, as far as it takes to tell, at every request, whether it still counts.
 * It stands in the token and is public.
 */
export interface Source {
  readonly method: CredentialMethod
  /** The credential's id. */
  readonly id: string
  readonly issuer?: string
  /** `sub`, of an issuer's token. */
  readonly subject?: string
  /** `sid`, of an issuer's token. */
  readonly session?: string
  /** Milliseconds since the epoch. */
  readonly issuedAt?: number
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
  /** A digest of what its authenticator knew of it: another one says that it is no longer what it was. */
  readonly state?: string
}

/** A credential that tokens may be made from. */
export interface TokenSource {
  readonly source: Source
  /** What the credential itself is bound to; so is all that is made from it. */
  readonly binding: TokenBinding | null
  /** Names of servers that it is good for; left out, it names none. */
  readonly audiences?: readonly string[]
  /** Ids of the tokens of this server that stand between it and `source`, the eldest first. */
  readonly via: readonly string[]
}

const time = optional(integer({ min: 0 }))

/** Reads a source as it stands in a token. */
export const readSource: Reader<Source> = object({
  method: oneOf<CredentialMethod>('api-key', 'jwt', 'mtls', 'session'),
  id: string(),
  issuer: optional(string()),
  subject: optional(string()),
  session: optional(string()),
  issuedAt: time,
  expiresAt: time,
  state: optional(string())
})
