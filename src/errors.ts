import createError, { type FastifyError } from '@fastify/error'

const table = {
  // The programmer's: the server does not boot, or the command stops.
  FMG_ERR_OPTION_INVALID: ['option invalid: %s', 500],
  FMG_ERR_ORDER: ['plugin order: %s', 500],
  FMG_ERR_ROUTE_UNGUARDED: ['route without config.access: %s', 500],
  FMG_ERR_LISTENER_INSECURE: ['listener neither loopback nor TLS: %s', 500],
  FMG_ERR_POLICY_INVALID: ['policy invalid: %s', 500],
  FMG_ERR_FILE: ['%s', 500],

  // The caller's.
  FMG_ERR_CREDENTIAL_MISSING: ['a credential is required', 401],
  FMG_ERR_CREDENTIAL_INVALID: ['the credential is not valid', 401],
  FMG_ERR_REQUEST_INVALID: ['the request is not valid: %s', 400],
  FMG_ERR_INPUT_INVALID: ['the input is not valid: %s', 400],
  FMG_ERR_ACCESS_DENIED: ['access denied', 403],
  FMG_ERR_UPLOAD_INVALID: ['the upload is not valid: %s', 403],
  FMG_ERR_ATTESTATION_INVALID: ['the attestation is not valid: %s', 403],
  FMG_ERR_MODEL_UNKNOWN: ['no such model', 404],
  FMG_ERR_MODEL_CONFLICT: ['the versions of the model do not allow it: %s', 409],
  FMG_ERR_RECORD_UNKNOWN: ['no such record', 404],
  FMG_ERR_QUOTA_EXCEEDED: ['quota exceeded', 429],
  FMG_ERR_PRINCIPAL_BLOCKED: ['blocked after repeated violations', 429],

  // A dependency's.
  FMG_ERR_ISSUER_UNAVAILABLE: ['the issuer cannot be reached', 503],
  FMG_ERR_LIMITER_UNAVAILABLE: ['the limiter cannot be reached', 503],
  FMG_ERR_REPLAY_UNAVAILABLE: ['the replay store cannot be reached', 503],
  FMG_ERR_AUDIT_UNAVAILABLE: ['the audit log cannot be written', 503],
  FMG_ERR_PROOF_PENDING: ['the record is not under a checkpoint yet', 503],
  FMG_ERR_WITNESS: ['witness: %s', 503],
  FMG_ERR_KEY_UNAVAILABLE: ['a key cannot be reached', 503],
  FMG_ERR_DENY_LIST_UNAVAILABLE: ['the deny-list cannot be reached', 503],
  FMG_ERR_MODEL_BUSY: ['the model is busy', 503],
  FMG_ERR_MODEL_UNAVAILABLE: ['the model cannot be reached', 503],
  FMG_ERR_OVERLOADED: ['the server is overloaded', 503],
  FMG_ERR_MODEL_FAILED: ['the model failed', 500],
  FMG_ERR_POLICY_UNAVAILABLE: ['the policy cannot be evaluated', 503],

  // A model that is not loaded: the old one stays.
  FMG_ERR_BUNDLE_INVALID: ['bundle invalid: %s', 500],
  FMG_ERR_SIGNATURE_INVALID: ['signature invalid: %s', 500],
  FMG_ERR_SIGNER_UNTRUSTED: ['signer not trusted: %s', 500],
  FMG_ERR_MODEL_TAMPERED: ['model tampered with: %s', 500],
  FMG_ERR_MODEL_REFUSED: ['model refused: %s', 500],
  FMG_ERR_MODEL_ROLLBACK: ['model older than the floor: %s', 500],

  // A log that does not open, or does not verify.
  FMG_ERR_RECEIPT_INVALID: ['receipt invalid: %s', 500],
  FMG_ERR_LOG_INCONSISTENT: ['log inconsistent: %s', 500]
} as const satisfies Record<string, readonly [message: string, status: number]>

/** Every code this package throws, each with one message and one status. */
export type GuardErrorCode = keyof typeof table

/**
 * What every refusal and failure of this package is.
 * `message` and `headers` are for the caller and hold no secret; `reason` and `cause` are for the log and the audit record.
 */
export interface GuardError extends FastifyError {
  readonly code: GuardErrorCode
  readonly statusCode: number
  /** One kebab-case word for the audit record: which check refused. */
  reason?: string
  /** Response headers that ride on the error. */
  headers?: Readonly<Record<string, string>>
}

export interface GuardErrorDetails {
  /** Completes the messages that name a place (`option invalid: limits.max …`). Ignored by the fixed ones. */
  readonly detail?: string
  readonly reason?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly cause?: unknown
}

/** Told by every 503 that does not know better. */
const retryAfterSeconds = '5'

const constructors = new Map(Object.entries(table).map(([code, [message, status]]) =>
  [code, createError<[detail?: string]>(code, message, status)]))

/** Makes the error of this code. */
export function guardError (code: GuardErrorCode, details: GuardErrorDetails = {}): GuardError {
  const Constructor = constructors.get(code)
  if (Constructor === undefined) throw new TypeError(`no such error code: ${code}`)
  const error = (table[code][0].includes('%s') ? new Constructor(details.detail) : new Constructor()) as GuardError
  if (details.reason !== undefined) error.reason = details.reason
  // RFC 9110 section 15.6.4: who is turned away for a while is told for how long.
  if (error.statusCode === 503) error.headers = { 'retry-after': retryAfterSeconds, ...details.headers }
  else if (details.headers !== undefined) error.headers = details.headers
  if (details.cause !== undefined) error.cause = details.cause
  return error
}

/** Whether this value is one of this package's errors; with a code, whether it is that one. */
export function isGuardError (value: unknown, code?: GuardErrorCode): value is GuardError {
  if (!(value instanceof Error) || !('code' in value) || typeof value.code !== 'string') return false
  return code === undefined ? Object.hasOwn(table, value.code) : value.code === code
}
