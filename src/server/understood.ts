import { guardError, isGuardError } from '../errors.ts'

/** What the caller wrote wrongly is the caller's mistake, not the server's. */
export async function understood<T> (work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!isGuardError(error, 'FMG_ERR_OPTION_INVALID')) throw error
    throw guardError('FMG_ERR_REQUEST_INVALID', { detail: error.message.replace('option invalid: ', ''), reason: 'request-invalid', cause: error })
  }
}
