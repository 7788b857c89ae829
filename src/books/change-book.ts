import { nameOf, openHead, openRecord, versionsDigest, type Book, type BookForm, type BookRecord } from './sealed-book.ts'

/** A change that was not written yet. */
export interface BookChange<R extends BookRecord> {
  /** The book after it. */
  readonly next: Book<R>
  readonly record: R
  readonly id: string
  /** The record, sealed. */
  readonly text: string
  /** Ids of what is left out from now on. */
  readonly ended: readonly string[]
}

/**
 * The book with this record, in the place of the one of its id.
 * @param endedAt what has ended by then is left out. Milliseconds since the epoch.
 */
export function writeToBook<R extends BookRecord> (form: BookForm<R>, book: Book<R>, given: R, endedAt?: number): BookChange<R> {
  const record = form.read(given, form.name)
  const text = form.seal.seal('record', record)
  const sequence = book.sequence + 1
  const changed = withRecord(form, book, record, text, endedAt)
  const head = form.seal.seal('head', { sequence, last: nameOf(form, record), versions: versionsDigest(form, changed), endedAt })
  return { next: { ...changed, head, sequence }, record, id: form.idOf(record), text, ended: [...book.texts.keys()].filter((id) => !changed.texts.has(id)) }
}

/** The book after a change that a log tells of; `null` when it does not follow from this book, which must then be read again. */
export function followBook<R extends BookRecord> (form: BookForm<R>, book: Book<R>, head: string, id: string, text: string): Book<R> | null {
  const { sequence, last, endedAt } = openHead(form, head)
  const record = openRecord(form, id, text)
  // The head names the change: another record, genuine but of another time, cannot be put in its place.
  if (record === undefined || sequence !== book.sequence + 1 || last !== nameOf(form, record)) return null
  return { ...withRecord(form, book, record, text, endedAt), head, sequence }
}

function withRecord<R extends BookRecord> (form: BookForm<R>, book: Book<R>, record: R, text: string, endedAt: number | undefined): Book<R> {
  const id = form.idOf(record)
  const forged = new Set(book.forged)
  forged.delete(id)
  const [texts, records] = [new Map(book.texts).set(id, text), new Map(book.records).set(id, record)]
  for (const ended of endedIn(form, records, endedAt)) {
    texts.delete(ended)
    records.delete(ended)
  }
  return { ...book, texts, records, forged }
}

/** By the moment that the head tells, so that every node leaves out the same. */
function endedIn<R extends BookRecord> ({ endOf }: BookForm<R>, records: ReadonlyMap<string, R>, endedAt: number | undefined): readonly string[] {
  if (endOf === undefined || endedAt === undefined) return []
  return [...records].filter(([, record]) => endOf(record) <= endedAt).map(([id]) => id)
}
