import { badCredential } from './bad-credential.ts'
import { checkDpop, type DpopRules } from './dpop.ts'
import type { PresentedCredential } from './presented-credential.ts'
import type { RequestFacts } from './request-facts.ts'
import type { TokenBinding } from './token-binding.ts'

/**
 * Checks that a token is presented by whom it is bound to.
 * @param dpop `undefined` where tokens bound to a key are not accepted.
 * @param now milliseconds since the epoch.
 * @throws FMG_ERR_CREDENTIAL_INVALID
 * @throws FMG_ERR_REPLAY_UNAVAILABLE when it cannot be known whether a proof was used before.
 */
export async function checkPossession (binding: TokenBinding | null, { scheme, value }: PresentedCredential, facts: RequestFacts, dpop: DpopRules | undefined, now: number): Promise<void> {
  if (!hasCertificate(binding, facts)) throw badCredential('jwt-certificate')
  const key = binding?.key
  if (facts.provenKey !== undefined) {
    if (key !== undefined && key !== facts.provenKey) throw badCredential('token-other-key')
    return
  }
  // RFC 9449 section 7.2: a bound token as a bearer token is a stolen one; and a scheme that promises a proof gets one.
  if ((key === undefined) !== (scheme === 'bearer')) throw badCredential('jwt-scheme')
  if (key === undefined) return
  if (dpop === undefined) throw badCredential('dpop-not-accepted')
  await checkDpop(value, key, facts, dpop, now)
}

/** RFC 8705 section 3: the certificate of this very connection. */
export function hasCertificate (binding: TokenBinding | null, facts: RequestFacts): boolean {
  return binding?.certificate === undefined || binding.certificate === facts.certificate?.thumbprint
}
