import { hash } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord } from '../audit/record.ts'
import type { KeyRecord, KeyRecordChange, KeyStore } from '../authn/key-store.ts'
import { canonicalJson } from '../encoding.ts'

export interface KeyChangesOptions {
  readonly log: AuditLog
  readonly identities: Identities
  readonly store: KeyStore
  readonly logger: Pick<FastifyBaseLogger, 'error'>
}

/**
 * Leaves a record of all keys as they are now, and of every change of one that this process makes or hears of, whichever made it:
 * of whose key it is, who asked and who approved, by pseudonyms, and the digests of the record before and after.
 * They tell nothing of what they are digests of: each record holds a digest that nobody could guess.
 * @throws what `store.list` throws.
 */
export async function recordKeyChanges ({ log, identities, store, logger }: KeyChangesOptions): Promise<void> {
  // The change is made, and nobody waits: its record is kept until the disk takes it.
  const append = (record: AuditRecord): void => {
    log.append(record, (error) => { if (error !== null) logger.error({ err: error, action: record.action }, 'a change of a key is not recorded') }, 'async')
  }
  const pseudonymOf = (id: string | undefined): string | undefined => id === undefined ? undefined : identities.principal(id).pseudonym

  store.whenChanged?.((change) => {
    const { before, after: { keyId, principal: { id, org, roles }, approval } } = change
    append({
      timestamp: new Date().toISOString(),
      action: `key:${kindOf(change)}`,
      status: 'success',
      user_id: pseudonymOf(id),
      org,
      credential_method: 'api-key',
      credential_id: identities.credential(id, keyId),
      detail: {
        before: before === null ? undefined : digestOf(before),
        after: digestOf(change.after),
        roles,
        requested_by: pseudonymOf(approval?.requestedBy),
        approved_by: pseudonymOf(approval?.approvedBy)
      }
    })
  })
  const keys = (await store.list()).toSorted((a, b) => a.keyId < b.keyId ? -1 : 1)
  append({ timestamp: new Date().toISOString(), action: 'key:load', status: 'success', count: keys.length, detail: { after: digestOf(keys) } })
}

function kindOf ({ before, after }: KeyRecordChange): 'create' | 'revoke' | 'rotate' | 'update' {
  if (before === null) return 'create'
  if (after.revokedAt !== before.revokedAt) return 'revoke'
  return after.digest === before.digest ? 'update' : 'rotate'
}

function digestOf (records: KeyRecord | readonly KeyRecord[]): string {
  return `sha256:${hash('sha256', canonicalJson(records))}`
}
