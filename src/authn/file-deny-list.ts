import { functionOf, integer, object, withDefault } from '../options.ts'
import { bookDenyList, denialBookForm } from './denial-book.ts'
import type { SharedDenyList } from './deny-list.ts'
import { fileBook, fileBookOptions, type FileBookOptions } from '../books/file-book.ts'
import { readPepperBytes } from '../pepper.ts'
import { checkHeartbeat } from '../books/shared-book.ts'

export interface FileDenyListOptions extends FileBookOptions {
  /** At least 32 bytes, kept apart from the file; the MACs of denials are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Denials of another epoch are not known: a higher one begins a new list. Default 0. */
  readonly epoch?: number
  /** By which denials end. Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

const readOptions = object({
  ...fileBookOptions,
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  now: withDefault(functionOf<() => number>(), Date.now)
})

/**
 * A deny-list of all processes of one host, in a file. A process that can no longer read it refuses every token with a 503, or
 * serves, as told.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the file cannot be read as a deny-list.
 * @throws FMG_ERR_DENY_LIST_UNAVAILABLE when the denials are not what their head says.
 */
export async function fileDenyList (options: FileDenyListOptions): Promise<SharedDenyList> {
  const { pepper, epoch, now, ...kept } = readOptions(options, 'fileDenyList')
  checkHeartbeat(kept, 'fileDenyList')
  const form = denialBookForm(pepper, epoch)
  return bookDenyList(form, await fileBook(form, kept), now)
}
