import { createHash } from 'node:crypto'
import { parseStrictJson, type JsonObject } from '../strict-json.ts'
import { checkClaims, checkType } from './access-claims.ts'
import { badCredential } from './bad-credential.ts'
import { parseCompactJws, verifyJws } from './compact-jws.ts'
import type { KeySet } from './key-set.ts'
import type { SignatureAlgorithm } from './verification-key.ts'

export interface IdTokenRules {
  readonly issuer: string
  readonly clientId: string
  readonly algorithms: readonly SignatureAlgorithm[]
  readonly keys: KeySet
  readonly clockToleranceSeconds: number
}

/** What a token came along with. */
export interface IdTokenContext {
  readonly accessToken: string
  /** Of the login; `null` when a session is renewed (OpenID Connect Core 1.0 section 12.2). */
  readonly nonce: string | null
  /** Milliseconds since the epoch. */
  readonly now: number
}

const maxLifetimeSeconds = 86_400

/**
 * Validates an ID token (OpenID Connect Core 1.0 section 3.1.3.7): @fastify/oauth2 hands it on as it came.
 * @returns its claims, `sub` a string among them.
 * @throws FMG_ERR_CREDENTIAL_INVALID
 * @throws FMG_ERR_ISSUER_UNAVAILABLE when the provider's keys cannot be had.
 */
export async function checkIdToken (token: string, rules: IdTokenRules, { accessToken, nonce, now }: IdTokenContext): Promise<JsonObject> {
  const { issuer, clientId, algorithms, keys, clockToleranceSeconds } = rules
  const jws = parseCompactJws(token)
  const { alg, kid, typ } = jws.header
  // An access token, a logout token or a DPoP proof of the same provider is none.
  checkType(typ, 'JWT')
  const algorithm = algorithms.find((name) => name === alg)
  if (algorithm === undefined) throw badCredential('id-token-algorithm')
  const key = await keys.find(kid, alg)
  if (key === null) throw badCredential('id-token-key-unknown')
  await verifyJws(jws, key)
  const claims = parseStrictJson(jws.payload)
  if (claims === null) throw badCredential('id-token-malformed')
  checkClaims(claims, { issuer, audiences: [clientId], type: 'JWT', clockToleranceSeconds, maxLifetimeSeconds }, now)
  checkParty(claims, clientId)
  if (nonce !== null && claims.nonce !== nonce) throw badCredential('id-token-nonce')
  if (claims.at_hash !== undefined && claims.at_hash !== halfHash(accessToken, algorithm)) throw badCredential('id-token-access-token')
  return claims
}

/** It was made for this client, at its own wish, and for nobody else. */
function checkParty ({ aud, azp }: JsonObject, clientId: string): void {
  if (Array.isArray(aud) && aud.length > 1) throw badCredential('id-token-other-audience')
  if (azp !== undefined && azp !== clientId) throw badCredential('id-token-party')
}

/** OpenID Connect Core 1.0 section 3.1.3.6: the left half of the hash that belongs to the algorithm; of EdDSA with Ed25519, SHA-512. */
function halfHash (text: string, algorithm: SignatureAlgorithm): string {
  const bits = /^(?:Ed25519|EdDSA)$/.test(algorithm) ? '512' : algorithm.slice(-3)
  const digest = createHash(`sha${bits}`).update(text).digest()
  return digest.subarray(0, digest.length / 2).toString('base64url')
}
