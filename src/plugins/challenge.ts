import type { Authenticator } from '../authn/authenticator.ts'
import type { CredentialProblem, PresentedCredential } from '../authn/presented-credential.ts'
import { guardError, isGuardError, type GuardError } from '../errors.ts'

/** Gives a refusal its challenge (RFC 9110 section 11.6.1: a 401 carries one). @param presented what was refused, where that is known. */
export type Challenge = (error: unknown, presented?: PresentedCredential | CredentialProblem) => GuardError

/**
 * Challenges of these authenticators.
 * @param parameters of each of them, `realm` among them.
 */
export function challenge (authenticators: readonly Authenticator[], parameters: string): Challenge {
  const algorithms = authenticators.find(({ dpopAlgorithms }) => dpopAlgorithms !== undefined)?.dpopAlgorithms
  const bearer = `Bearer ${parameters}`
  // RFC 9449 section 7.1.
  const dpop = algorithms === undefined ? undefined : `DPoP ${parameters}, algs="${algorithms.join(' ')}"`
  // RFC 6750 section 3.1: a request without a credential gets no error code.
  const missing = dpop === undefined ? bearer : `${bearer}, ${dpop}`

  function challengeFor (error: GuardError, presented: PresentedCredential | CredentialProblem | undefined): string {
    if (error.code === 'FMG_ERR_CREDENTIAL_MISSING') return missing
    if (error.reason === 'two-credentials') return `${bearer}, error="invalid_request"`
    const isDpop = dpop !== undefined && typeof presented === 'object' && presented.scheme === 'dpop'
    if (!isDpop) return `${bearer}, error="invalid_token"`
    return `${dpop}, error="${dpopError(error.reason)}"`
  }

  return function challenged (error, presented) {
    const refusal = isGuardError(error) ? error : guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'authenticator-failed', cause: error })
    if (refusal.code === 'FMG_ERR_CREDENTIAL_MISSING' || refusal.code === 'FMG_ERR_CREDENTIAL_INVALID') {
      refusal.headers = { ...refusal.headers, 'www-authenticate': challengeFor(refusal, presented), 'cache-control': 'no-store' }
    }
    return refusal
  }
}

/** RFC 9449 sections 7.1 and 9. */
function dpopError (reason = ''): string {
  if (reason === 'dpop-nonce') return 'use_dpop_nonce'
  return reason.startsWith('dpop-') ? 'invalid_dpop_proof' : 'invalid_token'
}
