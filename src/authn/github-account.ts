import type { Fetch, FetchLimits } from '../bounded-fetch.ts'
import { guardError } from '../errors.ts'
import { anyThat, listOf, object, optional, type Read } from '../options.ts'
import { isJsonObject } from '../strict-json.ts'
import { fetchJson } from './fetch-json.ts'
import { grantShape, memberPrincipal, type MemberGrant, type SessionPrincipal } from './membership.ts'

/** Something of GitHub's, by its id, which stays, or by its name, which can be given up and taken by a stranger. */
export type GithubName = string | number

/** What members of an organization, or of one of its teams, get. */
export interface GithubMembers extends MemberGrant {
  readonly org: GithubName
  /** Slug or id. Default: every member of the organization. */
  readonly team?: GithubName
}

const readName = anyThat((value): value is GithubName => (typeof value === 'string' && value !== '') || (Number.isSafeInteger(value) && Number(value) > 0), 'a name or an id')
const readMember = object({ org: readName, team: optional(readName), ...grantShape })

/** Option `members` of GitHub. */
export const readGithubMembers = listOf(readMember)

export interface GithubAccountOptions extends FetchLimits {
  /** `https://github.com`, or that of an Enterprise host. */
  readonly issuer: string
  readonly apiUrl: string
  readonly members: Read<typeof readGithubMembers>
  readonly tier: string
  readonly fetch: Fetch
}

interface Organization {
  readonly id: number
  readonly login: string
}

interface Team {
  readonly id: number
  readonly slug: string
  readonly organization: Organization
}

const pageSize = 100
const maxPages = 20

/**
 * Who a token of GitHub's is of, and of which organizations and teams they are an active member now.
 * The id is the number that GitHub gives a user once: a login name can be changed, and taken by another.
 * @throws FMG_ERR_CREDENTIAL_INVALID when GitHub does not take the token (any more).
 * @throws FMG_ERR_ACCESS_DENIED when nothing is granted.
 * @throws FMG_ERR_ISSUER_UNAVAILABLE
 */
export async function githubPrincipal (token: string, options: GithubAccountOptions): Promise<SessionPrincipal> {
  const { issuer, members, tier } = options
  const user = await ask('/user', token, options)
  if (!isJsonObject(user) || !isId(user.id)) throw unexpected('user')
  const organizations = (await askAll('/user/memberships/orgs?state=active', token, options)).flatMap(readMembership)
  const wantsTeams = members.some(({ team }) => team !== undefined)
  const teams = wantsTeams ? (await askAll('/user/teams', token, options)).flatMap(readTeam) : []
  const grants = members.filter((member) => isMember(member, organizations, teams))
  return memberPrincipal({ issuer, subject: String(user.id), name: typeof user.login === 'string' ? user.login : undefined }, grants, tier)
}

function isMember ({ org, team }: GithubMembers, organizations: readonly Organization[], teams: readonly Team[]): boolean {
  const organization = organizations.find((one) => isNamed(org, one.id, one.login))
  if (organization === undefined || team === undefined) return organization !== undefined
  return teams.some((one) => one.organization.id === organization.id && isNamed(team, one.id, one.slug))
}

function isNamed (wanted: GithubName, id: number, name: string): boolean {
  // GitHub's names do not differ by case alone.
  return typeof wanted === 'number' ? wanted === id : wanted.toLowerCase() === name.toLowerCase()
}

/** Nobody, for one who was invited and has not answered yet. */
function readMembership (value: unknown): readonly Organization[] {
  if (!isJsonObject(value)) throw unexpected('membership')
  return value.state === 'active' ? [readOrganization(value.organization)] : []
}

function readTeam (value: unknown): readonly Team[] {
  if (!isJsonObject(value) || !isId(value.id) || typeof value.slug !== 'string') throw unexpected('team')
  return [{ id: value.id, slug: value.slug, organization: readOrganization(value.organization) }]
}

function readOrganization (value: unknown): Organization {
  if (!isJsonObject(value) || !isId(value.id) || typeof value.login !== 'string') throw unexpected('organization')
  return { id: value.id, login: value.login }
}

function isId (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
}

async function askAll (path: string, token: string, options: GithubAccountOptions): Promise<readonly unknown[]> {
  const found: unknown[] = []
  for (let page = 1; page <= maxPages; page++) {
    // Counted here, not followed by `Link`: an answer does not choose where the token is sent next.
    const list = await ask(`${path}${path.includes('?') ? '&' : '?'}per_page=${pageSize}&page=${page}`, token, options)
    if (!Array.isArray(list)) throw unexpected('list')
    found.push(...list as readonly unknown[])
    if (list.length < pageSize) return found
  }
  throw unexpected('too many pages')
}

async function ask (path: string, token: string, { fetch, apiUrl, timeoutMs, maxBytes }: GithubAccountOptions): Promise<unknown> {
  const headers = { accept: 'application/vnd.github+json', authorization: `Bearer ${token}`, 'user-agent': 'fastify-model-guard', 'x-github-api-version': '2022-11-28' }
  return await fetchJson(fetch, `${apiUrl}${path}`, { timeoutMs, maxBytes }, { headers, refusals: [401] })
}

function unexpected (what: string): Error {
  return guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'github-answer', cause: new Error(what) })
}
