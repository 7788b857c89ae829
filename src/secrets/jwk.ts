import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import { objectWith, oneOf, optional, optionInvalid, string, type Read } from '../options.ts'
import { usedUp } from './used-up.ts'

/** The algorithms that a key held in this process wraps with. */
export const readAlgorithm = oneOf('A256KW', 'RSA-OAEP-256', 'ECDH-ES+A256KW')

/** The algorithms (RFC 7518 section 4.1) that a key held in this process can wrap with. */
export type LocalKeyAlgorithm = Read<typeof readAlgorithm>

/** A key-encryption key, its name, and what it is used with. */
export interface NamedKey {
  readonly keyId: string
  readonly algorithm: LocalKeyAlgorithm
  readonly key: KeyObject
}

const base64url = optional(string(/^[\w-]+$/, 'base64url'))
const jwkShape = {
  kty: oneOf('oct', 'RSA', 'EC'),
  kid: string(),
  alg: readAlgorithm,
  use: optional(oneOf('enc')),
  crv: optional(string()),
  k: base64url,
  n: base64url,
  e: base64url,
  d: base64url,
  p: base64url,
  q: base64url,
  dp: base64url,
  dq: base64url,
  qi: base64url,
  x: base64url,
  y: base64url
}
const readJwk = objectWith(jwkShape)

/**
 * The key that a JSON Web Key (RFC 7517) is. Members that are not needed are ignored (section 4).
 * @param k the bytes of a secret key where they are not in the JWK. The caller zeroes them.
 * @throws FMG_ERR_OPTION_INVALID when it lacks a name, an algorithm or a part of its key.
 */
export function importJwk (value: object, k?: Uint8Array): NamedKey {
  const jwk = readJwk(value, 'jwk')
  try {
    return { keyId: jwk.kid, algorithm: jwk.alg, key: importKey(jwk, k) }
  } catch {
    // The cause of a failed import may quote the key.
    throw optionInvalid('jwk', 'a whole JSON Web Key', value)
  }
}

function importKey (jwk: Read<typeof readJwk>, k?: Uint8Array): KeyObject {
  if (jwk.kty === 'oct') return k === undefined ? usedUp(Buffer.from(jwk.k ?? '', 'base64url'), createSecretKey) : createSecretKey(k)
  return jwk.d === undefined ? createPublicKey({ key: jwk, format: 'jwk' }) : createPrivateKey({ key: jwk, format: 'jwk' })
}
