import { hash } from 'node:crypto'
import { canonicalJson } from '../encoding.ts'
import type { Principal } from '../principal.ts'
import { isKnownDenied, type DenyList } from './deny-list.ts'
import type { JwtIssuer } from './jwt-issuer.ts'
import type { Source, TokenSource } from './source.ts'
import type { GoodToken } from './token-authenticator.ts'

/** A token of an issuer that was verified. */
export interface IssuersToken extends GoodToken {
  readonly expiresAt: number
  readonly audiences: readonly string[]
  readonly from: JwtIssuer
}

export interface IssuerSourcesOptions {
  readonly issuers: ReadonlyMap<string, JwtIssuer>
  readonly denyList: DenyList | undefined
  readonly clock: () => number
}

/** Issuers' tokens that tokens of this server were made from. */
export interface IssuerSources {
  readonly note: (token: IssuersToken) => void
  readonly sourceOf: (principal: Principal) => TokenSource | null
  readonly vouches: (source: Source) => boolean
}

/** What ties tokens to issuers' tokens: the deny-list, and what the issuer may say of anyone. */
export function issuerSources ({ issuers, denyList, clock }: IssuerSourcesOptions): IssuerSources {
  const noted = new WeakMap<Principal, TokenSource>()
  const states = new Map([...issuers].map(([name, issuer]) => [name, stateOf(issuer)]))

  return {
    note ({ principal, from, subject, session, issuedAt, expiresAt, audiences, binding }) {
      const { method, id } = principal.credential
      const source = { method, id, issuer: from.issuer, subject, session, issuedAt, expiresAt, state: states.get(from.issuer) }
      noted.set(principal, { source, binding, audiences, via: [] })
    },
    sourceOf: (principal) => noted.get(principal) ?? null,
    vouches ({ method, id: tokenId, issuer = '', subject = '', session, issuedAt = 0, expiresAt = 0, state }) {
      if (method !== 'jwt' || state === undefined || states.get(issuer) !== state || clock() >= expiresAt) return false
      return !isKnownDenied(denyList, { issuer, subject, tokenId, session, issuedAt })
    }
  }
}

/** Another one as soon as the issuer may say something else of people than when the token was taken. */
function stateOf ({ audiences, type, claims, grants, tier, limitByScopes }: JwtIssuer): string {
  return hash('sha256', canonicalJson({ audiences, type, claims, grants, tier, limitByScopes }), 'base64url')
}
