import type { KeyObject } from 'node:crypto'
import { isJsonObject } from '../strict-json.ts'
import { readPublicJwk, type SignatureAlgorithm, type VerificationKey } from './verification-key.ts'

/** The keys an issuer signs with. */
export interface KeySet {
  /**
   * The key of this id and algorithm; without an id, the only key of this algorithm. `null` when there is none.
   * @throws FMG_ERR_ISSUER_UNAVAILABLE when that cannot be known.
   */
  find (kid: string | undefined, algorithm: string): VerificationKey | null | Promise<VerificationKey | null>
  /** Whether a key found before still counts; never waits. */
  trusts (key: VerificationKey): boolean
}

/** Keys that never change. */
export function fixedKeys (keys: readonly VerificationKey[]): KeySet {
  return {
    find: (kid, algorithm) => pickKey(keys, kid, algorithm),
    trusts: (key) => keys.includes(key)
  }
}

/** A secret shared with an issuer. */
export function secretKey (key: KeyObject, algorithm: SignatureAlgorithm, kid?: string): VerificationKey | null {
  // RFC 7518 section 3.2: at least as long as the hash.
  return Number(key.symmetricKeySize) * 8 >= Number.parseInt(algorithm.slice(2), 10) ? { kid, algorithm, key } : null
}

/** The keys of a JWK Set (RFC 7517 section 5) that verify by one of these algorithms; all others are left out. `null` when it is no such set. */
export function readJwks (document: unknown, algorithms: readonly SignatureAlgorithm[]): readonly VerificationKey[] | null {
  if (!isJsonObject(document) || !Array.isArray(document.keys)) return null
  return usableKeys(document.keys, algorithms)
}

/** The keys among these JWKs that verify by one of these algorithms. */
export function usableKeys (jwks: readonly unknown[], algorithms: readonly SignatureAlgorithm[]): readonly VerificationKey[] {
  return jwks.flatMap((jwk) => readPublicJwk(jwk, algorithms) ?? [])
}

/** One key or none: where two could be meant, neither is. */
export function pickKey (keys: readonly VerificationKey[], kid: string | undefined, algorithm: string): VerificationKey | null {
  const fitting = keys.filter((key) => key.algorithm === algorithm && (kid === undefined || key.kid === kid))
  const [key = null] = fitting
  return fitting.length === 1 ? key : null
}
