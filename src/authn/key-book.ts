import { createHash } from 'node:crypto'
import { guardError } from '../errors.ts'
import { integer, object, string, type Read } from '../options.ts'
import { readKeyRecord } from './key-record.ts'
import type { KeyRecord } from './key-store.ts'
import type { RecordSeal } from './record-seal.ts'

/** What a store keeps, as it keeps it: texts of a `RecordSeal`. */
export interface SealedBook {
  /** Empty before the first change. */
  readonly head: string
  /** By key id. */
  readonly keys: ReadonlyMap<string, string>
}

/** All records as they are after one change, and before the next. */
export interface KeyBook extends SealedBook {
  /** How many changes there have been. */
  readonly sequence: number
  readonly records: ReadonlyMap<string, KeyRecord>
  /** Ids of records whose MAC does not hold. */
  readonly forged: ReadonlySet<string>
}

export const emptyBook: KeyBook = { head: '', keys: new Map(), sequence: 0, records: new Map(), forged: new Set() }

const readHead = object({
  sequence: integer({ min: 1 }),
  /** Key id and version of the record that the last change wrote. */
  last: string(),
  /** Of the versions of all records. */
  versions: string()
})

/**
 * Opens what a store holds. A record of another's making is set apart; a record that was taken away or replaced by an older one
 * of the same key makes the head's digest wrong, and then nothing of the store can be believed.
 *
 * What this cannot notice, where `before` is empty: a whole store, head and all, put back as it once was. A node that runs notices.
 * @param before what this node has seen; its unchanged records stay the objects they are.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `key-store-forged` or `key-store-rolled-back`.
 */
export function readBook (seal: RecordSeal, sealed: SealedBook, before: KeyBook): KeyBook {
  const { sequence, versions } = openHead(seal, sealed.head)
  if (sequence < before.sequence) throw untrusted('key-store-rolled-back')
  const records = new Map<string, KeyRecord>()
  for (const [keyId, text] of sealed.keys) {
    const record = before.keys.get(keyId) === text ? before.records.get(keyId) : openRecord(seal, keyId, text)
    if (record !== undefined) records.set(keyId, record)
  }
  const forged = new Set([...sealed.keys.keys()].filter((keyId) => !records.has(keyId)))
  const book = { ...sealed, sequence, records, forged }
  if (versions !== versionsDigest(book)) throw untrusted('key-store-forged')
  return book
}

/**
 * The record of this key id.
 * @throws FMG_ERR_CREDENTIAL_INVALID with reason `api-key-record-forged`.
 */
export function findInBook (book: KeyBook, keyId: string): KeyRecord | null {
  if (book.forged.has(keyId)) throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'api-key-record-forged' })
  return book.records.get(keyId) ?? null
}

/** Tells of records that were not forged before. */
export function reportForged (before: KeyBook, now: KeyBook, onError: (error: unknown) => void): void {
  for (const keyId of now.forged) {
    if (!before.forged.has(keyId)) onError(guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'api-key-record-forged', cause: new Error(`the stored record of key ${keyId} is not what was written`) }))
  }
}

/** The head of a book. @throws FMG_ERR_KEY_UNAVAILABLE with reason `key-store-forged` */
export function openHead (seal: RecordSeal, head: string): Read<typeof readHead> {
  if (head === '') return { sequence: 0, last: '', versions: versionsDigest(emptyBook) }
  const content = seal.open('head', head)
  if (content === null) throw untrusted('key-store-forged')
  return readHead(content, 'head')
}

/** A sealed record; `undefined` when it is not this seal's work, or not of this key id. */
export function openRecord (seal: RecordSeal, keyId: string, text: string): KeyRecord | undefined {
  const content = seal.open('key', text)
  const record = content === null ? undefined : readKeyRecord(content, keyId)
  return record?.keyId === keyId ? record : undefined
}

/** What a head calls a record. */
export function nameOf ({ keyId, version }: KeyRecord): string {
  return `${keyId}:${version}`
}

/** SHA-256 of the names of all records. */
export function versionsDigest ({ keys, records }: Pick<KeyBook, 'keys' | 'records'>): string {
  const names = [...keys].map(([keyId, text]) => {
    const record = records.get(keyId)
    return record === undefined ? `${keyId}:${claimedVersion(text)}` : nameOf(record)
  })
  return createHash('sha256').update(names.sort().join('\n')).digest('hex')
}

/** Of a forged record, so that the others can still be told to be all there. */
function claimedVersion (text: string): string {
  return /"version":(\d+)/.exec(text)?.[1] ?? ''
}

function untrusted (reason: string): Error {
  return guardError('FMG_ERR_KEY_UNAVAILABLE', { reason })
}
