import { readUrl, type Fetch } from '../bounded-fetch.ts'
import { havingMethods, integer, listOf, object, oneOf, optional, string, withDefault } from '../options.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { readIssuerUrl } from './fetch-json.ts'
import { githubPrincipal, readGithubMembers, type GithubMembers } from './github-account.ts'
import { readProviderId, type LoginProvider } from './login-provider.ts'

/** Login by GitHub, or by a GitHub Enterprise host. It speaks OAuth 2.0, not OpenID Connect: who it is says its REST API. */
export interface GithubLoginOptions {
  readonly kind: 'github'
  /** In the paths `/login/<id>`. Default `github`. */
  readonly id?: string
  /** For people. Default `GitHub`. */
  readonly label?: string
  /** Default `https://github.com`. */
  readonly url?: string
  /** Default: that which belongs to `url`. */
  readonly apiUrl?: string
  readonly clientId: string
  readonly clientSecret: SecretSource
  /** Default `read:org`. */
  readonly scopes?: readonly string[]
  /** Who may come in, and as what. Everyone else is refused. */
  readonly members: readonly GithubMembers[]
  /** Tier where no grant names one. */
  readonly tier: string
  /** Default 5,000, a request. */
  readonly timeoutMs?: number
  /** Default 262,144. */
  readonly maxBytes?: number
}

const readOptions = object({
  kind: oneOf('github'),
  id: withDefault(readProviderId, 'github'),
  label: withDefault(string(), 'GitHub'),
  url: withDefault(readIssuerUrl, 'https://github.com'),
  apiUrl: optional(readUrl),
  clientId: string(),
  clientSecret: havingMethods<SecretSource>('read'),
  scopes: withDefault(listOf(string()), ['read:org']),
  members: readGithubMembers,
  tier: string(),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5_000),
  maxBytes: withDefault(integer({ min: 1 }), 262_144)
})

/** Reads {@link GithubLoginOptions}. Nothing is fetched. */
export function githubLogin (value: unknown, path: string, fetch: Fetch): LoginProvider {
  const options = readOptions(value, path)
  const issuer = withoutSlash(options.url)
  const account = { ...options, issuer, apiUrl: withoutSlash(options.apiUrl ?? apiUrlOf(issuer)), fetch }
  return {
    ...options,
    issuer,
    endpoints: async () => ({ authorization: `${issuer}/login/oauth/authorize`, token: `${issuer}/login/oauth/access_token`, clientSecretIn: 'body' }),
    // GitHub promises none; that each provider has a callback of its own keeps answers apart (RFC 9700 section 4.4.2.2).
    checkIssuer: async () => {},
    identify: async ({ accessToken }) => await githubPrincipal(accessToken, account)
  }
}

const withoutSlash = (url: string): string => url.replace(/\/+$/, '')

function apiUrlOf (issuer: string): string {
  const url = new URL(issuer)
  if (issuer === 'https://github.com') return 'https://api.github.com'
  // GitHub Enterprise Cloud with data residency; all others are Enterprise Servers.
  return /^[a-z0-9-]+\.ghe\.com$/.test(url.host) ? `https://api.${url.host}` : `${issuer}/api/v3`
}
