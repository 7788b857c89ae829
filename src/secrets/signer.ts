import type { KeyObject } from 'node:crypto'

/** Signs under one private key, which need never leave where it lives. */
export interface Signer {
  readonly publicKey: KeyObject
  /** Ed25519 (RFC 8032), or ECDSA with the hash of its curve's size in DER (RFC 3279): as the key says. */
  sign (data: Uint8Array): Promise<Uint8Array>
}
