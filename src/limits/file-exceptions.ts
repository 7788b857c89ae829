import { fileBook, fileBookOptions, type FileBookOptions } from '../books/file-book.ts'
import { object } from '../options.ts'
import { bookExceptions, exceptionBookForm, exceptionOptions, type ExceptionOptions } from './exception-book.ts'
import type { Exceptions } from './exceptions.ts'

export interface FileExceptionsOptions extends ExceptionOptions, Omit<FileBookOptions, 'onStale' | 'maxStalenessMs' | 'onError'> {}

const { file, heartbeatMs, clock, onError } = fileBookOptions
const readOptions = object({ ...exceptionOptions, file, heartbeatMs, clock, onError })

/**
 * Exceptions in one JSON file, for all processes of one host. A process that can no longer read it goes by what it knew; what has an
 * end date ends all the same.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the file cannot be read as one of exceptions.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when the exceptions are not what their head says.
 */
export async function fileExceptions (options: FileExceptionsOptions): Promise<Exceptions> {
  const { pepper, epoch, tiers, approval, maxExceptions, now, ...kept } = readOptions(options, 'fileExceptions')
  const form = exceptionBookForm(pepper, epoch)
  const open: Parameters<typeof bookExceptions>[1] = async (onChange) => await fileBook(form, { ...kept, maxStalenessMs: Infinity, onStale: 'serve' }, onChange)
  return await bookExceptions(form, open, { tiers, approval, maxExceptions, now, onError: kept.onError })
}
