import { verify, type KeyObject } from 'node:crypto'

/** Signs under one private key, which need never leave where it lives. */
export interface Signer {
  readonly publicKey: KeyObject
  /** Ed25519 (RFC 8032), or ECDSA with the hash of its curve's size in DER (RFC 3279): as the key says. */
  sign (data: Uint8Array): Promise<Uint8Array>
}

const curveHashes = new Map<string | undefined, string>([['prime256v1', 'sha256'], ['secp384r1', 'sha384'], ['secp521r1', 'sha512']])

/** The hash a key signs with: `null` for Ed25519, which brings its own; `undefined` for a key of a kind that signs nothing here. */
export function signatureHash (key: KeyObject): string | null | undefined {
  if (key.asymmetricKeyType === 'ed25519') return null
  return key.asymmetricKeyType === 'ec' ? curveHashes.get(key.asymmetricKeyDetails?.namedCurve) : undefined
}

/** Whether this key made this signature over these bytes. A key of another kind made none. */
export function verifySignature (publicKey: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  const hash = signatureHash(publicKey)
  return hash !== undefined && verify(hash, data, publicKey, signature)
}
