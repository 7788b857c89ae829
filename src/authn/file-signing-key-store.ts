import path from 'node:path'
import { exists, lockFile, makePrivateFolder, readPrivateFile, writeFileAtomic } from '../files.ts'
import { object, string } from '../options.ts'
import type { SigningKeyStore } from './signing-key-store.ts'

export interface FileSigningKeyStoreOptions {
  /** JSON file, mode 0600; made when the first key is. Processes of one host, or hosts that share the folder, share the keys. */
  readonly file: string
}

const readOptions = object({ file: string() })

/**
 * Signing keys in a file, written whole by rename under a lock. Whoever deletes the file ends all keys at once, and every token with them.
 * Reading throws FMG_ERR_FILE where others may read the file.
 */
export function fileSigningKeyStore (options: FileSigningKeyStoreOptions): SigningKeyStore {
  const { file } = readOptions(options, 'fileSigningKeyStore')

  async function read (): Promise<string> {
    return await exists(file) ? (await readPrivateFile(file)).toString() : ''
  }

  return {
    read,
    async replace (before, after) {
      await makePrivateFolder(path.dirname(file))
      const lock = await lockFile(`${file}.lock`)
      try {
        if (await read() !== before) return false
        await writeFileAtomic(file, after)
        return true
      } finally {
        await lock.release()
      }
    }
  }
}
