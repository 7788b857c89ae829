import { createPrivateKey } from 'node:crypto'
import { guardError } from '../errors.ts'
import { readNamedFile, readPrivateFile } from '../files.ts'
import { importJwk } from './jwk.ts'
import { readJwkText, type ReadJwk } from './jwk-text.ts'
import type { KeyProvider } from './key-provider.ts'
import { localKey } from './local-key.ts'
import { localSigner } from './local-signer.ts'
import type { SecretSource } from './secret-source.ts'
import type { Signer } from './signer.ts'
import { usedUp } from './used-up.ts'

/**
 * A key-encryption key from a file that holds a JSON Web Key (RFC 7517). A public one may be readable by all.
 * Of a secret one (`k`) no copy is left in memory but the key object's, which OpenSSL overwrites when the object is collected as garbage. What a private
 * one of RSA or an elliptic curve consists of also stays in strings of the runtime, which nobody can overwrite.
 * @throws FMG_ERR_FILE when it cannot be read, is not JSON, or holds a private key that others may read.
 * @throws FMG_ERR_OPTION_INVALID when the key does not fit its algorithm.
 */
export async function keyFromFile (file: string): Promise<KeyProvider> {
  const { jwk, k } = readKey(file, await readNamedFile(file))
  if (k === undefined && !('d' in jwk || 'k' in jwk)) return localKey({ jwk })
  k?.fill(0)
  // Read anew: the file whose permissions were checked is the one whose key is used.
  return keyOf(file, await readPrivateFile(file))
}

/**
 * A key-encryption key from a secret that is a JSON Web Key; the bytes that are read are overwritten. Otherwise as `keyFromFile`.
 * @param name what the source is called, for messages.
 * @throws FMG_ERR_FILE when it is none; FMG_ERR_OPTION_INVALID when the key does not fit its algorithm.
 * @throws FMG_ERR_KEY_UNAVAILABLE when the secret cannot be had.
 */
export async function keyFromSecret (source: SecretSource, name: string): Promise<KeyProvider> {
  return keyOf(name, ownBytes(await source.read()))
}

/**
 * A signer from a file that holds a private key in PEM.
 * @throws FMG_ERR_FILE when it cannot be read, holds no private key, or others may read it.
 */
export async function signerFromFile (file: string): Promise<Signer> {
  return signerOf(file, await readPrivateFile(file))
}

/**
 * A signer from a secret that is a private key in PEM; the bytes that are read are overwritten.
 * @param name what the source is called, for messages.
 * @throws FMG_ERR_FILE when it is none.
 * @throws FMG_ERR_KEY_UNAVAILABLE when the secret cannot be had.
 */
export async function signerFromSecret (source: SecretSource, name: string): Promise<Signer> {
  return signerOf(name, ownBytes(await source.read()))
}

function signerOf (name: string, pem: Buffer): Signer {
  try {
    return localSigner(usedUp(pem, createPrivateKey))
  } catch {
    throw guardError('FMG_ERR_FILE', { detail: `${name} holds no private key of Ed25519, P-256, P-384 or P-521` })
  }
}

function keyOf (name: string, text: Buffer): KeyProvider {
  const { jwk, k } = readKey(name, text)
  return k === undefined ? localKey({ jwk }) : usedUp(k, () => localKey(importJwk(jwk, k)))
}

function readKey (name: string, text: Buffer): ReadJwk {
  const read = readJwkText(text)
  if (read === undefined) throw guardError('FMG_ERR_FILE', { detail: `${name} holds no JSON Web Key` })
  return read
}

/** A source gives a copy that is the caller's: it is used as it lies there, not copied again. */
function ownBytes ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
