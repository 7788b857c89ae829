import type { Principal } from '../principal.ts'
import type { Authenticator } from './authenticator.ts'
import { refuseDenied, type DeniableToken, type DenyList } from './deny-list.ts'
import { nextNonce, type DpopRules } from './dpop.ts'
import { checkPossession, hasCertificate } from './possession.ts'
import type { PresentedCredential } from './presented-credential.ts'
import type { RequestFacts } from './request-facts.ts'
import type { TokenBinding } from './token-binding.ts'

/** A token that was found good. */
export interface GoodToken extends DeniableToken {
  readonly principal: Principal
  readonly binding: TokenBinding | null
}

export interface TokenAuthenticatorOptions {
  readonly isMine: (presented: PresentedCredential) => boolean
  /** A token found good before, that still is unless it is denied; answers at once. */
  readonly remembered: (token: string, facts: RequestFacts) => GoodToken | undefined
  /** @throws what `authenticate` does. */
  readonly verify: (token: string, facts: RequestFacts) => Promise<GoodToken>
  /** `undefined` where none is denied before it expires. */
  readonly denyList: DenyList | undefined
  /** `undefined` where tokens bound to a key are not accepted. */
  readonly dpop: DpopRules | undefined
  /** Milliseconds since the epoch. */
  readonly clock: () => number
}

/** Tokens under `Authorization: Bearer` or `DPoP`, whoever judges them: a bound one counts only with what it is bound to, on every request. */
export function tokenAuthenticator ({ isMine, remembered, verify, denyList, dpop, clock }: TokenAuthenticatorOptions): Authenticator {
  return {
    dpopAlgorithms: dpop?.algorithms,
    isMine,
    recall (presented, facts) {
      // A proof of possession of a key is new with every request.
      if (presented.scheme !== 'bearer' || !isMine(presented)) return null
      const known = remembered(presented.value, facts)
      if (known === undefined || known.binding?.key !== undefined || !hasCertificate(known.binding, facts)) return null
      return (denyList?.denies(known) ?? false) === false ? known.principal : null
    },
    async authenticate (presented, facts) {
      if (!isMine(presented)) return null
      const known = remembered(presented.value, facts) ?? await verify(presented.value, facts)
      refuseDenied(denyList, known)
      await checkPossession(known.binding, presented, facts, dpop, clock())
      return known.principal
    },
    answerHeaders ({ scheme }, facts): Readonly<Record<string, string>> {
      const nonce = scheme === 'dpop' && dpop !== undefined ? nextNonce(facts, dpop, clock()) : null
      return nonce === null ? {} : { 'dpop-nonce': nonce }
    }
  }
}
