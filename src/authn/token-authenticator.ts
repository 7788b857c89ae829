import type { Principal } from '../principal.ts'
import type { Authenticator } from './authenticator.ts'
import type { DpopRules } from './dpop.ts'
import { checkPossession, hasCertificate } from './possession.ts'
import type { PresentedCredential } from './presented-credential.ts'
import type { TokenBinding } from './token-binding.ts'

/** A token that was found good. */
export interface GoodToken {
  readonly principal: Principal
  readonly binding: TokenBinding | null
}

export interface TokenAuthenticatorOptions {
  readonly isMine: (presented: PresentedCredential) => boolean
  /** A token found good before, that still is; answers at once. */
  readonly remembered: (token: string) => GoodToken | undefined
  /** @throws what `authenticate` does. */
  readonly verify: (token: string) => Promise<GoodToken>
  /** `undefined` where tokens bound to a key are not accepted. */
  readonly dpop: DpopRules | undefined
  /** Milliseconds since the epoch. */
  readonly clock: () => number
}

/** Tokens under `Authorization: Bearer` or `DPoP`, whoever judges them: a bound one counts only with what it is bound to, on every request. */
export function tokenAuthenticator ({ isMine, remembered, verify, dpop, clock }: TokenAuthenticatorOptions): Authenticator {
  return {
    dpopAlgorithms: dpop?.algorithms,
    isMine,
    recall (presented, facts) {
      // A proof of possession of a key is new with every request.
      if (presented.scheme !== 'bearer' || !isMine(presented)) return null
      const known = remembered(presented.value)
      return known !== undefined && known.binding?.key === undefined && hasCertificate(known.binding, facts) ? known.principal : null
    },
    async authenticate (presented, facts) {
      if (!isMine(presented)) return null
      const known = remembered(presented.value) ?? await verify(presented.value)
      await checkPossession(known.binding, presented, facts, dpop, clock())
      return known.principal
    }
  }
}
