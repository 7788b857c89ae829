import { guardError, type GuardError } from '../../errors.ts'

/** What somebody who appraises evidence says of where a request comes from, in words for policies. */
export interface AttestationResult {
  /** What was to be repeated, of this server's: every one that the result names. At least one. */
  readonly nonces: readonly string[]
  /** The same for many requests: nothing that is new each time. */
  readonly facts: Readonly<Record<string, unknown>>
}

/** Verifies results of one appraiser of evidence (RFC 9334 calls it a verifier, and this a relying party). */
export interface AttestationVerifier {
  /**
   * @param text as a client sent it.
   * @param now milliseconds since the epoch.
   * @throws FMG_ERR_ATTESTATION_INVALID for what is not the word of this appraiser, or says that something is wrong.
   * @throws FMG_ERR_ISSUER_UNAVAILABLE when its keys cannot be had.
   */
  verify (text: string, now: number): Promise<AttestationResult>
}

/** The refusal of an attestation result. @param reason one kebab-case word. */
export function badAttestation (reason: string): GuardError {
  return guardError('FMG_ERR_ATTESTATION_INVALID', { reason, detail: reason.replaceAll('-', ' ') })
}
