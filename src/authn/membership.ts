import { guardError } from '../errors.ts'
import { listOf, optional, string } from '../options.ts'
import type { Principal } from '../principal.ts'

/** What members of something get. */
export interface MemberGrant {
  readonly roles: readonly string[]
  /** `org` of their principals. Default: none. */
  readonly principalOrg?: string
  /** `team` of their principals. Default: none. */
  readonly principalTeam?: string
  /** Default: that of the provider. */
  readonly tier?: string
}

/** Readers of the members of {@link MemberGrant}. */
export const grantShape = {
  roles: listOf(string()),
  principalOrg: optional(string()),
  principalTeam: optional(string()),
  tier: optional(string())
}

/** Someone whom a provider knows. */
export interface KnownPerson {
  readonly issuer: string
  /** Never given to anyone else by the provider, unlike a name. */
  readonly subject: string
  /** As people know them; for pages and policies, not for identity. */
  readonly name: string | undefined
}

/** A principal who has not got a credential yet. */
export type SessionPrincipal = Omit<Principal, 'credential'>

/**
 * The principal of a person by the grants that apply, in the order of the configuration: the first decides org, team and tier. Roles of
 * another org's grants are left out, for here they would reach what that org never gave.
 * @throws FMG_ERR_ACCESS_DENIED when none applies: being known to a provider is no permission.
 */
export function memberPrincipal ({ issuer, subject, name }: KnownPerson, grants: readonly MemberGrant[], tier: string): SessionPrincipal {
  const [first] = grants
  if (first === undefined) throw guardError('FMG_ERR_ACCESS_DENIED', { reason: 'login-not-a-member' })
  const roles = grants.filter(({ principalOrg }) => principalOrg === first.principalOrg).flatMap((grant) => grant.roles)
  return {
    id: `${issuer}|${subject}`,
    type: 'user',
    ...first.principalOrg !== undefined && { org: first.principalOrg },
    ...first.principalTeam !== undefined && { team: first.principalTeam },
    tier: first.tier ?? tier,
    roles: [...new Set(roles)],
    scopes: [],
    attributes: name === undefined ? {} : { name }
  }
}
