import type { FastifyRequest } from 'fastify'
import type { Authenticator } from '../authn/authenticator.ts'
import type { CredentialProblem, PresentedCredential } from '../authn/presented-credential.ts'
import type { RequestFacts } from '../authn/request-facts.ts'
import type { Principal } from '../principal.ts'
import type { Challenge } from './challenge.ts'
import type { Verification } from './verification.ts'

/** Under which `authenticate` leaves what it does to routes of this package that are given credentials elsewhere than in headers. */
export const credentialCheck = Symbol('fastify-model-guard.credentialCheck')

/** All that `authenticate` does with a credential: whoever uses it is held to the same limits, and gives the same answer. */
export interface CredentialCheck {
  readonly authenticators: readonly Authenticator[]
  readonly challenged: Challenge
  /** Counts one attempt of this address. @throws FMG_ERR_QUOTA_EXCEEDED when there were too many. */
  readonly limitEdge: (request: FastifyRequest) => Promise<void>
  /** @param provenKey see {@link RequestFacts}. @throws FMG_ERR_REQUEST_INVALID for a certificate that cannot be believed. */
  readonly factsOf: (request: FastifyRequest, provenKey?: string | null) => RequestFacts
  readonly presentedIn: (request: FastifyRequest, facts: RequestFacts) => PresentedCredential | CredentialProblem
  /** As `Verification.verify`, for credentials that are known to be good already, too. */
  readonly verify: (request: FastifyRequest, presented: PresentedCredential | CredentialProblem, facts: RequestFacts) => Promise<Principal>
  readonly attempt: Verification['attempt']
}

declare module 'fastify' {
  interface FastifyInstance {
    [credentialCheck]: CredentialCheck
  }
}
