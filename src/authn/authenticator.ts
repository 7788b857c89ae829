import type { Principal } from '../principal.ts'
import type { PresentedCredential } from './presented-credential.ts'
import type { RequestFacts } from './request-facts.ts'
import type { Source, TokenSource } from './source.ts'

/**
 * Turns one kind of credential into a principal. Three outcomes, for each method:
 * a principal; `null`, "not my kind of credential"; or a throw, "mine, and bad".
 */
export interface Authenticator {
  /** Verifying costs no more than counting would: it is asked before the edge limit, so that a right secret passes whatever else comes from its address. */
  readonly verifiesCheaply?: boolean
  /** Algorithms of DPoP proofs that it takes (RFC 9449), named in challenges. */
  readonly dpopAlgorithms?: readonly string[]
  /** The name of the cookie that it takes as a credential, of scheme `cookie`. Without one, no cookie is looked at. */
  readonly cookieName?: string
  /** Whether a credential is of my kind, as far as its form tells: `false` where `authenticate` would only say `null`. */
  isMine? (presented: PresentedCredential): boolean
  /** The public part of a credential of my kind, by which failures may be counted. */
  publicId? (presented: PresentedCredential): string | undefined
  /** Answers at once for a credential it has verified before and still trusts, `null` otherwise; never throws. */
  recall? (presented: PresentedCredential, facts: RequestFacts): Principal | null
  /**
   * Verifies.
   * @throws FMG_ERR_CREDENTIAL_INVALID with the inner reason, for the log alone.
   * @throws FMG_ERR_ISSUER_UNAVAILABLE when what is needed to judge cannot be reached.
   */
  authenticate (presented: PresentedCredential, facts: RequestFacts): Principal | null | Promise<Principal | null>
  /** Headers for the answer to a request that `authenticate` has just let in. */
  answerHeaders? (presented: PresentedCredential, facts: RequestFacts): Readonly<Record<string, string>>
  /** What tokens that are made from a credential of mine hang on; `null` for a principal of another's making. Left out, no tokens are made from mine. */
  sourceOf? (principal: Principal): TokenSource | null
  /**
   * Whether what a token was made from is mine and still counts, for this request: as if it were presented itself. Answers at once.
   * @throws what `authenticate` does when that cannot be known now.
   */
  vouches? (source: Source, facts: RequestFacts): boolean
}
