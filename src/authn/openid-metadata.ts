import { isTrustworthyUrl, type Fetch, type FetchLimits } from '../bounded-fetch.ts'
import { guardError } from '../errors.ts'
import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { fetchJson } from './fetch-json.ts'
import type { LoginEndpoints } from './login-provider.ts'

/** What an OpenID provider says of itself (OpenID Connect Discovery 1.0 section 3), as far as a login needs it. */
export interface OpenidMetadata extends LoginEndpoints {
  readonly userinfo: string | undefined
  /** RFC 9207: an answer without `iss` is not its own. */
  readonly namesItself: boolean
}

export interface OpenidMetadataOptions extends FetchLimits {
  readonly issuer: string
  readonly maxAgeMs: number
  readonly fetch: Fetch
  /** Milliseconds since the epoch. */
  readonly clock: () => number
}

/**
 * Asks when it is first needed, so that a server starts without its provider, and again when the answer is too old.
 * @throws FMG_ERR_ISSUER_UNAVAILABLE
 */
export function openidMetadata ({ issuer, maxAgeMs, fetch, clock, ...limits }: OpenidMetadataOptions): () => Promise<OpenidMetadata> {
  let known: { readonly metadata: OpenidMetadata, readonly at: number } | undefined
  return async function metadata () {
    const now = clock()
    if (known === undefined || now - known.at >= maxAgeMs) {
      known = { metadata: readMetadata(await fetchJson(fetch, `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, limits), issuer), at: now }
    }
    return known.metadata
  }
}

function readMetadata (document: unknown, issuer: string): OpenidMetadata {
  // Discovery section 4.3: metadata of another issuer under this one's URL would have it pose as this one.
  if (!isJsonObject(document) || document.issuer !== issuer) throw unusable('metadata of another issuer')
  const { token_endpoint_auth_methods_supported: methods } = document
  return {
    authorization: endpoint(document, 'authorization_endpoint', issuer) ?? missing('authorization_endpoint'),
    token: endpoint(document, 'token_endpoint', issuer) ?? missing('token_endpoint'),
    userinfo: endpoint(document, 'userinfo_endpoint', issuer),
    // Left out, it is by header: Discovery section 3.
    clientSecretIn: Array.isArray(methods) && !methods.includes('client_secret_basic') ? 'body' : 'header',
    namesItself: document.authorization_response_iss_parameter_supported === true
  }
}

function endpoint (document: JsonObject, name: string, issuer: string): string | undefined {
  const { [name]: url } = document
  if (url === undefined) return undefined
  // Metadata that came over the network does not lead to this machine's own ports.
  if (!isTrustworthyUrl(url) || (url.startsWith('http:') && !issuer.startsWith('http:'))) throw unusable(`${name} is not an https URL`)
  return url
}

function missing (name: string): never {
  throw unusable(`no ${name}`)
}

function unusable (message: string): Error {
  return guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'issuer-metadata', cause: new Error(message) })
}
