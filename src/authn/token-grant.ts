import type { Principal } from '../principal.ts'
import { isNarrower } from '../scope.ts'
import type { TokenTerms } from './issued-token.ts'
import type { TokenSource } from './source.ts'
import type { TokenBinding } from './token-binding.ts'
import type { TokenIssuer } from './token-issuer.ts'
import { refused, type WantedToken } from './token-request.ts'

/** What a caller has proven to have, besides the credential: the key of a DPoP proof, the certificate of the connection. */
export interface Proven {
  readonly key: string | undefined
  readonly certificate: string | undefined
}

// Exchanged and exchanged again a token would only grow; none lives longer for it.
const maxVia = 4

/**
 * The terms of a token that is made from a credential: never wider than that, in nothing.
 * @throws FMG_ERR_REQUEST_INVALID with reason `invalid-scope`, `invalid-target` or `invalid-request`.
 */
export function grantToken (principal: Principal, from: TokenSource, wanted: WantedToken, proven: Proven, issuer: Pick<TokenIssuer, 'audiences' | 'otherAudiences'>): TokenTerms {
  const { credential, ...holder } = principal
  if (from.via.length > maxVia) throw refused('invalid-request', 'this token was exchanged too often')
  return {
    principal: holder,
    source: from.source,
    via: from.via,
    audiences: grantAudiences(from.audiences, wanted.audiences, issuer),
    ...limit(narrowScopes(credential.limitedTo, wanted.scopes)),
    binding: bind(from.binding, proven),
    until: credential.expiresAt
  }
}

/** The same, within what was granted before. @throws FMG_ERR_REQUEST_INVALID with reason `invalid-scope` or `invalid-target`. */
export function grantAgain (terms: TokenTerms, wanted: WantedToken): TokenTerms {
  const { audiences, limitedTo } = terms
  if (!wanted.audiences.every((name) => audiences.includes(name))) throw beyondAudiences()
  return { ...terms, audiences: wanted.audiences.length > 0 ? wanted.audiences : audiences, ...limit(narrowScopes(limitedTo, wanted.scopes)) }
}

/** @param own what the credential names itself; one that was taken here is for this server, whatever it calls it. */
function grantAudiences (own: readonly string[] | undefined, wanted: readonly string[], { audiences, otherAudiences }: Pick<TokenIssuer, 'audiences' | 'otherAudiences'>): readonly string[] {
  const others = own === undefined ? otherAudiences : otherAudiences.filter((name) => own.includes(name))
  if (!wanted.every((name) => audiences.includes(name) || others.includes(name))) throw beyondAudiences()
  return wanted.length > 0 ? [...new Set(wanted)] : audiences.slice(0, 1)
}

function narrowScopes (limitedTo: readonly string[] | undefined, wanted: readonly string[] | undefined): readonly string[] | undefined {
  if (wanted === undefined || limitedTo === undefined) return wanted ?? limitedTo
  if (!wanted.every((scope) => isNarrower(scope, limitedTo))) throw refused('invalid-scope', 'the scope is wider than that of the credential')
  return wanted
}

function limit (limitedTo: readonly string[] | undefined): Pick<TokenTerms, 'limitedTo'> {
  return limitedTo === undefined ? {} : { limitedTo }
}

/** To all that the caller has: what is bound already was proven, or the credential would not have counted. */
function bind (before: TokenBinding | null, proven: Proven): TokenBinding | null {
  const key = proven.key ?? before?.key
  const certificate = proven.certificate ?? before?.certificate
  return key === undefined && certificate === undefined ? null : { key, certificate }
}

function beyondAudiences (): Error {
  return refused('invalid-target', 'no token of this credential is for that audience')
}
