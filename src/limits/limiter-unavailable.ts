import { guardError, isGuardError, type GuardError } from '../errors.ts'

/** The refusal of a request that nobody could count. */
export function limiterUnavailable (cause: unknown): GuardError {
  const reason = isGuardError(cause, 'FMG_ERR_LIMITER_UNAVAILABLE') ? cause.reason : undefined
  return guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: reason ?? 'limiter-unavailable', cause, headers: { 'retry-after': '1' } })
}
