import { guardError, type GuardError } from '../errors.ts'

/**
 * The refusal of a secret that is not to be had, or not safely. The reason why is for the log.
 * @param reason one kebab-case word: which kind of source.
 */
export function secretUnavailable (reason: string, why: string, cause?: unknown): GuardError {
  return guardError('FMG_ERR_KEY_UNAVAILABLE', { reason, cause: new Error(why, { cause }) })
}
