import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import { guardError } from '../errors.ts'
import type { CredentialChange } from './audit-entry.ts'

/** Writes changes of credentials into the log, by the same pseudonyms as the requests that are made with them. */
export function changeWriter (log: AuditLog, identities: Identities): (change: CredentialChange) => Promise<void> {
  return async function noteChange ({ action, reason, requestId, principalId, org, credential: { method, id } }) {
    await new Promise<void>((resolve, reject) => {
      log.append({
        timestamp: new Date().toISOString(),
        action,
        status: 'success',
        reason,
        user_id: identities.principal(principalId).pseudonym,
        org,
        credential_method: method,
        credential_id: identities.credential(principalId, id),
        request_id: requestId
      }, (error) => {
        if (error === null) resolve()
        else reject(guardError('FMG_ERR_AUDIT_UNAVAILABLE', { reason: 'audit-unavailable', cause: error, headers: { 'retry-after': '5' } }))
      })
    })
  }
}
