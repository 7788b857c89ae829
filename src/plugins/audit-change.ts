import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord } from '../audit/record.ts'
import { guardError } from '../errors.ts'
import type { CredentialChange } from './audit-entry.ts'

/**
 * Writes a record of a change; resolves when it is durable, whatever the log's `durability` is.
 * @throws FMG_ERR_AUDIT_UNAVAILABLE
 */
export async function appendChange (log: AuditLog, record: AuditRecord): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    log.append(record, (error) => {
      if (error === null) resolve()
      else reject(guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: 'audit-unavailable', cause: error, headers: { 'retry-after': '5' } }))
    }, 'before-response')
  })
}

/** Writes changes of credentials into the log, by the same pseudonyms as the requests that are made with them. */
export function changeWriter (log: AuditLog, identities: Identities): (change: CredentialChange) => Promise<void> {
  return async function noteChange ({ action, reason, requestId, principalId, org, credential: { method, id } }) {
    await appendChange(log, {
      timestamp: new Date().toISOString(),
      action,
      status: 'success',
      reason,
      user_id: identities.principal(principalId).pseudonym,
      org,
      credential_method: method,
      credential_id: identities.credential(principalId, id),
      request_id: requestId
    })
  }
}
