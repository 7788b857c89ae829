import { calculateJwkThumbprint } from 'jose'
import { listOf, nonEmpty, object, oneOf, withDefault } from '../../options.ts'
import { isJsonObject, type JsonObject } from '../../strict-json.ts'
import { readAsymmetricAlgorithms, type SignatureAlgorithm } from '../verification-key.ts'
import { appraiserShape, attestationTokens, type AppraiserOptions } from './attestation-token.ts'
import { badAttestation, type AttestationVerifier } from './attestation-verifier.ts'

// What a token means is said by its profile, never guessed.
const statusClaims = {
  'tag:github.com,2023:veraison/ear': 'ear.status',
  'tag:github.com,2024:confidential-containers/Trustee': 'ear.status',
  'tag:ietf.org,2026:rats/ear#03': 'ear_status'
} as const

/** Profiles of EAT Attestation Results that are understood (draft-ietf-rats-ear, and what was there before it). */
export type EarProfile = keyof typeof statusClaims

const allProfiles: readonly EarProfile[] = ['tag:github.com,2023:veraison/ear', 'tag:github.com,2024:confidential-containers/Trustee', 'tag:ietf.org,2026:rats/ear#03']

/** Trustworthiness tiers, the better first, with the numbers that stand for them. What was not appraised is not good. */
const tiers = [['affirming', 2], ['none', 0], ['warning', 32], ['contraindicated', 96]] as const

export interface EarVerifierOptions extends AppraiserOptions {
  /** Default: all that are known. */
  readonly profiles?: readonly EarProfile[]
  /** Default `ES256`, `ES384`. */
  readonly algorithms?: readonly SignatureAlgorithm[]
}

const readOptions = object({
  ...appraiserShape,
  profiles: withDefault(nonEmpty(listOf(oneOf(...allProfiles))), allProfiles),
  algorithms: withDefault(readAsymmetricAlgorithms, ['ES256', 'ES384'])
})

/**
 * Verifies EAT Attestation Results (EAR) in JWT, as Veraison and Trustee make them. Facts: `profile`; `status`, the worst tier of all parts (`affirming`, `none`, `warning`,
 * `contraindicated`); `submods`, the names of the parts; `key`, the JWK thumbprint (RFC 7638) of the key that the evidence spoke of, if it did.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function earVerifier (options: EarVerifierOptions): AttestationVerifier {
  const { profiles, algorithms, ...appraiser } = readOptions(options, 'earVerifier')
  const readToken = attestationTokens(appraiser, algorithms, 'earVerifier')
  return {
    async verify (text, now) {
      const claims = await readToken(text, now)
      const profile = profiles.find((known) => known === claims.eat_profile)
      if (profile === undefined) throw badAttestation('ear-profile')
      const submods = Object.entries(isJsonObject(claims.submods) ? claims.submods : {})
      if (submods.length === 0) throw badAttestation('ear-submods')
      const parts = submods.map(([, part]) => isJsonObject(part) ? part : {})
      const key = await keyOf(parts)
      const status = worst(parts.map((part) => part[statusClaims[profile]]))
      return { nonces: noncesOf(claims, parts), facts: { profile, status, submods: submods.map(([name]) => name).sort(), ...key !== undefined && { key } } }
    }
  }
}

function worst (statuses: readonly unknown[]): string {
  const isIn = (tier: typeof tiers[number], status: unknown): boolean => tier.some((name) => name === status)
  const tier = tiers.findLast((candidate) => statuses.some((status) => isIn(candidate, status)))
  if (tier === undefined || !statuses.every((status) => tiers.some((candidate) => isIn(candidate, status)))) throw badAttestation('ear-status')
  return tier[0]
}

/** What the evidence was made over, where the result repeats it. */
function runtimeData (part: JsonObject): JsonObject {
  const evidence = part['ear.veraison.annotated-evidence']
  const data = isJsonObject(evidence) ? evidence.runtime_data_claims : undefined
  return isJsonObject(data) ? data : {}
}

function noncesOf (claims: JsonObject, parts: readonly JsonObject[]): readonly string[] {
  const named = [claims.eat_nonce, ...parts.map((part) => runtimeData(part).nonce)].flat().filter((nonce) => nonce !== undefined)
  return named.map((nonce) => typeof nonce === 'string' ? nonce : '')
}

async function keyOf (parts: readonly JsonObject[]): Promise<string | undefined> {
  const keys = parts.map((part) => runtimeData(part)['tee-pubkey']).filter(isJsonObject)
  const [key, other] = keys
  // Of two keys neither speaks for the whole.
  if (key === undefined || other !== undefined) return undefined
  return await calculateJwkThumbprint(key, 'sha256').catch(() => { throw badAttestation('ear-key') })
}
