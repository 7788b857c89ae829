import { guardError } from '../errors.ts'
import { readPrivateFile } from '../files.ts'
import type { SecretSource } from './secret-source.ts'

/**
 * A secret in a file that only its owner can read, byte for byte: a line feed at its end is part of it.
 * `read` asks the disk each time, so that a replaced file is seen.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from `read`) when the file is not there, or when others may read it; the cause says which.
 */
export function fileSecret (file: string): SecretSource {
  return {
    read: async () => {
      try {
        return await readPrivateFile(file)
      } catch (cause) {
        throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'secret-file', cause })
      }
    }
  }
}
