import type { AuditRecord } from '../audit/record.ts'
import type { Alert } from '../audit/watch/alert.ts'
import type { Reaction } from '../audit/watch/reactions.ts'

/** The record of an alert: pseudonyms and seqs, nothing else. */
export function alertRecord ({ id, rule, subject, kind, model, measured, threshold, evidence, silenced }: Alert, mode: 'enforce' | 'shadow', now: number): AuditRecord {
  return {
    ...changeRecord('anomaly:alert', rule, now),
    user_id: kind === 'principal' ? subject : undefined,
    model_id: model,
    detail: { id, measured, threshold, evidence, silenced, mode, address: kind === 'address' ? subject : undefined }
  }
}

/** The record of what is done about somebody. */
export function actRecord ({ subject, action, rule, alert, mode, until }: Reaction, now: number): AuditRecord {
  return { ...changeRecord('anomaly:act', rule, now), user_id: subject, detail: { action, alert, mode, until: new Date(until).toISOString() } }
}

/** The record of what an operator ended. @param by pseudonym of who did. */
export function liftRecord ({ subject, action, rule, alert, mode }: Reaction, by: string | undefined, now: number): AuditRecord {
  return { ...changeRecord('anomaly:lift', rule, now), user_id: subject, detail: { action, alert, mode, by } }
}

function changeRecord (action: string, reason: string, now: number): AuditRecord {
  return { timestamp: new Date(now).toISOString(), action, status: 'success', reason }
}
