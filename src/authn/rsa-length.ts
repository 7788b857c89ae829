import type { KeyObject } from 'node:crypto'

/**
 * Whether a signature by an RSA key is as long as its modulus; one by another kind of key is whatever its algorithm says.
 * RFC 8017 sections 8.1.2 and 8.2.2 refuse others in their first step. OpenSSL does so for PKCS #1 v1.5 alone: of a PSS signature that begins
 * with zeros it takes a second spelling, without them.
 */
export function isAsLongAsModulus ({ asymmetricKeyDetails }: KeyObject, signature: Uint8Array): boolean {
  const { modulusLength } = asymmetricKeyDetails ?? {}
  return modulusLength === undefined || signature.length === Math.ceil(modulusLength / 8)
}
