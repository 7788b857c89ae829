import { readUrl, type Fetch } from '../bounded-fetch.ts'
import { integer, listOf, object, oneOf, optional, optionInvalid, string, withDefault } from '../options.ts'
import { isJsonObject } from '../strict-json.ts'
import { cachedKeys } from './cached-keys.ts'
import { fetchJson } from './fetch-json.ts'
import { fixedKeys, usableKeys, type KeySet } from './key-set.ts'
import { isTrustDomain } from './spiffe-id.ts'
import type { VerificationKey } from './verification-key.ts'

/** JWT-SVID section 2.1: no others, whatever a key would allow. */
export type SvidAlgorithm = 'RS256' | 'RS384' | 'RS512' | 'ES256' | 'ES384' | 'ES512' | 'PS256' | 'PS384' | 'PS512'

export interface TrustDomainOptions {
  /** Without `spiffe://`. */
  readonly name: string
  /** Its bundle itself: a JWK Set (SPIFFE Trust Domain and Bundle, section 4). One of the two must be given. */
  readonly bundle?: { readonly keys: readonly unknown[] }
  /** Where its bundle is (the `https_web` profile). */
  readonly bundleUrl?: string
  /** What its tokens may be signed with; of those for RSA, one. Default `ES256`, `ES384`, `ES512` and `RS256`. */
  readonly algorithms?: readonly SvidAlgorithm[]
  /** Time within which the bundle must be there. Default 5,000. */
  readonly timeoutMs?: number
  /** Default 262,144. */
  readonly maxBytes?: number
  /** The bundle is asked for again when it is older. Default 300. */
  readonly keysMaxAgeSeconds?: number
  /** While it cannot be reached, its keys count until they are this old. Default 86,400. */
  readonly keysMaxStaleSeconds?: number
  /** Between two requests for it. Default 30. */
  readonly cooldownSeconds?: number
}

/** A trust domain, and the keys with which it signs the tokens of its workloads, and of nobody else's. */
export interface TrustDomain {
  readonly name: string
  readonly algorithms: readonly SvidAlgorithm[]
  readonly keys: KeySet
}

const readOptions = object({
  name: string(),
  bundle: optional(object({ keys: listOf((key) => key), spiffe_sequence: optional(integer({ min: 0 })), spiffe_refresh_hint: optional(integer({ min: 0 })) })),
  bundleUrl: optional(readUrl),
  algorithms: withDefault(listOf(oneOf<SvidAlgorithm>('RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512')), ['ES256', 'ES384', 'ES512', 'RS256']),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5_000),
  maxBytes: withDefault(integer({ min: 1 }), 262_144),
  keysMaxAgeSeconds: withDefault(integer({ min: 1 }), 300),
  keysMaxStaleSeconds: withDefault(integer({ min: 1 }), 86_400),
  cooldownSeconds: withDefault(integer({ min: 1 }), 30)
})

/** Reads the options of one trust domain. Nothing is fetched yet. */
export function trustDomain (value: unknown, path: string, fetch: Fetch, clock: () => number): TrustDomain {
  const { name, bundle, bundleUrl, algorithms, ...limits } = readOptions(value, path)
  if (!isTrustDomain(name)) throw optionInvalid(`${path}.name`, 'the name of a trust domain', name)
  // A bundle does not say which algorithm a key of RSA is for: one key, one algorithm.
  if (algorithms.length === 0 || algorithms.filter((algorithm) => !algorithm.startsWith('ES')).length > 1) throw optionInvalid(`${path}.algorithms`, 'a list of at least one, and of those for RSA one at most', algorithms)
  if ((bundle === undefined) === (bundleUrl === undefined)) throw optionInvalid(path, 'given one of bundle and bundleUrl', value)
  if (bundle !== undefined) return { name, algorithms, keys: fixedKeys(keysIn(bundle.keys, algorithms)) }
  const load = async (): Promise<readonly VerificationKey[]> => readBundle(await fetchJson(fetch, String(bundleUrl), limits), algorithms)
  const { keysMaxAgeSeconds, keysMaxStaleSeconds, cooldownSeconds } = limits
  return { name, algorithms, keys: cachedKeys({ maxAgeMs: keysMaxAgeSeconds * 1000, maxStaleMs: keysMaxStaleSeconds * 1000, cooldownMs: cooldownSeconds * 1000, clock }, load) }
}

function readBundle (document: unknown, algorithms: readonly SvidAlgorithm[]): readonly VerificationKey[] {
  if (!isJsonObject(document) || !Array.isArray(document.keys)) throw new Error('not a bundle')
  return keysIn(document.keys, algorithms)
}

/** JWT-SVID section 5.1: those for tokens are marked so, and have an id. The others are certificates of authorities. */
function keysIn (jwks: readonly unknown[], algorithms: readonly SvidAlgorithm[]): readonly VerificationKey[] {
  return usableKeys(jwks.flatMap((jwk) => {
    if (!isJsonObject(jwk) || jwk.use !== 'jwt-svid' || typeof jwk.kid !== 'string') return []
    const { use: _, ...key } = jwk
    return [key]
  }), algorithms)
}
