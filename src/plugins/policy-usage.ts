import type { LoggedRecord } from '../audit/read-records.ts'
import { grantUse, type RoleUsage } from './grant-use.ts'
import { judgeAgain } from './judge-again.ts'
import { principalUses } from './principal-use.ts'
import { readRequestsOptions, recordedRequests, wasAllowed, wasJudged, type RecordedRequestsOptions } from './recorded-requests.ts'
import { heldRoles, roleBreadth, type HeldRoles } from './unneeded-roles.ts'

/** A principal, and the roles that it did without. */
export interface PrincipalRoles extends HeldRoles {
  readonly principal: string
}

/** How often a rule that allows did so. */
export interface RuleUsage {
  readonly rule: string
  readonly decided: number
}

/** What of a policy was used over recorded requests. */
export interface UsageReport {
  /** Id of the policy. */
  readonly policy: string
  /** Times of the first and the last request. */
  readonly first?: string | undefined
  readonly last?: string | undefined
  /** Requests that a policy was asked about. What another one decided then is decided by this one again. */
  readonly requests: number
  readonly allowed: number
  /**
   * Requests of which the log does not keep what the policy wants to know. Those of them that were allowed then count as allowed, and as use of
   * whatever may have allowed them.
   */
  readonly unknown: number
  /** Principals that made any request. */
  readonly principals: number
  readonly roles: readonly RoleUsage[]
  /** Rules that allow. */
  readonly rules: readonly RuleUsage[]
  /** Principals with roles that they did without. */
  readonly unneeded: readonly PrincipalRoles[]
}

/**
 * Says what of a policy's permissions, roles and rules was used over recorded requests, and so what was not: the least-privilege report.
 * In memory that grows with the different questions, not with the log.
 * @throws FMG_ERR_OPTION_INVALID for wrong options.
 * @throws FMG_ERR_FILE when there is no log in the folder, or the identities cannot be read.
 * @throws FMG_ERR_LOG_INCONSISTENT for a line that is no record.
 */
export async function policyUsage (options: RecordedRequestsOptions): Promise<UsageReport> {
  const { policy, ...where } = readRequestsOptions(options, 'policyUsage')
  const { batches, questions, nameOf } = await recordedRequests({ policy, ...where })
  const answer = judgeAgain(policy, questions)
  const uses = principalUses(questions)
  const counts = { requests: 0, allowed: 0, unknown: 0 }
  const rules = new Map(policy.allowing.map((rule) => [`rule:${rule}`, 0]))
  let first: string | undefined
  let last: string | undefined

  function take (record: LoggedRecord): void {
    first ??= record.timestamp
    last = record.timestamp
    if (record.user_id === undefined) return
    uses.see(record)
    if (wasJudged(record)) weigh(record)
  }

  function weigh (record: LoggedRecord): void {
    const { outcome, rule, because } = answer(record)
    const isAllowed = outcome === 'allow' || (outcome === 'unknown' && wasAllowed(record))
    counts.requests++
    counts.allowed += isAllowed ? 1 : 0
    counts.unknown += outcome === 'unknown' ? 1 : 0
    uses.note(record, isAllowed)
    for (const name of isAllowed ? [rule ?? [], because.map((open) => open.rule)].flat() : []) {
      const decided = rules.get(name)
      if (decided !== undefined) rules.set(name, decided + 1)
    }
  }

  for await (const records of batches()) for (const record of records) take(record)
  const grants = grantUse(policy, questions)
  const breadth = roleBreadth(policy)
  const unneeded: PrincipalRoles[] = []
  for (const [user, use] of uses.all) {
    const roles = heldRoles(policy, breadth, questions, use)
    grants.add(user, use, roles.held)
    if (roles.unneeded.length > 0) unneeded.push({ principal: nameOf(user), ...roles })
  }
  return {
    policy: policy.id,
    first,
    last,
    ...counts,
    principals: uses.all.size,
    roles: grants.usage(),
    rules: [...rules].map(([rule, decided]) => ({ rule, decided })),
    unneeded
  }
}
