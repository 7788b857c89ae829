import { createPublicKey, hash, KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import { anyThat, listOf, optionInvalid, type Reader } from '../options.ts'
import { signatureHash, verifySignature } from '../secrets/signer.ts'

/** Signatures of a file that are looked at: each is held against every key. */
const maxSignatures = 16

/** A public key of Ed25519, P-256, P-384 or P-521: PEM, or read already. */
export type PolicyKey = string | Buffer | KeyObject

const readKey: Reader<PolicyKey> = anyThat((value): value is PolicyKey => typeof value === 'string' || Buffer.isBuffer(value) || value instanceof KeyObject, 'a public key in PEM')

/** Reads the keys that are trusted for policies. */
export const readPolicyKeys: Reader<readonly KeyObject[]> = (value, path) => listOf(readKey)(value, path).map((key, index) => publicKeyOf(key, `${path}[${index}]`))

/**
 * Holds a policy file against its signatures, a line each: base64 of Ed25519 or of ECDSA in DER over the file's bytes, as `model-guard policy
 * sign` and `cosign sign-blob --key` write it.
 * @param required how many different keys of these must have signed.
 * @returns the fingerprints of those that did: `sha256:<hex>` of the key's SubjectPublicKeyInfo.
 * @throws FMG_ERR_SIGNATURE_INVALID
 */
export function checkPolicySignature (bytes: Uint8Array, signatures: string, keys: readonly KeyObject[], required: number, file: string): readonly string[] {
  const decoded = signatures.trim().split(/\s+/, maxSignatures).map((line) => Buffer.from(line, 'base64'))
  // By fingerprint: one key that is trusted twice is one.
  const signers = new Set(keys.filter((key) => decoded.some((signature) => verifySignature(key, bytes, signature))).map(fingerprint))
  if (signers.size < required) throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: `${file} is not signed by ${required === 1 ? 'a key that is' : `${required} keys that are`} trusted for policies`, reason: 'policy-signature' })
  return [...signers]
}

function fingerprint (key: KeyObject): string {
  return `sha256:${hash('sha256', key.export({ type: 'spki', format: 'der' }))}`
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
