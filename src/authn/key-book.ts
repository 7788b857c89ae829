import { guardError } from '../errors.ts'
import { optionInvalid } from '../options.ts'
import { writeToBook } from '../books/change-book.ts'
import { readKeyRecord } from './key-record.ts'
import type { KeyRecord, KeyRecordChange, KeyStore } from './key-store.ts'
import { recordSeal } from '../books/record-seal.ts'
import { unavailable, type Book, type BookForm } from '../books/sealed-book.ts'
import type { OnChange, SharedBook } from '../books/shared-book.ts'

/** A book of API keys. */
export function keyBookForm (pepper: Uint8Array, epoch: number): BookForm<KeyRecord> {
  return {
    name: 'key-store',
    code: 'FMG_ERR_KEY_UNAVAILABLE',
    plural: 'keys',
    seal: recordSeal('key-store', pepper, epoch),
    read: readKeyRecord,
    idOf: ({ keyId }) => keyId,
    isWholeOrNothing: false
  }
}

/** When keys were last used. */
export interface KeyUses {
  /** Returns at once and never throws. */
  note (keyId: string, at: number): void
  read (): Promise<ReadonlyMap<string, number>>
  /** Writes what was noted. */
  close (): Promise<void>
}

/** Key records that are kept in a book. */
export async function bookKeyStore (form: BookForm<KeyRecord>, open: (onChange: OnChange<KeyRecord>) => Promise<SharedBook<KeyRecord>>, uses: KeyUses): Promise<KeyStore> {
  let listener: ((change: KeyRecordChange) => void) | undefined
  const book = await open((now, before) => {
    if (listener !== undefined) for (const change of changesOf(now, before)) listener(change)
  })
  return {
    recall: (keyId) => book.isTrusted() ? book.current.records.get(keyId) ?? null : null,
    revision: () => book.isTrusted() ? book.current : null,
    find (keyId) {
      if (!book.isTrusted()) throw unavailable(form, 'stale')
      return findInBook(book.current, keyId)
    },
    async list () {
      await book.load()
      return [...book.current.records.values()]
    },
    async add (record) {
      await book.change((current) => {
        if (current.texts.has(record.keyId)) throw optionInvalid('key.keyId', 'an id of no other key', record.keyId)
        return writeToBook(form, current, record)
      })
    },
    update: async (keyId, change) => await book.change((current) => {
      const record = current.records.get(keyId)
      const changed = record === undefined ? null : change(record)
      return record === undefined || changed === null ? null : writeToBook(form, current, { ...changed, keyId, version: record.version + 1 })
    }),
    noteUse: (keyId, at) => { uses.note(keyId, at) },
    lastUses: async () => await uses.read(),
    whenChanged (wanted) {
      listener = wanted
    },
    async close () {
      await book.close()
      await uses.close()
    }
  }
}

function changesOf (now: Book<KeyRecord>, before: Book<KeyRecord>): KeyRecordChange[] {
  return [...now.records].flatMap(([keyId, after]) => {
    const known = before.records.get(keyId) ?? null
    return after === known ? [] : [{ before: known, after }]
  })
}

function findInBook (book: Book<KeyRecord>, keyId: string): KeyRecord | null {
  if (book.forged.has(keyId)) throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'api-key-record-forged' })
  return book.records.get(keyId) ?? null
}
