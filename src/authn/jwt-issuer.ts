import { KeyObject } from 'node:crypto'
import { readUrl, type Fetch } from '../bounded-fetch.ts'
import { anyThat, boolean, integer, listOf, object, oneOf, optional, optionInvalid, string, withDefault } from '../options.ts'
import type { ClaimRules } from './access-claims.ts'
import { readIssuerUrl } from './fetch-json.ts'
import { readClaimNames, readGrants, type ClaimNames, type Grants, type PrincipalRules } from './jwt-principal.ts'
import { fixedKeys, secretKey, usableKeys, type KeySet } from './key-set.ts'
import { remoteKeys } from './remote-keys.ts'
import { isSymmetric, readAlgorithms, type SignatureAlgorithm, type VerificationKey } from './verification-key.ts'

export interface JwtIssuerOptions {
  /** `iss` of its tokens, to the letter: an https URL. */
  readonly issuer: string
  /** Names of this server in `aud`; a token must be for one of them. At least one. */
  readonly audiences: readonly string[]
  /** Algorithms its tokens may be signed with. `HS…` only with `secret`, and then only one. At least one. */
  readonly algorithms: readonly SignatureAlgorithm[]
  /** URL of its JWK Set. Default: with no `jwks` and no `secret` either, its OpenID metadata says where. */
  readonly jwksUrl?: string
  /** Its JWK Set itself; nothing is fetched. */
  readonly jwks?: { readonly keys: readonly unknown[] }
  /** A secret shared with it, for `HS…`; at least as long as the hash. */
  readonly secret?: KeyObject
  /** `typ` of its access tokens: `at+jwt` (RFC 9068), or `JWT`, which may be left out of the token, for issuers that know no other. Default `at+jwt`. */
  readonly type?: 'at+jwt' | 'JWT'
  /** For clocks that differ; 60 at most. Default 5. */
  readonly clockToleranceSeconds?: number
  /** Between `iat` and `exp`. Default 86,400. */
  readonly maxLifetimeSeconds?: number
  readonly claims?: ClaimNames
  readonly grants?: Grants
  /**
   * Whether a token is good only for what its scopes name in the form `model:predict:fraud-*`; other words of it name nothing.
   * Default `false`: its scopes are for policies to read.
   */
  readonly limitByScopes?: boolean
  /** Tier of its principals, where no claim names one that it may grant. */
  readonly tier: string
  /** Time within which its keys must be there. Default 5,000. */
  readonly timeoutMs?: number
  /** Default 262,144. */
  readonly maxBytes?: number
  /** Its keys are asked for again when they are older. Default 600. */
  readonly keysMaxAgeSeconds?: number
  /** While it cannot be reached, its keys count until they are this old. Default 86,400. */
  readonly keysMaxStaleSeconds?: number
  /** Between two requests for its keys, also for a key id that nobody knows. Default 30. */
  readonly cooldownSeconds?: number
}

/** An issuer, ready to judge tokens. */
export interface JwtIssuer extends ClaimRules, PrincipalRules {
  readonly issuer: string
  readonly algorithms: readonly SignatureAlgorithm[]
  readonly keys: KeySet
}

const readOptions = object({
  issuer: readIssuerUrl,
  audiences: listOf(string()),
  algorithms: readAlgorithms,
  jwksUrl: optional(readUrl),
  jwks: optional(object({ keys: listOf((key) => key) })),
  secret: optional(anyThat((value): value is KeyObject => value instanceof KeyObject && value.type === 'secret', 'a KeyObject of a secret')),
  type: withDefault(oneOf('at+jwt', 'JWT'), 'at+jwt'),
  clockToleranceSeconds: withDefault(integer({ min: 0, max: 60 }), 5),
  maxLifetimeSeconds: withDefault(integer({ min: 1 }), 86_400),
  claims: readClaimNames,
  grants: readGrants,
  limitByScopes: withDefault(boolean, false),
  tier: string(),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5_000),
  maxBytes: withDefault(integer({ min: 1 }), 262_144),
  keysMaxAgeSeconds: withDefault(integer({ min: 1 }), 600),
  keysMaxStaleSeconds: withDefault(integer({ min: 1 }), 86_400),
  cooldownSeconds: withDefault(integer({ min: 1 }), 30)
})

/** Reads the options of one issuer. Nothing is fetched yet. */
export function jwtIssuer (value: unknown, path: string, fetch: Fetch, clock: () => number): JwtIssuer {
  const options = readOptions(value, path)
  if (options.audiences.length === 0) throw optionInvalid(`${path}.audiences`, 'a list of at least one', options.audiences)
  return Object.freeze({ ...options, keys: keysOf(options, path, fetch, clock) })
}

function keysOf (options: ReturnType<typeof readOptions>, path: string, fetch: Fetch, clock: () => number): KeySet {
  const { issuer, algorithms, jwksUrl, jwks, secret } = options
  if ([jwksUrl, jwks, secret].filter((source) => source !== undefined).length > 1) throw optionInvalid(path, 'given one of jwksUrl, jwks and secret', options)
  if (secret !== undefined) return fixedKeys([sharedKey(secret, algorithms, path)])
  // A secret that is published is none.
  if (algorithms.some(isSymmetric)) throw optionInvalid(`${path}.secret`, 'given for these algorithms', undefined)
  if (jwks !== undefined) return fixedKeys(givenKeys(jwks.keys, algorithms, path))
  return remoteKeys({
    issuer,
    jwksUrl,
    algorithms,
    timeoutMs: options.timeoutMs,
    maxBytes: options.maxBytes,
    maxAgeMs: options.keysMaxAgeSeconds * 1000,
    maxStaleMs: options.keysMaxStaleSeconds * 1000,
    cooldownMs: options.cooldownSeconds * 1000,
    fetch,
    clock
  })
}

function sharedKey (secret: KeyObject, algorithms: readonly SignatureAlgorithm[], path: string): VerificationKey {
  const [algorithm] = algorithms
  if (algorithm === undefined || algorithms.length > 1 || !isSymmetric(algorithm)) throw optionInvalid(`${path}.algorithms`, 'one of HS256, HS384, HS512 beside a secret', algorithms)
  const key = secretKey(secret, algorithm)
  if (key === null) throw optionInvalid(`${path}.secret`, 'at least as long as the hash', secret)
  return key
}

function givenKeys (jwks: readonly unknown[], algorithms: readonly SignatureAlgorithm[], path: string): readonly VerificationKey[] {
  const keys = usableKeys(jwks, algorithms)
  if (keys.length === 0) throw optionInvalid(`${path}.jwks`, 'a JWK Set with a public key for one of the algorithms', jwks)
  return keys
}
