import { createHash } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'
import { guardError } from '../errors.ts'
import { havingMethods, integer, object, optional, withDefault, type Reader } from '../options.ts'
import { parseStrictJson, type JsonObject } from '../strict-json.ts'
import { badCredential } from './bad-credential.ts'
import { parseCompactJws, verifyJws, type CompactJws } from './compact-jws.ts'
import { dpopNonces, readNonceOptions, type DpopNonceOptions, type DpopNonces } from './dpop-nonces.ts'
import type { ReplayStore } from './replay-store.ts'
import type { RequestFacts } from './request-facts.ts'
import { readAsymmetricAlgorithms, readPublicJwk, type SignatureAlgorithm } from './verification-key.ts'

export interface DpopOptions {
  /** Where used proofs are remembered; `redisReplayStore` where there are many nodes. */
  readonly replayStore: ReplayStore
  /** Default `ES256`, `Ed25519`, `EdDSA`. */
  readonly algorithms?: readonly SignatureAlgorithm[]
  /** How long after it was made a proof counts, and how long before for clocks that differ. Default 60, 300 at most. */
  readonly windowSeconds?: number
  /** Every proof must carry a nonce of this server's (section 9), which whoever makes proofs ahead does not have. Default: none is asked for. */
  readonly nonce?: DpopNonceOptions
}

/** The options, read. */
export interface DpopRules {
  readonly replayStore: ReplayStore
  readonly algorithms: readonly SignatureAlgorithm[]
  readonly windowSeconds: number
  readonly nonces: DpopNonces | undefined
}

const readOptions = object({
  replayStore: havingMethods<ReplayStore>('remember'),
  algorithms: withDefault(readAsymmetricAlgorithms, ['ES256', 'Ed25519', 'EdDSA']),
  windowSeconds: withDefault(integer({ min: 1, max: 300 }), 60),
  nonce: optional(readNonceOptions)
})

/** Option `dpop`. */
export const readDpopOptions: Reader<DpopRules> = (value, path) => {
  const { nonce, ...rules } = readOptions(value, path)
  return { ...rules, nonces: nonce === undefined ? undefined : dpopNonces(nonce) }
}

/**
 * Checks that this request was made by the holder of the key that a token is bound to (RFC 9449 section 4.3).
 * @param thumbprint `jkt` of the token's `cnf`.
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_CREDENTIAL_INVALID
 * @throws FMG_ERR_REPLAY_UNAVAILABLE when it cannot be known whether the proof was used before.
 */
export async function checkDpop (token: string, thumbprint: string, facts: RequestFacts, rules: DpopRules, now: number): Promise<void> {
  const { proof, claims } = readProof(facts)
  if (await checkProofKey(proof, rules) !== thumbprint) throw badCredential('dpop-other-key')
  checkRequest(claims, facts)
  if (claims.ath !== createHash('sha256').update(token).digest('base64url')) throw badCredential('dpop-token')
  checkNonce(claims, rules, now)
  await checkFresh(claims, thumbprint, rules, now)
}

/**
 * The thumbprint of the key whose holder made this request, of which a token is to be had that is bound to it (RFC 9449 section 5); the token
 * itself is not there yet.
 * @param now milliseconds since the epoch.
 * @throws what `checkDpop` does.
 */
export async function provenKey (facts: RequestFacts, rules: DpopRules, now: number): Promise<string> {
  const { proof, claims } = readProof(facts)
  const thumbprint = await checkProofKey(proof, rules)
  checkRequest(claims, facts)
  checkNonce(claims, rules, now)
  await checkFresh(claims, thumbprint, rules, now)
  return thumbprint
}

/** The request's only proof, of which nothing is true yet. */
function readProof ({ dpopProofs: [text, second] }: RequestFacts): { readonly proof: CompactJws, readonly claims: JsonObject } {
  if (text === undefined || second !== undefined) throw badCredential('dpop-proof-count')
  const proof = parseCompactJws(text)
  if (proof.header.typ !== 'dpop+jwt') throw badCredential('dpop-type')
  const claims = parseStrictJson(proof.payload)
  if (claims === null) throw badCredential('dpop-claims-malformed')
  return { proof, claims }
}

/** The proof is signed by the key in its header; gives the thumbprint of that. */
async function checkProofKey (proof: CompactJws, { algorithms }: DpopRules): Promise<string> {
  const allowed = algorithms.filter((algorithm) => algorithm === proof.header.alg)
  const key = readPublicJwk(proof.header.jwk, allowed)
  if (key === null) throw badCredential('dpop-key')
  await verifyJws(proof, key)
  return await calculateJwkThumbprint(key.key, 'sha256')
}

/** The proof was made for this request. */
function checkRequest ({ htm, htu }: JsonObject, { method, url }: RequestFacts): void {
  if (htm !== method) throw badCredential('dpop-method')
  if (typeof htu !== 'string' || !URL.canParse(htu) || withoutQuery(htu) !== withoutQuery(url)) throw badCredential('dpop-url')
}

// RFC 9449 section 4.3, 9: without query and fragment; parsing brings scheme, host and default port into one spelling.
function withoutQuery (url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

/** Before the proof is used up: the same request is made again, with the nonce that it is told of here. */
function checkNonce ({ nonce }: JsonObject, { nonces }: DpopRules, now: number): void {
  if (nonces?.judge(nonce, now) === 'unknown') throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'dpop-nonce', headers: { 'dpop-nonce': nonces.current(now) } })
}

/** A nonce for the next request (section 8.2), where that of this one, which was good, is about to end. */
export function nextNonce ({ dpopProofs: [proof = ''] }: RequestFacts, { nonces }: DpopRules, now: number): string | null {
  if (nonces === undefined) return null
  const claims = parseStrictJson(parseCompactJws(proof).payload)
  return nonces.judge(claims?.nonce, now) === 'ending' ? nonces.current(now) : null
}

async function checkFresh ({ iat, jti }: JsonObject, thumbprint: string, { replayStore, windowSeconds }: DpopRules, now: number): Promise<void> {
  // Written so that what is no number is outside.
  if (!(typeof iat === 'number' && Math.abs(now / 1000 - iat) <= windowSeconds)) throw badCredential('dpop-time')
  if (typeof jti !== 'string' || jti === '') throw badCredential('dpop-id')
  // By key: nobody can use up the ids of another. A digest, because the id is as long as its maker likes.
  const id = createHash('sha256').update(`${thumbprint} ${jti}`).digest('base64url')
  if (!await replayStore.remember(id, (iat + windowSeconds) * 1000 - now + 1000)) throw badCredential('dpop-replayed')
}
