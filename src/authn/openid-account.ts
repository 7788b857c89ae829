import type { Fetch, FetchLimits } from '../bounded-fetch.ts'
import { listOf, object, string, withDefault, type Read } from '../options.ts'
import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { badCredential } from './bad-credential.ts'
import { fetchJson } from './fetch-json.ts'
import { claimAt, readClaimPath, type ClaimPath } from './jwt-principal.ts'
import { grantShape, memberPrincipal, type MemberGrant, type SessionPrincipal } from './membership.ts'

/** What people get of whom a claim says something. */
export interface OpenidMembers extends MemberGrant {
  /** Its name, or the names on the way to it. Default `groups`. */
  readonly claim?: ClaimPath
  /** What it must be, or have among its members. */
  readonly is: string
}

/** Option `members` of an OpenID provider. */
export const readOpenidMembers = listOf(object({ claim: withDefault(readClaimPath, ['groups']), is: string(), ...grantShape }))

export interface OpenidAccountRules {
  readonly issuer: string
  readonly members: Read<typeof readOpenidMembers>
  readonly tier: string
}

/**
 * The claims of the userinfo endpoint (OpenID Connect Core 1.0 section 5.3).
 * @throws FMG_ERR_CREDENTIAL_INVALID when the provider does not take the access token (any more).
 * @throws FMG_ERR_ISSUER_UNAVAILABLE
 */
export async function userinfoClaims (url: string, accessToken: string, { fetch, ...limits }: FetchLimits & { readonly fetch: Fetch }): Promise<JsonObject> {
  const claims = await fetchJson(fetch, url, limits, { headers: { authorization: `Bearer ${accessToken}` }, refusals: [401, 403] })
  if (!isJsonObject(claims)) throw badCredential('userinfo-malformed')
  return claims
}

/**
 * The principal whom a validated ID token and the userinfo endpoint speak of; its id is `<issuer>|<sub>`, as that of this issuer's access tokens.
 * @param inToken none when a session is renewed without one.
 * @throws FMG_ERR_CREDENTIAL_INVALID when the two speak of different people.
 * @throws FMG_ERR_ACCESS_DENIED
 */
export function openidPrincipal (inToken: JsonObject, asked: JsonObject, { issuer, members, tier }: OpenidAccountRules): SessionPrincipal {
  const claims = { ...inToken, ...asked }
  // Core section 5.3.2: an answer about another subject would lend this one its groups.
  if (typeof claims.sub !== 'string' || claims.sub === '' || (inToken.sub ?? claims.sub) !== claims.sub) throw badCredential('userinfo-subject')
  const name = [claims.name, claims.preferred_username].find((value) => typeof value === 'string')
  const grants = members.filter(({ claim, is }) => hasWord(claimAt(claims, claim), is))
  return memberPrincipal({ issuer, subject: claims.sub, name }, grants, tier)
}

function hasWord (value: unknown, word: string): boolean {
  return value === word || (Array.isArray(value) && value.includes(word))
}
