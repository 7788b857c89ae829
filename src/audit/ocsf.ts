import type { LoggedRecord } from './read-records.ts'

/** Version of the Open Cybersecurity Schema Framework that {@link toOcsf} speaks. */
export const ocsfVersion = '1.6.0'

const classUid = 6003
const statusIds = { success: 1, failure: 2 }
const severityIds = { informational: 1, low: 2 }
const targetRoleId = 1

/** Activities of the class by the last word of an action; all others keep their own name. */
const activities: Readonly<Record<string, number>> = { create: 1, read: 2, list: 2, write: 3, update: 3, train: 3, raise: 3, rotate: 3, reload: 3, delete: 4, revoke: 4, end: 4 }
const otherActivity = 99

/**
 * A record as an event of class API Activity (6003) of OCSF {@link ocsfVersion}. What the class has no member for is in `unmapped`, under
 * the log's own names. Principals and credentials are pseudonyms, and there is no address, which the class wants: the source's name says so.
 * @param log origin of the log.
 */
export function toOcsf (record: LoggedRecord, log: string): object {
  const {
    timestamp, action, status, reason, user_id: user, org, model_id: model, model_version: version, request_id: request, http_status: code, seq, duration_ms: duration,
    count, policy, rule, decision, credential_id: credential, resource_type: type = 'model', resource_id: id = model, ...unmapped
  } = record
  const activity = activities[action.slice(action.lastIndexOf(':') + 1)] ?? otherActivity
  const isSuccess = status === 'success'
  return {
    activity_id: activity,
    activity_name: action,
    actor: {
      user: user === undefined ? { name: 'nobody' } : { uid: user, credential_uid: credential, ...org !== undefined && { org: { name: org } } },
      ...decision !== undefined && { authorizations: [{ decision, policy: { uid: policy, name: rule } }] }
    },
    api: { operation: action, ...request !== undefined && { request: { uid: request } }, ...code !== undefined && { response: { code } } },
    category_uid: Math.floor(classUid / 1000),
    class_uid: classUid,
    count,
    duration: duration === undefined ? undefined : Math.round(duration),
    http_response: code === undefined ? undefined : { code },
    metadata: { version: ocsfVersion, product: { name: 'fastify-model-guard' }, log_name: log, sequence: seq, uid: `${log}/${seq}`, original_time: timestamp },
    resources: id === undefined ? undefined : [{ type, name: id, role_id: targetRoleId, ...type === 'model' && { version } }],
    severity_id: isSuccess ? severityIds.informational : severityIds.low,
    src_endpoint: { name: 'not recorded' },
    status: isSuccess ? 'Success' : 'Failure',
    status_code: status,
    status_detail: reason,
    status_id: isSuccess ? statusIds.success : statusIds.failure,
    time: Date.parse(timestamp),
    type_uid: classUid * 100 + activity,
    unmapped
  }
}
