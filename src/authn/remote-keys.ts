import { isTrustworthyUrl, type Fetch, type FetchLimits } from '../bounded-fetch.ts'
import { isJsonObject } from '../strict-json.ts'
import { cachedKeys, type CachedKeysOptions } from './cached-keys.ts'
import { fetchJson } from './fetch-json.ts'
import { readJwks, type KeySet } from './key-set.ts'
import type { SignatureAlgorithm, VerificationKey } from './verification-key.ts'

export interface RemoteKeysOptions extends CachedKeysOptions, FetchLimits {
  readonly issuer: string
  /** Where the JWK Set is; left out, the issuer's metadata says so (OpenID Connect Discovery 1.0 section 4). */
  readonly jwksUrl: string | undefined
  readonly algorithms: readonly SignatureAlgorithm[]
  readonly fetch: Fetch
}

/** The keys an issuer publishes as a JWK Set. */
export function remoteKeys (options: RemoteKeysOptions): KeySet {
  return cachedKeys(options, async () => await fetchKeys(options))
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
