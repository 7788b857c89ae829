import { boolean, listOf, object, optional, optionInvalid, string, withDefault, type Reader } from '../options.ts'

/** What clients may be told of this server, so that they find out where to get a token (RFC 9728). */
export interface ResourceMetadataOptions {
  /** The identifier of this server, its `aud`: an https URL without query or fragment (http on loopback). */
  readonly resource: string
  /** Issuers whose tokens are taken. */
  readonly authorizationServers: readonly string[]
  readonly scopes?: readonly string[]
  /** For people. */
  readonly name?: string
  readonly documentation?: string
  /** Whether tokens bound to a client certificate are taken (RFC 8705). Default `false`. */
  readonly certificateBoundTokens?: boolean
  /** Algorithms of DPoP proofs that are taken (RFC 9449); left out: none. */
  readonly dpopAlgorithms?: readonly string[]
}

const loopback = new Set(['localhost', '127.0.0.1', '[::1]'])

const resourceUrl: Reader<string> = (value, path) => {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : null
  const isSafe = url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && loopback.has(url.hostname)))
  if (!isSafe || url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') throw optionInvalid(path, 'an https URL without query or fragment', value)
  // As it is written: clients compare it letter by letter (RFC 9728 section 3.3).
  return String(value)
}

/** Reads {@link ResourceMetadataOptions}. */
export const readResourceMetadata = object({
  resource: resourceUrl,
  authorizationServers: listOf(resourceUrl),
  scopes: optional(listOf(string(/^[!#-[\]-~]+$/, 'a scope'))),
  name: optional(string()),
  documentation: optional(resourceUrl),
  certificateBoundTokens: withDefault(boolean, false),
  dpopAlgorithms: optional(listOf(string()))
})

/** The document of RFC 9728 section 2. */
export function metadataDocument (options: ResourceMetadataOptions): Readonly<Record<string, unknown>> {
  return {
    resource: options.resource,
    authorization_servers: options.authorizationServers,
    scopes_supported: options.scopes,
    bearer_methods_supported: ['header'],
    resource_name: options.name,
    resource_documentation: options.documentation,
    tls_client_certificate_bound_access_tokens: options.certificateBoundTokens,
    dpop_signing_alg_values_supported: options.dpopAlgorithms
  }
}

/** Where the document stands: the well-known name is put between host and path (RFC 9728 section 3.1). */
export function metadataUrl (resource: string): URL {
  const { origin, pathname } = new URL(resource)
  return new URL(`/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}`, origin)
}
