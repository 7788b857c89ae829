import { createPublicKey, type KeyObject } from 'node:crypto'
import { listOf, nonEmpty, oneOf, optionInvalid, type Reader } from '../options.ts'
import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { isFactorable } from './weak-modulus.ts'

const asymmetric = ['ES256', 'ES384', 'ES512', 'Ed25519', 'EdDSA', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'] as const
const symmetric = ['HS256', 'HS384', 'HS512'] as const

/** Signature algorithms by their JOSE names. `HS…` are for issuers that share a secret with this server. */
export type SignatureAlgorithm = typeof asymmetric[number] | typeof symmetric[number]

/** A key that verifies signatures of one algorithm, and no other. */
export interface VerificationKey {
  readonly kid: string | undefined
  readonly algorithm: SignatureAlgorithm
  readonly key: KeyObject
}

/** Whether an algorithm works with a shared secret. */
export function isSymmetric (algorithm: SignatureAlgorithm): boolean {
  return symmetric.some((name) => name === algorithm)
}

/** Algorithms with a public key. */
export const readAsymmetricAlgorithms: Reader<readonly SignatureAlgorithm[]> = nonEmpty(listOf(oneOf(...asymmetric)))

const readAnyAlgorithms = nonEmpty(listOf(oneOf<SignatureAlgorithm>(...asymmetric, ...symmetric)))

/** Algorithms of one kind: with a public key, or with a shared secret. */
export const readAlgorithms: Reader<readonly SignatureAlgorithm[]> = (value, path) => {
  const algorithms = readAnyAlgorithms(value, path)
  // Where both kinds are allowed, a public key can be passed off as the secret.
  if (algorithms.some(isSymmetric) && !algorithms.every(isSymmetric)) throw optionInvalid(path, 'of one kind, symmetric or asymmetric', value)
  return algorithms
}

/**
 * Pins a public JWK (RFC 7517) to the one algorithm it is for: the one it names, or the only one of these that fits it.
 * @returns `null` for a key that must verify nothing here: private or secret, for another use, too short, off its curve, of another algorithm.
 */
export function readPublicJwk (jwk: unknown, algorithms: readonly SignatureAlgorithm[]): VerificationKey | null {
  if (!isJsonObject(jwk) || 'd' in jwk || 'k' in jwk || !isForVerifying(jwk)) return null
  const fitting = algorithms.filter((algorithm) => fits(jwk, algorithm) && (jwk.alg === undefined || jwk.alg === algorithm))
  const [algorithm] = fitting
  const key = importKey(jwk)
  if (algorithm === undefined || fitting.length > 1 || key === null) return null
  return { kid: typeof jwk.kid === 'string' ? jwk.kid : undefined, algorithm, key }
}

function isForVerifying ({ use, key_ops: operations }: JsonObject): boolean {
  return (use === undefined || use === 'sig') && (operations === undefined || (Array.isArray(operations) && operations.includes('verify')))
}

function fits ({ kty, crv }: JsonObject, algorithm: SignatureAlgorithm): boolean {
  switch (algorithm) {
    case 'ES256': return kty === 'EC' && crv === 'P-256'
    case 'ES384': return kty === 'EC' && crv === 'P-384'
    case 'ES512': return kty === 'EC' && crv === 'P-521'
    case 'Ed25519':
    case 'EdDSA': return kty === 'OKP' && crv === 'Ed25519'
    default: return kty === 'RSA' && !isSymmetric(algorithm)
  }
}

function importKey ({ kty, crv, x, y, n, e }: JsonObject): KeyObject | null {
  try {
    // Only the public members are named, and a wrong kind of one is refused by the import.
    const key = createPublicKey({ key: publicMembers({ kty, crv, x, y, n, e }), format: 'jwk' })
    return kty === 'RSA' && !isStrongRsa(key, String(n)) ? null : key
  } catch {
    // Not a key, or a point off its curve.
    return null
  }
}

// RFC 7518 section 3.3: 2048 bits or more.
function isStrongRsa ({ asymmetricKeyDetails }: KeyObject, modulus: string): boolean {
  return Number(asymmetricKeyDetails?.modulusLength) >= 2048 && !isFactorable(modulus)
}

function publicMembers (jwk: JsonObject): Record<string, string> {
  return Object.fromEntries(Object.entries(jwk).flatMap(([name, value]) => typeof value === 'string' ? [[name, value]] : []))
}
