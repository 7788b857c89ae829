import type { FastifyRequest } from 'fastify'
import type { Identities } from '../audit/identities.ts'
import type { AuditRecord, RecordStatus } from '../audit/record.ts'
import { isGuardError } from '../errors.ts'
import type { Principal } from '../principal.ts'
import type { AuditEntry, Outcome } from './audit-entry.ts'
import { observedRefusal } from './refusal.ts'

/** What turns a principal into what may stand in a record. */
export interface Pseudonyms {
  readonly identities: Identities
  /** Digest of the principal's attributes record. */
  readonly facts: (principal: Principal) => string
}

/** The record of a request, as far as it is known now. */
export function recordOf (entry: AuditEntry, request: FastifyRequest, { status, httpStatus }: Outcome, pseudonyms: Pseudonyms): AuditRecord {
  const { decision, model } = request
  const observed = observedRefusal(request)
  return {
    timestamp: new Date().toISOString(),
    action: actionOf(request),
    status,
    reason: entry.reason ?? (observed === undefined ? undefined : `observed-${reasonOf(observed)}`),
    ...principalOf(request, pseudonyms),
    model_id: model?.id,
    model_version: model?.version,
    model_digest: model?.digest,
    input_hash: entry.inputHash?.(),
    output_hash: entry.outputHash?.(),
    duration_ms: Math.round((performance.now() - entry.startedAt) * 1000) / 1000,
    request_id: request.id,
    policy: decision?.policy,
    rule: decision?.rule ?? undefined,
    http_status: httpStatus,
    amends: entry.seq,
    ...entry.fields
  }
}

function principalOf ({ principal }: FastifyRequest, { identities, facts }: Pseudonyms): Partial<AuditRecord> {
  // Without the authenticate plugin there is no such member at all.
  if (!principal) return {}
  return {
    user_id: identities.principal(principal.id).pseudonym,
    org: principal.org,
    credential_method: principal.credential.method,
    credential_id: identities.credential(principal.id, principal.credential.id),
    facts: facts(principal)
  }
}

/** What a request asked for: the policy's action, or method and route. Never the URL as sent, which may hold anything. */
function actionOf (request: FastifyRequest): string {
  if (request.is404) return 'unknown-path'
  const { config, method, url } = request.routeOptions
  return typeof config.access === 'object' ? config.access.action : `${String(method).toLowerCase()} ${String(url)}`
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
