import { guardError } from '../errors.ts'
import { readNamedFile } from '../files.ts'
import type { SecretSource } from './secret-source.ts'

/**
 * A secret in a file that others may read as well: a token that Kubernetes puts into a pod, for its group. Read each time.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from `read`) with reason `secret-file` when it cannot be read.
 */
export function sharedFile (file: string): SecretSource {
  return {
    read: async () => await readNamedFile(file).catch((cause: unknown) => { throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'secret-file', cause }) })
  }
}
