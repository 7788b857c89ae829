import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord } from '../audit/record.ts'
import type { BlockChange, Blocks } from '../limits/blocks.ts'
import type { LimitException, Quotas } from '../limits/exception.ts'
import type { Exceptions } from '../limits/exceptions.ts'
import { raisableWindows } from '../limits/raised-plan.ts'
import type { TierOptions } from '../limits/tiers.ts'
import { appendChange } from './audit-change.ts'

export interface LimitChangesOptions {
  readonly log: AuditLog
  readonly identities: Identities
  readonly blocks?: Blocks
  readonly exceptions?: Exceptions
  /** Under which the exceptions count: of one about a window that none of these has, its record says so. */
  readonly tiers?: TierOptions
}

/**
 * Leaves a record of every block, lift and exception that this node makes or hears of, by whichever node or command it was made, and of each exception
 * that is in force now. Who makes one here is answered when its record is as durable as the log makes records.
 *
 * Principals, and who asked and who approved, are pseudonyms in it. The reason that was given is its keyed digest: it may name people,
 * and stands in the exception itself.
 * @throws FMG_ERR_AUDIT_UNAVAILABLE, and what `exceptions.list` throws.
 */
export async function recordLimitChanges ({ log, identities, blocks, exceptions, tiers }: LimitChangesOptions): Promise<void> {
  const raisable = tiers === undefined ? undefined : raisableWindows(tiers)
  const pseudonymOf = (id: string | undefined): string | undefined => id === undefined ? undefined : identities.principal(id).pseudonym

  blocks?.whenChanged(async (change) => { await appendChange(log, blockRecord(change)) })
  exceptions?.whenChanged(async ({ kind, exception }) => { await appendChange(log, kind === 'raise' ? raiseRecord(exception, 'operator') : endRecord(exception)) })
  const inForce = await exceptions?.list() ?? []
  await Promise.all(inForce.map(async (exception) => { await appendChange(log, raiseRecord(exception, 'in-force-at-start')) }))

  function recordOf (action: string, reason: string, principal: string, detail: AuditRecord['detail']): AuditRecord {
    return { timestamp: new Date().toISOString(), action, status: 'success', reason, user_id: pseudonymOf(principal), detail }
  }

  function blockRecord ({ kind, block: { principal, seconds, until, level, requestedBy, approvedBy } }: BlockChange): AuditRecord {
    const detail = { seconds, until: rfc3339(until), level, requested_by: pseudonymOf(requestedBy), approved_by: pseudonymOf(approvedBy) }
    return kind === 'block' ? recordOf('limit:block', 'repeated-violations', principal, detail) : recordOf('limit:unblock', 'operator', principal, detail)
  }

  function raiseRecord ({ principal, quotas, models, until, requestedBy, approvedBy, reason }: LimitException, why: string): AuditRecord {
    return recordOf('limit:raise', why, principal, {
      quotas,
      models,
      until: until === undefined ? undefined : rfc3339(until),
      requested_by: pseudonymOf(requestedBy),
      approved_by: pseudonymOf(approvedBy),
      reason_hash: identities.principal(principal).digests.digest('reason', reason),
      without_effect: withoutEffect(quotas, models)
    })
  }

  function endRecord ({ principal, requestedBy, approvedBy }: LimitException): AuditRecord {
    return recordOf('limit:end', 'operator', principal, { requested_by: pseudonymOf(requestedBy), approved_by: pseudonymOf(approvedBy) })
  }

  /** Names of windows that no tier has: a command that does not know the tiers cannot refuse them. */
  function withoutEffect (quotas: Quotas, models: LimitException['models']): readonly string[] | undefined {
    if (raisable === undefined) return undefined
    const unknown = [[undefined, quotas] as const, ...Object.entries(models)].flatMap(([model, ofModel]) => {
      const known = raisable(model)
      return Object.keys(ofModel).filter((name) => !known.has(name))
    })
    return unknown.length === 0 ? undefined : unknown
  }
}

function rfc3339 (time: number): string {
  return new Date(time).toISOString()
}
