import type { Fetch } from '../bounded-fetch.ts'
import { havingMethods, integer, listOf, object, oneOf, string, withDefault } from '../options.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { badCredential } from './bad-credential.ts'
import { readIssuerUrl } from './fetch-json.ts'
import { checkIdToken } from './id-token.ts'
import { readProviderId, type LoginProvider } from './login-provider.ts'
import { openidMetadata } from './openid-metadata.ts'
import { openidPrincipal, readOpenidMembers, userinfoClaims, type OpenidMembers } from './openid-account.ts'
import { remoteKeys } from './remote-keys.ts'
import { readAsymmetricAlgorithms, type SignatureAlgorithm } from './verification-key.ts'

/** Login by an OpenID provider. */
export interface OpenidLoginOptions {
  readonly kind: 'openid'
  /** In the paths `/login/<id>`. */
  readonly id: string
  /** For people. */
  readonly label: string
  /** Its `iss`, to the letter; its metadata is found below it. */
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: SecretSource
  /** Beside `openid`. Default none. With `offline_access`, or however the provider gives refresh tokens, sessions outlive its access token. */
  readonly scopes?: readonly string[]
  /** Of ID tokens. Default `RS256`, which every provider must know, `ES256` and `PS256`. */
  readonly algorithms?: readonly SignatureAlgorithm[]
  /** Who may come in, and as what. Everyone else is refused. */
  readonly members: readonly OpenidMembers[]
  /** Tier where no grant names one. */
  readonly tier: string
  /** For clocks that differ; 60 at most. Default 5. */
  readonly clockToleranceSeconds?: number
  /** Default 5,000, a request. */
  readonly timeoutMs?: number
  /** Default 262,144. */
  readonly maxBytes?: number
}

const readOptions = object({
  kind: oneOf('openid'),
  id: readProviderId,
  label: string(),
  issuer: readIssuerUrl,
  clientId: string(),
  clientSecret: havingMethods<SecretSource>('read'),
  scopes: withDefault(listOf(string()), []),
  algorithms: withDefault(readAsymmetricAlgorithms, ['RS256', 'ES256', 'PS256']),
  members: readOpenidMembers,
  tier: string(),
  clockToleranceSeconds: withDefault(integer({ min: 0, max: 60 }), 5),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5_000),
  maxBytes: withDefault(integer({ min: 1 }), 262_144)
})

const metadataMaxAgeMs = 600_000
const keysMaxAgeMs = 600_000
const keysMaxStaleMs = 86_400_000
const cooldownMs = 30_000

/** Reads {@link OpenidLoginOptions}. Nothing is fetched yet. */
export function openidLogin (value: unknown, path: string, fetch: Fetch, clock: () => number): LoginProvider {
  const options = readOptions(value, path)
  const { issuer, algorithms, timeoutMs, maxBytes, members, tier } = options
  const metadata = openidMetadata({ issuer, timeoutMs, maxBytes, maxAgeMs: metadataMaxAgeMs, fetch, clock })
  const keys = remoteKeys({ issuer, jwksUrl: undefined, algorithms, timeoutMs, maxBytes, maxAgeMs: keysMaxAgeMs, maxStaleMs: keysMaxStaleMs, cooldownMs, fetch, clock })
  return {
    ...options,
    scopes: [...new Set(['openid', ...options.scopes])],
    endpoints: metadata,
    async checkIssuer (iss) {
      const { namesItself } = await metadata()
      // RFC 9207 section 2.4.
      if (iss === undefined ? namesItself : iss !== issuer) throw badCredential('login-issuer')
    },
    async identify ({ accessToken, idToken }, nonce) {
      if (idToken === undefined && nonce !== null) throw badCredential('id-token-missing')
      const inToken = idToken === undefined ? {} : await checkIdToken(idToken, { ...options, keys }, { accessToken, nonce, now: clock() })
      const { userinfo } = await metadata()
      const asked = userinfo === undefined ? {} : await userinfoClaims(userinfo, accessToken, { fetch, timeoutMs, maxBytes })
      return openidPrincipal(inToken, asked, { issuer, members, tier })
    }
  }
}
