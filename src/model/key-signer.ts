import { KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import { verifySignature } from '../secrets/signer.ts'
import { encodeForSigning, keyHint, type SignedBundle } from './bundle.ts'
import { refuseRevokedKey } from './revoked-signers.ts'
import type { Trust, TrustedKey, VerifiedStatement } from './trust.ts'

/** Who signed, and what he may say. */
export type IdentifiedSigner = Omit<VerifiedStatement, 'statement'>

/**
 * Checks a signature that was made with a key alone.
 * @throws FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED
 */
export function identifyKey (bundle: SignedBundle, hint: string, { keys, revoked = {} }: Trust): IdentifiedSigner {
  const signed = encodeForSigning(bundle.payload)
  const named = keys.find((trusted) => keyHint(keyOf(trusted)) === hint)
  // A hint is free text to other tools: any trusted key that fits will do.
  const candidates = named === undefined ? keys : [named]
  const signedBy = candidates.map(keyOf).find((key) => verifySignature(key, signed, bundle.signature))
  if (signedBy !== undefined) {
    refuseRevokedKey(keyHint(signedBy), revoked)
    return { signer: { method: 'key', hint: keyHint(signedBy) }, mayClaim: keys.filter((trusted) => keyOf(trusted).equals(signedBy)).map(claimsOf) }
  }
  if (named === undefined) throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: 'its key is not among the trusted', reason: 'unknown-key' })
  throw guardError('FMG_ERR_SIGNATURE_INVALID', { detail: 'it was not made by the key it names', reason: 'signature' })
}

function keyOf (trusted: KeyObject | TrustedKey): KeyObject {
  return trusted instanceof KeyObject ? trusted : trusted.key
}

function claimsOf (trusted: KeyObject | TrustedKey): TrustedKey['mayClaim'] {
  return trusted instanceof KeyObject ? {} : trusted.mayClaim
}
