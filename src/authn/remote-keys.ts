import { guardError } from '../errors.ts'
import { fetchJson, isTrustworthyUrl, type Fetch, type FetchLimits } from './fetch-json.ts'
import { pickKey, readJwks, type KeySet } from './key-set.ts'
import { isJsonObject } from './strict-json.ts'
import type { SignatureAlgorithm, VerificationKey } from './verification-key.ts'

export interface RemoteKeysOptions extends FetchLimits {
  readonly issuer: string
  /** Where the JWK Set is; left out, the issuer's metadata says so (OpenID Connect Discovery 1.0 section 4). */
  readonly jwksUrl: string | undefined
  readonly algorithms: readonly SignatureAlgorithm[]
  /** Keys younger than this are not asked for again, but for an unknown key id. */
  readonly maxAgeMs: number
  /** Keys older than this count no more, even when the issuer cannot be reached. */
  readonly maxStaleMs: number
  /** Between two attempts, whatever the reason of the second. */
  readonly cooldownMs: number
  readonly fetch: Fetch
  readonly clock: () => number
}

interface Attempt {
  readonly at: number
  readonly failure: unknown
}

/** The keys an issuer publishes. Tokens of strangers cause one request a cool-down at most; while the issuer is down, keys that are not too old still count. */
export function remoteKeys (options: RemoteKeysOptions): KeySet {
  const { maxAgeMs, maxStaleMs, cooldownMs, clock } = options
  let keys: readonly VerificationKey[] = []
  let fetchedAt = -Infinity
  let last: Attempt = { at: -Infinity, failure: undefined }
  let running: Promise<void> | undefined

  const age = (): number => clock() - fetchedAt
  const isCoolingDown = (): boolean => clock() - last.at < cooldownMs

  return {
    async find (kid, algorithm) {
      const known = age() < maxAgeMs ? pickKey(keys, kid, algorithm) : null
      if (known !== null) return known
      await refresh()
      const found = age() < maxStaleMs ? pickKey(keys, kid, algorithm) : null
      // Whether an unknown key is a new one only the issuer can say.
      if (found === null && last.failure !== undefined) throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'issuer-unavailable', cause: last.failure })
      return found
    },
    trusts: (key) => keys.includes(key) && (age() < maxAgeMs || (age() < maxStaleMs && isCoolingDown()))
  }

  async function refresh (): Promise<void> {
    if (running === undefined && isCoolingDown()) return
    running ??= attempt().finally(() => { running = undefined })
    await running
  }

  async function attempt (): Promise<void> {
    const at = clock()
    try {
      keys = keepKnown(await fetchKeys(options), keys)
      fetchedAt = at
      last = { at, failure: undefined }
    } catch (failure) {
      last = { at, failure }
    }
  }
}

async function fetchKeys ({ fetch, issuer, jwksUrl, algorithms, timeoutMs, maxBytes }: RemoteKeysOptions): Promise<readonly VerificationKey[]> {
  const limits = { timeoutMs, maxBytes }
  const url = jwksUrl ?? keysUrlOf(await fetchJson(fetch, `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, limits), issuer)
  const keys = readJwks(await fetchJson(fetch, url, limits), algorithms)
  if (keys === null) throw new Error('not a JWK Set')
  return keys
}

function keysUrlOf (metadata: unknown, issuer: string): string {
  // RFC 8414 section 3.3: metadata of another issuer under this one's URL would let the other sign for it.
  if (!isJsonObject(metadata) || metadata.issuer !== issuer) throw new Error('metadata of another issuer')
  const { jwks_uri: url } = metadata
  // Metadata that came over the network does not lead to this machine's own ports.
  if (!isTrustworthyUrl(url) || (url.startsWith('http:') && !issuer.startsWith('http:'))) throw new Error('jwks_uri is not an https URL')
  return url
}

// A key that is published again stays the object it was, so that tokens verified with it stay known.
function keepKnown (fetched: readonly VerificationKey[], known: readonly VerificationKey[]): readonly VerificationKey[] {
  return fetched.map((key) => known.find((other) => other.kid === key.kid && other.algorithm === key.algorithm && other.key.equals(key.key)) ?? key)
}
