import { integer, object, withDefault } from '../options.ts'
import { fileBook, fileBookOptions, type FileBookOptions } from '../books/file-book.ts'
import { fileKeyUses } from './file-key-uses.ts'
import { bookKeyStore, keyBookForm } from './key-book.ts'
import type { KeyStore } from './key-store.ts'
import { readPepperBytes } from '../pepper.ts'
import { checkHeartbeat } from '../books/shared-book.ts'

/** When keys were last used stands beside the file, in one whose name ends in `.uses`. */
export interface FileKeyStoreOptions extends FileBookOptions {
  /** At least 32 bytes, kept apart from the store; the records' MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Records of another epoch are not known: a higher one voids a store that was in foreign hands. Default 0. */
  readonly epoch?: number
}

const readOptions = object({
  ...fileBookOptions,
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0)
})

/**
 * Key records in one JSON file, for all processes of one host.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the file cannot be read as a key store.
 * @throws FMG_ERR_KEY_UNAVAILABLE when its records are not what its head says.
 */
export async function fileKeyStore (options: FileKeyStoreOptions): Promise<KeyStore> {
  const { pepper, epoch, ...kept } = readOptions(options, 'fileKeyStore')
  checkHeartbeat(kept, 'fileKeyStore')
  const form = keyBookForm(pepper, epoch)
  return await bookKeyStore(form, async (onChange) => await fileBook(form, kept, onChange), fileKeyUses(`${kept.file}.uses`, kept.onError))
}
