import { createHash, createPublicKey, createSecretKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { object, oneOf, string } from '../options.ts'
import { unwrapUnderAes, wrapUnderAes } from './aes-key-wrap.ts'

const algorithm = 'ECDH-ES+A256KW'
const coordinate = string(/^[\w-]{43}$/, 'a P-256 coordinate')
// A private member, or apu and apv beside it, would change what is agreed upon: exactly these four.
const readEphemeralKey = object({ kty: oneOf('EC'), crv: oneOf('P-256'), x: coordinate, y: coordinate })
const readHeader = object({ epk: readEphemeralKey })

/** What a wrapping for one P-256 public key consists of (RFC 7518 section 4.6). */
export interface AgreedWrapping {
  readonly header: { readonly epk: { readonly kty: 'EC', readonly crv: 'P-256', readonly x: string, readonly y: string } }
  readonly encryptedKey: Uint8Array
}

/** Wraps a key for the holder of a P-256 private key, under a key agreed with a fresh ephemeral one. */
export function wrapForEc (publicKey: KeyObject, key: Uint8Array): AgreedWrapping {
  const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const header = readHeader({ epk: ephemeral.publicKey.export({ format: 'jwk' }) }, 'header')
  return { header, encryptedKey: wrapUnderAes(agree(ephemeral.privateKey, publicKey), key) }
}

/**
 * Undoes `wrapForEc`.
 * @throws when the header holds anything but a point of P-256, or when the key does not open it.
 */
export function unwrapByEc (privateKey: KeyObject, header: unknown, encryptedKey: Uint8Array): Uint8Array {
  return unwrapUnderAes(agree(privateKey, ephemeralKey(header)), encryptedKey)
}

/**
 * The public key that the sender made for this one wrapping.
 * @throws when the header holds anything but a point of P-256.
 */
export function ephemeralKey (header: unknown): KeyObject {
  const { epk } = readHeader(header, 'header')
  return createPublicKey({ key: epk, format: 'jwk' })
}

function agree (privateKey: KeyObject, publicKey: KeyObject): KeyObject {
  return wrappingKeyOf(diffieHellman({ privateKey, publicKey }))
}

/**
 * The key that wraps, of what was agreed upon (RFC 7518 section 4.6.2).
 * @param secret zeroed.
 */
export function wrappingKeyOf (secret: Uint8Array): KeyObject {
  const derived = concatKdf(secret)
  const wrappingKey = createSecretKey(derived)
  secret.fill(0)
  derived.fill(0)
  return wrappingKey
}

// RFC 7518 section 4.6.2: one round of SHA-256 gives the 256 bits; no PartyUInfo, no PartyVInfo.
function concatKdf (secret: Uint8Array): Buffer {
  return createHash('sha256')
    .update(uint32(1)).update(secret)
    .update(uint32(algorithm.length)).update(algorithm)
    .update(uint32(0)).update(uint32(0))
    .update(uint32(256))
    .digest()
}

function uint32 (value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
