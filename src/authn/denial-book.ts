import { writeToBook } from '../books/change-book.ts'
import { deniedBy, denialId, endOf, isDenied, readDenial, readDenialRecord, widened, type DenialRecord } from './denial-record.ts'
import type { SharedDenyList } from './deny-list.ts'
import { recordSeal } from '../books/record-seal.ts'
import type { BookForm } from '../books/sealed-book.ts'
import type { SharedBook } from '../books/shared-book.ts'

/** A book of denials. */
export function denialBookForm (pepper: Uint8Array, epoch: number): BookForm<DenialRecord> {
  return {
    name: 'deny-list',
    code: 'FMG_ERR_DENY_LIST_UNAVAILABLE',
    plural: 'denials',
    seal: recordSeal('deny-list', pepper, epoch),
    read: readDenialRecord,
    idOf: denialId,
    endOf,
    // One that cannot be read may deny any token.
    isWholeOrNothing: true
  }
}

/** Denials that are kept in a book. @param now milliseconds since the epoch. */
export function bookDenyList (form: BookForm<DenialRecord>, book: SharedBook<DenialRecord>, now: () => number): SharedDenyList {
  return {
    async deny (given) {
      const denial = readDenial(given, 'denial')
      for (const denied of deniedBy(denial)) {
        await book.change((current) => {
          const record = widened(current.records.get(denialId(denied)), denied, denial)
          return record === null ? null : writeToBook(form, current, record, now())
        })
      }
    },
    denies: (token) => book.isTrusted() ? isDenied(book.current.records, token) : 'unknown',
    get size () { return book.current.records.size },
    close: async () => { await book.close() }
  }
}
