import { guardError } from '../errors.ts'
import { badCredential } from './bad-credential.ts'

/** What of a token may be denied. */
export interface DeniableToken {
  readonly issuer: string
  readonly subject: string
  readonly tokenId: string | undefined
  readonly session: string | undefined
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
}

/** Tokens that count no more, although they have not expired. */
export interface DenyList {
  /**
   * Asked on every request, for tokens verified before too: must answer at once, and never throws.
   * @returns `unknown` where it cannot know, as it has not heard of denials for too long: the token is then refused with a 503.
   */
  denies (token: DeniableToken): boolean | 'unknown'
}

/** Which tokens of an issuer are denied: one, those of a subject, those of a session, or (with none of these) all. */
export interface Denial {
  readonly issuer: string
  readonly tokenId?: string
  readonly subject?: string
  readonly session?: string
  /** Milliseconds since the epoch: only tokens issued before. Left out, whenever they were issued. */
  readonly issuedBefore?: number
  /** Milliseconds since the epoch, when every token this is about has expired. Left out, forever. */
  readonly until?: number
}

/** A deny-list that can be written. */
export interface WritableDenyList extends DenyList {
  /**
   * Counts from the next request on; where the list is shared, once this resolves the others are told. A denial is made wider by a
   * second one, never narrower. It is kept five minutes beyond `until`, for clocks that differ.
   * @throws FMG_ERR_OPTION_INVALID, FMG_ERR_DENY_LIST_UNAVAILABLE when it could not be written.
   */
  deny (denial: Denial): void | Promise<void>
  /** How many denials are kept. */
  readonly size: number
}

/** A deny-list of several processes. */
export interface SharedDenyList extends WritableDenyList {
  deny (denial: Denial): Promise<void>
  close (): Promise<void>
}

/**
 * Whether a token is denied.
 * @throws FMG_ERR_DENY_LIST_UNAVAILABLE when that cannot be known.
 */
export function isKnownDenied (denyList: DenyList | undefined, token: DeniableToken): boolean {
  const denies = denyList?.denies(token) ?? false
  if (denies === 'unknown') throw guardError('FMG_ERR_DENY_LIST_UNAVAILABLE', { reason: 'deny-list-stale' })
  return denies
}

/**
 * Refuses a token that is denied.
 * @throws FMG_ERR_CREDENTIAL_INVALID with reason `token-denied`.
 * @throws FMG_ERR_DENY_LIST_UNAVAILABLE when that cannot be known.
 */
export function refuseDenied (denyList: DenyList | undefined, token: DeniableToken): void {
  if (isKnownDenied(denyList, token)) throw badCredential('token-denied')
}
