import { optionInvalid } from '../options.ts'
import { nameOf, openHead, openRecord, versionsDigest, type KeyBook } from './key-book.ts'
import { readKeyRecord } from './key-record.ts'
import type { KeyChange, KeyRecord } from './key-store.ts'
import type { RecordSeal } from './record-seal.ts'

/** A change that was not written yet. */
export interface BookChange {
  /** The book after it. */
  readonly next: KeyBook
  readonly record: KeyRecord
  /** The record, sealed. */
  readonly text: string
}

/** The book with one more record. @throws FMG_ERR_OPTION_INVALID when there is one of its id. */
export function addToBook (seal: RecordSeal, book: KeyBook, record: KeyRecord): BookChange {
  if (book.keys.has(record.keyId)) throw optionInvalid('key.keyId', 'an id of no other key', record.keyId)
  return writeToBook(seal, book, readKeyRecord(record, 'key'))
}

/** The book with one record changed; `null` when it is not there, or stays as it is. */
export function changeInBook (seal: RecordSeal, book: KeyBook, keyId: string, change: KeyChange): BookChange | null {
  const record = book.records.get(keyId)
  const changed = record === undefined ? null : change(record)
  return record === undefined || changed === null ? null : writeToBook(seal, book, readKeyRecord({ ...changed, keyId, version: record.version + 1 }, 'key'))
}

function writeToBook (seal: RecordSeal, book: KeyBook, record: KeyRecord): BookChange {
  const text = seal.seal('key', record)
  const sequence = book.sequence + 1
  const changed = withRecord(book, record, text)
  const head = seal.seal('head', { sequence, last: nameOf(record), versions: versionsDigest(changed) })
  return { next: { ...changed, head, sequence }, record, text }
}

/** The book after a change that a log tells of; `null` when it does not follow from this book, which must then be read again. */
export function followBook (seal: RecordSeal, book: KeyBook, head: string, keyId: string, text: string): KeyBook | null {
  const { sequence, last } = openHead(seal, head)
  const record = openRecord(seal, keyId, text)
  // The head names the change: another record, genuine but of another time, cannot be put in its place.
  if (record === undefined || sequence !== book.sequence + 1 || last !== nameOf(record)) return null
  return { ...withRecord(book, record, text), head, sequence }
}

function withRecord (book: KeyBook, record: KeyRecord, text: string): KeyBook {
  const forged = new Set(book.forged)
  forged.delete(record.keyId)
  return { ...book, keys: new Map(book.keys).set(record.keyId, text), records: new Map(book.records).set(record.keyId, record), forged }
}
