import { createHash } from 'node:crypto'
import { allOptional, listOf, object, optional, recordOf, string, withDefault, type Read, type Reader } from '../options.ts'
import { freezePrincipal, type Principal } from '../principal.ts'
import { isScope } from '../scope.ts'
import { isJsonObject } from '../strict-json.ts'
import { actorOf, type AccessClaims } from './access-claims.ts'
import { badCredential } from './bad-credential.ts'
import type { TokenBinding } from './token-binding.ts'

/** Where in a token a claim is: its name, or the names on the way to it. */
export type ClaimPath = string | readonly string[]

/** Which claims say what of the principal. */
export interface ClaimNames {
  /** Default: none is read. */
  readonly org?: ClaimPath
  /** Default: none is read. */
  readonly team?: ClaimPath
  /** Default: none is read, and `tier` of the issuer counts. */
  readonly tier?: ClaimPath
  /** A list of strings. Default `roles` (RFC 9068 section 2.2.3.1). */
  readonly roles?: ClaimPath
  /** Words between spaces, or a list of them. Default `scope`. */
  readonly scopes?: ClaimPath
  /** Further attributes of the principal, by their names in policies, as they come. Default: none. */
  readonly attributes?: Readonly<Record<string, ClaimPath>>
}

/** What an issuer may say of principals at all. Default of each: nothing. */
export interface Grants {
  /** A token of another organisation is refused. */
  readonly orgs?: readonly string[]
  /** Other roles are left out. */
  readonly roles?: readonly string[]
  /** With another tier, `tier` of the issuer counts. */
  readonly tiers?: readonly string[]
}

/** Reads a {@link ClaimPath} as the names on the way. */
export const readClaimPath: Reader<readonly string[]> = (value, path) => typeof value === 'string' ? [string()(value, path)] : listOf(string())(value, path)

export const readClaimNames = allOptional({
  org: optional(readClaimPath),
  team: optional(readClaimPath),
  tier: optional(readClaimPath),
  roles: withDefault(readClaimPath, ['roles']),
  scopes: withDefault(readClaimPath, ['scope']),
  attributes: withDefault(recordOf(readClaimPath), {})
})

const names = withDefault(listOf(string()), [])
export const readGrants = withDefault(object({ orgs: names, roles: names, tiers: names }), { orgs: [], roles: [], tiers: [] })

/** How an issuer's tokens become principals. */
export interface PrincipalRules {
  readonly issuer: string
  readonly tier: string
  readonly limitByScopes: boolean
  readonly claims: Read<typeof readClaimNames>
  readonly grants: Read<typeof readGrants>
}

/**
 * The principal of a verified token. Its id is `<issuer>|<sub>`, so that no issuer can name another's principals.
 * @throws FMG_ERR_CREDENTIAL_INVALID when a claim is not of its kind, or an organisation is not this issuer's to name.
 */
export function principalOf (token: string, claims: AccessClaims, binding: TokenBinding | null, rules: PrincipalRules): Principal {
  const { issuer, grants, claims: paths } = rules
  const read = (path: readonly string[] | undefined): unknown => path === undefined ? undefined : claimAt(claims.all, path)
  const named = { org: optionalText(read(paths.org)), team: optionalText(read(paths.team)), tier: optionalText(read(paths.tier)) ?? rules.tier }
  if (named.org !== undefined && !grants.orgs.includes(named.org)) throw badCredential('jwt-org-not-granted')
  const boundTo = binding?.certificate ?? binding?.key
  const scopes = words(read(paths.scopes), 'text')
  const more = { clientId: claims.clientId, actor: actorOf(claims.all), ...Object.fromEntries(Object.entries(paths.attributes).map(([name, path]) => [name, read(path)])) }
  return freezePrincipal({
    id: `${issuer}|${claims.subject}`,
    // RFC 9068 section 2.2: a client that acts for itself is its own subject.
    type: claims.subject === claims.clientId ? 'service' : 'user',
    ...defined({ org: named.org, team: named.team }),
    tier: grants.tiers.includes(named.tier) ? named.tier : rules.tier,
    roles: words(read(paths.roles), 'list').filter((role) => grants.roles.includes(role)),
    scopes,
    attributes: defined(more),
    // A token without an id is known by its digest, of which nobody can make a token.
    credential: { method: 'jwt', id: claims.tokenId ?? createHash('sha256').update(token).digest('base64url'), issuer, issuedAt: claims.issuedAt, expiresAt: claims.expiresAt, ...defined({ boundTo }), ...rules.limitByScopes && { limitedTo: scopes.filter(isScope) } }
  })
}

/** What is there; `undefined` when nothing is. */
export function claimAt (claims: unknown, path: readonly string[]): unknown {
  return path.reduce((value, name) => isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined, claims)
}

function optionalText (value: unknown): string | undefined {
  if (value !== undefined && (typeof value !== 'string' || value === '')) throw badCredential('jwt-claim-malformed')
  return value
}

/** A set of words; whole ones, so that `read` is never part of `read-all`. */
function words (value: unknown, kind: 'list' | 'text'): readonly string[] {
  const list: unknown = kind === 'text' && typeof value === 'string' ? value.split(' ').filter((word) => word !== '') : value ?? []
  if (!Array.isArray(list) || !list.every((word) => typeof word === 'string')) throw badCredential('jwt-claim-malformed')
  return [...new Set(list)]
}

/** Without the members that are not there. */
function defined<T> (members: Readonly<Record<string, T | undefined>>): Record<string, T> {
  return Object.fromEntries(Object.entries(members).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]))
}
