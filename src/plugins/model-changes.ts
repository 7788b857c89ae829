import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord } from '../audit/record.ts'
import type { VersionedModel } from '../model/version-floor.ts'
import { appendChange } from './audit-change.ts'
import { reasonOf } from './audit-record.ts'
import type { Canary } from './canary.ts'
import type { ModelChange, Models } from './loaded-models.ts'
import type { ModelHandle } from './model-handle.ts'
import type { ModelLoads } from './model-loads.ts'

export interface ModelChangesOptions {
  readonly log: AuditLog
  readonly identities: Identities
  readonly models: Models
  /** Keeps models from being promoted to an older version. A rollback goes back all the same. Default: nobody does. */
  readonly loads?: Pick<ModelLoads, 'check' | 'note'>
}

/**
 * Leaves a record of every version that is loaded, promoted, rolled back to, served as a canary or unloaded from now on, by whom and why, and of
 * every load that failed. A change whose record cannot be written is not made.
 *
 * Who asked and who approved, and the principals of a canary, are pseudonyms in it. The reason that was given is its keyed digest: it may name people.
 */
export function recordModelChanges ({ log, identities, models, loads }: ModelChangesOptions): void {
  models.whenChanged(async (change) => {
    const { kind, model, version } = change
    const serving = kind === 'promote' || kind === 'rollback' ? models.find(model, version) : null
    if (serving !== null && kind === 'promote') loads?.check(versionedOf(serving))
    await appendChange(log, recordOf(change, identities))
    if (serving !== null) loads?.note(versionedOf(serving), kind === 'rollback')
  })
}

function versionedOf ({ id, version, attributes: { trained_at: trainedAt } }: ModelHandle): VersionedModel {
  return { name: id, version, trained_at: typeof trainedAt === 'string' ? trainedAt : undefined }
}

function recordOf ({ kind, model, version, digest, from, canary, error, by }: ModelChange, identities: Identities): AuditRecord {
  return {
    timestamp: new Date().toISOString(),
    action: `model:${kind}`,
    status: error === undefined ? 'success' : 'error',
    reason: error === undefined ? 'operator' : reasonOf(error),
    model_id: model,
    model_version: version,
    model_digest: digest,
    detail: {
      from,
      canary: canary === undefined ? undefined : canary && canaryOf(canary, identities),
      ...by !== undefined && {
        requested_by: identities.principal(by.requestedBy).pseudonym,
        approved_by: identities.principal(by.approvedBy).pseudonym,
        reason_hash: by.reason === undefined ? undefined : identities.principal(by.approvedBy).digests.digest('reason', by.reason)
      }
    }
  }
}

function canaryOf ({ perMille, principals, roles }: Canary, identities: Identities): object {
  return { per_mille: perMille, principals: principals.map((id) => identities.principal(id).pseudonym), roles }
}
