import { createHash } from 'node:crypto'
import { guardError, type GuardErrorCode } from '../errors.ts'
import { integer, object, optional, string, type Read, type Reader } from '../options.ts'
import type { RecordSeal } from './record-seal.ts'

/** What is written in a book has a version: 1 when it is made, one more with every change. */
export interface BookRecord {
  readonly version: number
}

/** What a book is about. */
export interface BookForm<R extends BookRecord> {
  /** In reasons. */
  readonly name: string
  /** Of the error when it cannot be read or believed. */
  readonly code: GuardErrorCode
  /** What its records are called, together, where it is kept. */
  readonly plural: string
  readonly seal: RecordSeal
  readonly read: Reader<R>
  readonly idOf: (record: R) => string
  /** Whether one forged record makes all others useless, as it may have been about any question; else it is only missing. */
  readonly isWholeOrNothing: boolean
  /** Milliseconds since the epoch, from when on a record may be left out. Left out: never. */
  readonly endOf?: (record: R) => number
}

/** What a store keeps, as it keeps it: texts of a `RecordSeal`. */
export interface SealedBook {
  /** Empty before the first change. */
  readonly head: string
  /** By the ids of their records. */
  readonly texts: ReadonlyMap<string, string>
}

/** All records as they are after one change, and before the next. */
export interface Book<R extends BookRecord> extends SealedBook {
  /** How many changes there have been. */
  readonly sequence: number
  readonly records: ReadonlyMap<string, R>
  /** Ids of records whose MAC does not hold. */
  readonly forged: ReadonlySet<string>
}

/** Before the first change. */
export function emptyBook<R extends BookRecord> (): Book<R> {
  return { head: '', texts: new Map(), sequence: 0, records: new Map(), forged: new Set() }
}

const readHead = object({
  sequence: integer({ min: 1 }),
  /** Id and version of the record that the last change wrote. */
  last: string(),
  /** Of the versions of all records. */
  versions: string(),
  /** The last change left out what had ended by then. */
  endedAt: optional(integer({ min: 0 }))
})

/**
 * Opens what a store holds. A record of another's making is set apart; a record that was taken away or replaced by an older one
 * of the same id makes the head's digest wrong, and then nothing of the store can be believed.
 *
 * What this cannot notice, where `before` is empty: a whole store, head and all, put back as it once was. A node that runs notices.
 * @param before what this node has seen; its unchanged records stay the objects they are.
 * @throws the form's error, with a reason that ends in `-forged` or `-rolled-back`.
 */
export function readBook<R extends BookRecord> (form: BookForm<R>, sealed: SealedBook, before: Book<R>): Book<R> {
  const { sequence, versions } = openHead(form, sealed.head)
  if (sequence < before.sequence) throw unavailable(form, 'rolled-back')
  const records = new Map<string, R>()
  for (const [id, text] of sealed.texts) {
    const record = before.texts.get(id) === text ? before.records.get(id) : openRecord(form, id, text)
    if (record !== undefined) records.set(id, record)
  }
  const forged = new Set([...sealed.texts.keys()].filter((id) => !records.has(id)))
  const book = { ...sealed, sequence, records, forged }
  if (versions !== versionsDigest(form, book) || (form.isWholeOrNothing && forged.size > 0)) throw unavailable(form, 'forged')
  return book
}

/** Tells of records that were not forged before. */
export function reportForged<R extends BookRecord> (form: BookForm<R>, before: Book<R>, now: Book<R>, onError: (error: unknown) => void): void {
  for (const id of now.forged) {
    if (!before.forged.has(id)) onError(unavailable(form, 'record-forged', new Error(`the stored record ${id} is not what was written`)))
  }
}

/** The head of a book. @throws the form's error, with a reason that ends in `-forged`. */
export function openHead<R extends BookRecord> (form: BookForm<R>, head: string): Read<typeof readHead> {
  if (head === '') return { sequence: 0, last: '', versions: versionsDigest(form, emptyBook()), endedAt: undefined }
  const content = form.seal.open('head', head)
  if (content === null) throw unavailable(form, 'forged')
  return readHead(content, 'head')
}

/** A sealed record; `undefined` when it is not this seal's work, or not of this id. */
export function openRecord<R extends BookRecord> (form: BookForm<R>, id: string, text: string): R | undefined {
  const content = form.seal.open('record', text)
  const record = content === null ? undefined : form.read(content, id)
  return record !== undefined && form.idOf(record) === id ? record : undefined
}

/** What a head calls a record. */
export function nameOf<R extends BookRecord> (form: BookForm<R>, record: R): string {
  return `${form.idOf(record)}:${record.version}`
}

/** SHA-256 of the names of all records. */
export function versionsDigest<R extends BookRecord> (form: BookForm<R>, { texts, records }: Pick<Book<R>, 'texts' | 'records'>): string {
  const names = [...texts].map(([id, text]) => {
    const record = records.get(id)
    return record === undefined ? `${id}:${claimedVersion(text)}` : nameOf(form, record)
  })
  return createHash('sha256').update(names.sort().join('\n')).digest('hex')
}

/** Of a forged record, so that the others can still be told to be all there. */
function claimedVersion (text: string): string {
  return /"version":(\d+)/.exec(text)?.[1] ?? ''
}

/** What was kept cannot be read, or cannot be believed. */
export function unavailable ({ name, code }: Pick<BookForm<BookRecord>, 'name' | 'code'>, what: string, cause?: unknown): Error {
  return guardError(code, { reason: `${name}-${what}`, cause })
}
