import type { FastifyRequest } from 'fastify'
import type { AuditRecord, RecordStatus } from '../audit/record.ts'
import type { Decision } from '../authz/policy.ts'
import { isGuardError } from '../errors.ts'
import type { AuditEntry, AuditFields, Outcome } from './audit-entry.ts'
import { judged, type Question } from './judgement.ts'
import { provenOf } from './proven.ts'
import { observedRefusal } from './refusal.ts'
import { computeMsOf } from './request-work.ts'
import { rulesOf } from './route-rules.ts'

/** What may stand in a record for a principal. */
export interface Pseudonyms {
  readonly user: string
  readonly credential: string
  /** Digest of the record of what was judged. */
  readonly facts: string
}

/** The record of a request, as far as it is known now. Its members are written out one by one: spreading costs ten times as much. */
export function recordOf (entry: AuditEntry, request: FastifyRequest, { status, httpStatus }: Outcome, pseudonyms: Pseudonyms | undefined): AuditRecord {
  const { decision, model, principal, [judged]: question } = request
  const { fields } = entry
  const modelId = fields.model_id ?? model?.id
  const resource = question?.resource
  const isSaid = resource?.type === 'model' && resource.id === modelId
  const observed = observedRefusal(request)
  return {
    timestamp: timestampOf(Date.now()),
    action: rulesOf(request).action,
    status,
    reason: entry.reason ?? (observed === undefined ? undefined : `observed-${reasonOf(observed)}`),
    user_id: pseudonyms?.user,
    // Without the authenticate plugin there is no such member at all.
    org: principal?.org,
    credential_method: principal?.credential.method,
    credential_id: pseudonyms?.credential,
    facts: pseudonyms?.facts,
    model_id: modelId,
    model_version: fields.model_version ?? model?.version,
    model_digest: fields.model_digest ?? model?.digest,
    input_hash: entry.inputHash?.(),
    output_hash: entry.outputHash?.(),
    sketch: entry.sketchText,
    commitment: entry.committed?.commitment,
    opening: entry.committed?.opening,
    duration_ms: toMicroseconds(performance.now() - entry.startedAt),
    compute_ms: toMicroseconds(computeMsOf(request)),
    request_id: request.id,
    policy: decision?.policy,
    rule: decision?.rule ?? undefined,
    decision: decision ? decisionOf(decision) : undefined,
    resource_type: isSaid ? undefined : resource?.type,
    resource_id: isSaid ? undefined : resource?.id,
    http_status: httpStatus,
    amends: entry.seq,
    detail: detailOf(fields.detail, request)
  }
}

function toMicroseconds (milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 1000) / 1000
}

/** What the server said of the request, what it proved of itself, what a candidate policy would have decided, and all that the policy was told where it asked for that. */
function detailOf (detail: AuditFields['detail'], request: FastifyRequest): AuditRecord['detail'] {
  const { decision, [judged]: question } = request
  const proven = provenOf(request)
  const shadow = decision?.shadow
  const isFull = decision?.obligations?.record === 'full-metadata'
  if (shadow === undefined && proven === undefined && !isFull) return detail
  return {
    ...detail,
    ...proven,
    ...shadow !== undefined && { shadow: { policy: shadow.policy, decision: shadow.allowed ? 'allow' : 'deny', rule: shadow.rule ?? undefined, obligations: shadow.obligations } },
    ...isFull && question && { metadata: metadataOf(question) }
  }
}

/** All that the policy was told, but for the address, which no record holds. */
function metadataOf ({ principal, resource, context }: Question): object {
  const { type, team, tier, roles, scopes, attributes, credential: { issuer, expiresAt } } = principal
  return {
    principal: { type, team, tier, roles, scopes, attributes, credential: { issuer, expires_at: expiresAt } },
    resource: { type: resource.type, id: resource.id, org: resource.org, attributes: resource.attributes },
    context: { ...context, ip: undefined }
  }
}

function decisionOf ({ allowed }: Decision): 'allow' | 'deny' {
  return allowed ? 'allow' : 'deny'
}

let lastTime = NaN
let lastTimestamp = ''

/** RFC 3339. Made once a millisecond, however many records that has. */
function timestampOf (time: number): string {
  if (time !== lastTime) lastTimestamp = new Date(time).toISOString()
  lastTime = time
  return lastTimestamp
}

/** How a request ended, by the HTTP status of its answer. */
export function statusOf (httpStatus: number): RecordStatus {
  if (httpStatus < 400) return 'success'
  if (httpStatus === 401) return 'unauthenticated'
  if (httpStatus === 403) return 'denied'
  return httpStatus === 429 ? 'limited' : 'error'
}

/** One word for why: this package's own reason, else the error's code. Never a message, which may quote the input. */
export function reasonOf (error: unknown): string {
  if (isGuardError(error) && error.reason !== undefined) return error.reason
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'handler-failed'
  return code.toLowerCase().replaceAll('_', '-')
}
