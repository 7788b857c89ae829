import { apiKeyTokenType, tokenExchange } from './token-request.ts'

export interface ServerMetadata {
  readonly issuer: string
  readonly tokenUrl: string
  readonly revocationUrl: string
  readonly jwksUrl: string
  readonly hasRefreshTokens: boolean
  /** Algorithms of DPoP proofs that are taken; left out: none. */
  readonly dpopAlgorithms: readonly string[] | undefined
}

/** The document of RFC 8414 section 2. */
export function serverMetadataDocument ({ issuer, tokenUrl, revocationUrl, jwksUrl, hasRefreshTokens, dpopAlgorithms }: ServerMetadata): Readonly<Record<string, unknown>> {
  return {
    issuer,
    token_endpoint: tokenUrl,
    revocation_endpoint: revocationUrl,
    jwks_uri: jwksUrl,
    grant_types_supported: ['client_credentials', tokenExchange, ...hasRefreshTokens ? ['refresh_token'] : []],
    // Required by the section, and there is no authorization endpoint.
    response_types_supported: [],
    // What is exchanged is what authenticates, in a header or as the subject token; there are no clients beside it.
    token_endpoint_auth_methods_supported: ['none'],
    revocation_endpoint_auth_methods_supported: ['none'],
    subject_token_types_supported: ['urn:ietf:params:oauth:token-type:access_token', 'urn:ietf:params:oauth:token-type:jwt', apiKeyTokenType],
    tls_client_certificate_bound_access_tokens: true,
    dpop_signing_alg_values_supported: dpopAlgorithms
  }
}

/** Where a document about this issuer stands: the well-known name is put between host and path (RFC 8414 section 3). */
export function wellKnownUrl (issuer: string, name: string): URL {
  const { origin, pathname } = new URL(issuer)
  return new URL(`/.well-known/${name}${pathname === '/' ? '' : pathname}`, origin)
}
