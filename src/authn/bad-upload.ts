import { guardError, type GuardError } from '../errors.ts'

/**
 * The refusal of an upload.
 * @param reason one kebab-case word.
 * @param detail what is wrong with it, for who signed it: nothing of what was sent. Default: the reason.
 */
export function badUpload (reason: string, detail = reason.replaceAll('-', ' ')): GuardError {
  return guardError('FMG_ERR_UPLOAD_INVALID', { reason, detail })
}
