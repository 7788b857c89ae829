import { createPublicKey, KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import { anyThat, listOf, optionInvalid, type Reader } from '../options.ts'
import { signatureHash, verifySignature } from '../secrets/signer.ts'

/** A public key of Ed25519, P-256, P-384 or P-521: PEM, or read already. */
export type PolicyKey = string | Buffer | KeyObject

const readKey: Reader<PolicyKey> = anyThat((value): value is PolicyKey => typeof value === 'string' || Buffer.isBuffer(value) || value instanceof KeyObject, 'a public key in PEM')

/** Reads the keys of which one must have signed a policy. */
export const readPolicyKeys: Reader<readonly KeyObject[]> = (value, path) => listOf(readKey)(value, path).map((key, index) => publicKeyOf(key, `${path}[${index}]`))

/**
 * Holds a policy file against its signature: base64 of Ed25519 or of ECDSA in DER over the file's bytes, as `model-guard policy sign` and
 * `cosign sign-blob --key` write it.
 * @throws FMG_ERR_SIGNATURE_INVALID
 */
export function checkPolicySignature (bytes: Uint8Array, signature: string, keys: readonly KeyObject[], file: string): void {
  const decoded = Buffer.from(signature.trim(), 'base64')
  if (!keys.some((key) => verifySignature(key, bytes, decoded))) throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: `${file} is not signed by a key that is trusted for policies`, reason: 'policy-signature' })
}

function publicKeyOf (key: PolicyKey, path: string): KeyObject {
  const read = key instanceof KeyObject ? key : parse(key, path)
  if (read.type !== 'public' || signatureHash(read) === undefined) throw optionInvalid(path, 'a public key of Ed25519, P-256, P-384 or P-521', key)
  return read
}

function parse (pem: string | Buffer, path: string): KeyObject {
  try {
    return createPublicKey(pem)
  } catch {
    throw optionInvalid(path, 'a public key in PEM', pem)
  }
}
