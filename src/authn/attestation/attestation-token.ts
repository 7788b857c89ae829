import { X509Certificate } from 'node:crypto'
import { readUrl, type Fetch } from '../../bounded-fetch.ts'
import { isGuardError } from '../../errors.ts'
import { functionOf, integer, listOf, object, optional, optionInvalid, withDefault, type Reader } from '../../options.ts'
import { isJsonObject, parseStrictJson, type JsonObject } from '../../strict-json.ts'
import { cachedKeys } from '../cached-keys.ts'
import { parseCompactJws, verifyJws } from '../compact-jws.ts'
import { fetchJson, readIssuerUrl } from '../fetch-json.ts'
import { fixedKeys, usableKeys, type KeySet } from '../key-set.ts'
import type { SignatureAlgorithm } from '../verification-key.ts'
import { badAttestation } from './attestation-verifier.ts'

/** Whose word counts. */
export interface AppraiserOptions {
  /** `iss` of its tokens, to the letter: an https URL. */
  readonly issuer: string
  /** URL of its JWK Set. */
  readonly jwksUrl?: string
  /** Its JWK Set itself; nothing is fetched. */
  readonly jwks?: { readonly keys: readonly unknown[] }
  /** For clocks that differ; 60 at most. Default 5. */
  readonly clockToleranceSeconds?: number
  readonly fetch?: Fetch
  /** Milliseconds since the epoch; of its keys' age. */
  readonly clock?: () => number
}

/** Readers of {@link AppraiserOptions}. */
export const appraiserShape = {
  issuer: readIssuerUrl,
  jwksUrl: optional(readUrl),
  jwks: optional(object({ keys: listOf((key) => key) })),
  clockToleranceSeconds: withDefault(integer({ min: 0, max: 60 }), 5),
  fetch: withDefault(functionOf<Fetch>(), fetch),
  clock: withDefault(functionOf<() => number>(), Date.now)
}

/** {@link AppraiserOptions} as they were read. */
export type Appraiser = { readonly [K in keyof typeof appraiserShape]: (typeof appraiserShape)[K] extends Reader<infer T> ? T : never }

/**
 * Gives the claims of a token: signed by one of the keys, by one of the algorithms, of this issuer and of this time.
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_ATTESTATION_INVALID, FMG_ERR_ISSUER_UNAVAILABLE
 */
export type ReadToken = (text: string, now: number) => Promise<JsonObject>

/** @throws FMG_ERR_OPTION_INVALID unless there is one of jwks and jwksUrl. */
export function attestationTokens (appraiser: Appraiser, algorithms: readonly SignatureAlgorithm[], path: string): ReadToken {
  const keys = keysOf(appraiser, algorithms, path)
  const { issuer, clockToleranceSeconds } = appraiser
  return async (text, now) => {
    const claims = await verified(text, keys, algorithms)
    if (claims.iss !== issuer) throw badAttestation('token-issuer')
    const { exp, nbf = 0 } = claims
    const seconds = now / 1000
    // Written so that what is no number is outside.
    if (!(typeof exp === 'number' && exp > seconds - clockToleranceSeconds)) throw badAttestation('token-expired')
    if (!(typeof nbf === 'number' && nbf <= seconds + clockToleranceSeconds)) throw badAttestation('token-not-yet')
    return claims
  }
}

async function verified (text: string, keys: KeySet, algorithms: readonly string[]): Promise<JsonObject> {
  try {
    const token = parseCompactJws(text)
    const { alg, kid } = token.header
    const key = algorithms.includes(alg) ? await keys.find(kid, alg) : null
    if (key === null) throw badAttestation('token-key')
    await verifyJws(token, key)
    return parseStrictJson(token.payload) ?? refused('token-claims')
  } catch (error) {
    // What is no credential is not refused as one.
    throw isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID') ? badAttestation(String(error.reason)) : error
  }
}

function refused (reason: string): never {
  throw badAttestation(reason)
}

function keysOf ({ jwks, jwksUrl, fetch, clock }: Appraiser, algorithms: readonly SignatureAlgorithm[], path: string): KeySet {
  if (jwks !== undefined && jwksUrl === undefined) {
    const keys = usableKeys(jwks.keys.map(withKey), algorithms)
    if (keys.length === 0) throw optionInvalid(`${path}.jwks`, 'a JWK Set with a public key for one of the algorithms', jwks)
    return fixedKeys(keys)
  }
  if (jwks !== undefined || jwksUrl === undefined) throw optionInvalid(path, 'given one of jwks and jwksUrl', {})
  return cachedKeys({ maxAgeMs: 600_000, maxStaleMs: 86_400_000, cooldownMs: 30_000, clock }, async () => {
    const set = await fetchJson(fetch, jwksUrl, { timeoutMs: 5000, maxBytes: 1_048_576 })
    if (!isJsonObject(set) || !Array.isArray(set.keys)) throw new Error('not a JWK Set')
    return usableKeys(set.keys.map(withKey), algorithms)
  })
}

/** The key of a certificate, where a set names keys by those alone, as Azure's does. Who signed it does not count: the set is pinned. */
function withKey (jwk: unknown): unknown {
  if (!isJsonObject(jwk) || jwk.n !== undefined || jwk.x !== undefined || !Array.isArray(jwk.x5c)) return jwk
  try {
    return { ...new X509Certificate(Buffer.from(String(jwk.x5c[0]), 'base64')).publicKey.export({ format: 'jwk' }), kid: jwk.kid }
  } catch {
    return null
  }
}
