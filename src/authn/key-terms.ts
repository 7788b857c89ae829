import { integer, object, optional, optionInvalid, withDefault, type Reader } from '../options.ts'

/** What the operator sets for all keys. */
export interface KeyTerms {
  /** The longest life of a secret. Default 366. */
  readonly maxLifetimeDays?: number
  /** Milliseconds since the epoch. Default now. */
  readonly now?: number
}

/** Days of a secret that nobody asked a lifetime for. */
export const defaultLifetimeDays = 90
export const hourMs = 3_600_000
export const dayMs = 24 * hourMs

/** The longest life of a secret. */
export const readMaxLifetimeDays: Reader<number> = withDefault(integer({ min: 1 }), 366)

const read = object({ maxLifetimeDays: readMaxLifetimeDays, now: optional(integer({ min: 0 })) })

/** When a secret that is made now ends. */
export interface SecretLife {
  readonly issuedAt: number
  readonly expiresAt: number
}

/**
 * The life of a secret.
 * @throws FMG_ERR_OPTION_INVALID when it is longer than the operator lets it be.
 */
export function secretLife (lifetimeDays: number | undefined, terms: KeyTerms): SecretLife {
  const { maxLifetimeDays, now: issuedAt = Date.now() } = read(terms, 'terms')
  const days = lifetimeDays ?? Math.min(defaultLifetimeDays, maxLifetimeDays)
  if (!(days > 0 && days <= maxLifetimeDays)) throw optionInvalid('lifetimeDays', `more than 0 and at most ${maxLifetimeDays}`, days)
  return { issuedAt, expiresAt: issuedAt + Math.round(days * dayMs) }
}
