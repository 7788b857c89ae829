import { anyThat, listOf, object, optional, string } from '../options.ts'
import { freezePrincipal, type Principal } from '../principal.ts'
import { readScopes } from '../scope.ts'
import type { JsonObject } from '../strict-json.ts'
import type { AccessClaims } from './access-claims.ts'
import { badCredential } from './bad-credential.ts'
import { principalMembers } from './principal-members.ts'
import type { SigningKey } from './signing-key.ts'
import { readSource, type Source } from './source.ts'
import { readBinding, type TokenBinding } from './token-binding.ts'

/** What is to be said in a token of this server. */
export interface TokenTerms {
  /** Whose it is: all but the credential goes into the token. */
  readonly principal: Omit<Principal, 'credential'>
  /** What it is made from, with which it ends. */
  readonly source: Source
  /** Tokens of this server that it was exchanged for on the way from its source. */
  readonly via: readonly string[]
  /** Servers that it is for. */
  readonly audiences: readonly string[]
  /** Scopes that it is good for; left out, it is not limited. */
  readonly limitedTo?: readonly string[]
  readonly binding: TokenBinding | null
  /** `sid`: the refresh family or session that it belongs to, with which it ends. */
  readonly session?: string
  /** Milliseconds since the epoch, when it ends at the latest. */
  readonly until?: number
}

/** A token of this server that was verified. */
export interface IssuedToken extends TokenTerms {
  /** Its credential is the source's, for policies and records speak of that: an exchange makes nobody another. */
  readonly principal: Principal
  readonly issuer: string
  readonly subject: string
  readonly tokenId: string
  readonly session: string | undefined
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
  readonly expiresAt: number
  readonly key: SigningKey
}

/** The claims of these terms; those of every token (`iss`, `jti`, `iat`, `exp`) are left to the issuer. */
export function claimsOf ({ principal, source, via, audiences, limitedTo, binding, session }: TokenTerms): JsonObject {
  const { id, type, org, team, tier, roles, scopes, attributes } = principal
  return {
    sub: id,
    aud: audiences,
    // RFC 9068 section 2.2 wants a client: the credential that was exchanged. Never the subject, or one could be read as the other (section 5).
    client_id: `${source.method}:${source.id}`.slice(0, 255),
    sid: session,
    scope: limitedTo?.join(' '),
    cnf: binding === null ? undefined : { 'x5t#S256': binding.certificate, jkt: binding.key },
    principal_type: type,
    org,
    team,
    tier,
    roles,
    scopes,
    attributes,
    source,
    via
  }
}

const anything = (value: unknown): unknown => value
// A claim of its own name, for `type` could be anything's.
const { type: principalType, ...members } = principalMembers
const readClaims = object({
  iss: anything,
  sub: anything,
  aud: listOf(string()),
  client_id: anything,
  jti: string(),
  iat: anything,
  exp: anything,
  sid: anything,
  scope: optional(anyThat((value): value is string => typeof value === 'string', 'words between spaces')),
  cnf: anything,
  ...members,
  principal_type: principalType,
  source: readSource,
  via: listOf(string())
})

/**
 * Reads the claims of a token whose signature and registered claims were checked.
 * @throws FMG_ERR_CREDENTIAL_INVALID for one that another version of this server may have issued, with claims that are not known here.
 */
export function readIssued (issuer: string, { subject, session, issuedAt, expiresAt, all }: AccessClaims, key: SigningKey): IssuedToken {
  const binding = readBinding(all)
  const { jti, aud, scope, principal_type: type, org, team, tier, roles, scopes, attributes, source, via } = readStrictly(all)
  const limitedTo = scope === undefined ? {} : { limitedTo: scopesOf(scope) }
  const boundTo = binding?.certificate ?? binding?.key
  const credential = { method: source.method, id: source.id, issuer: source.issuer, expiresAt, boundTo, ...limitedTo, token: jti }
  const principal = freezePrincipal({ id: subject, type, org, team, tier, roles, scopes, attributes, credential })
  return { principal, issuer, subject, source, via, audiences: aud, ...limitedTo, binding, session, tokenId: jti, issuedAt, expiresAt, key }
}

function readStrictly (claims: JsonObject): ReturnType<typeof readClaims> {
  try {
    return readClaims(claims, 'token')
  } catch (cause) {
    throw badCredential('jwt-claim-malformed', cause)
  }
}

/** An empty text names no scope: such a token is good for nothing that wants one. */
function scopesOf (text: string): readonly string[] {
  try {
    return text === '' ? [] : readScopes(text.split(' '), 'scope')
  } catch (cause) {
    throw badCredential('jwt-claim-malformed', cause)
  }
}
