import { guardError, type GuardError } from '../errors.ts'

/** The one refusal of every credential. @param reason one kebab-case word, for the log alone: the caller is told the same whatever it was. */
export function badCredential (reason: string, cause?: unknown): GuardError {
  return guardError('FMG_ERR_CREDENTIAL_INVALID', { reason, cause })
}
