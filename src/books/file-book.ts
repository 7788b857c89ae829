import path from 'node:path'
import { canonicalJson } from '../encoding.ts'
import { guardError, isGuardError } from '../errors.ts'
import { lockFile, makePrivateFolder, readPrivateFile, writeFileAtomic } from '../files.ts'
import { functionOf, integer, object, oneOf, recordOf, string, withDefault } from '../options.ts'
import type { BookChange } from './change-book.ts'
import { followFile } from '../followed-file.ts'
import { turns } from '../turns.ts'
import { emptyBook, readBook, reportForged, type Book, type BookForm, type BookRecord, type SealedBook } from './sealed-book.ts'
import type { OnChange, OnStale, SharedBook } from './shared-book.ts'

/** How a book in a file is kept. */
export interface FileBookOptions {
  /** JSON file, mode 0600; made on the first change. */
  readonly file: string
  /** Milliseconds between two looks at the file, beside what the system tells of it. Default 500. */
  readonly heartbeatMs?: number
  /** Milliseconds for which the file may be out of reach, or not to be believed. Default 5000. */
  readonly maxStalenessMs?: number
  /** What a process does for which it has been so for longer: `refuse` (503), or `serve` by what it knew. Default `refuse`. */
  readonly onStale?: OnStale
  /** Told of a forged record, and when a changed file cannot be read. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Milliseconds from any moment, only ever forward. Default `performance.now`. */
  readonly clock?: () => number
}

/** Readers of these options. */
export const fileBookOptions = {
  file: string(),
  heartbeatMs: withDefault(integer({ min: 10, max: 60_000 }), 500),
  maxStalenessMs: withDefault(integer({ min: 20 }), 5000),
  onStale: withDefault(oneOf<OnStale>('refuse', 'serve'), 'refuse'),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error: unknown) => { process.emitWarning(String(error)) }),
  clock: withDefault(functionOf<() => number>(), () => performance.now())
}

const readMembers = recordOf((value: unknown) => value)

/**
 * A book in one JSON file, held in memory and written whole by rename. A change made by another process is noticed by watching.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the file cannot be read as such a book.
 * @throws the form's error when the records are not what their head says.
 */
export async function fileBook<R extends BookRecord> (form: BookForm<R>, options: Required<FileBookOptions>, onChange: OnChange<R> = () => undefined): Promise<SharedBook<R>> {
  const { file, heartbeatMs, maxStalenessMs, onStale, onError, clock } = options
  await makePrivateFolder(path.dirname(file))
  let book = emptyBook<R>()
  const changes = turns()
  const followed = await followFile({ file, heartbeatMs, read: load, onError, clock })

  return {
    get current () { return book },
    isTrusted: () => onStale === 'serve' || followed.staleness() <= maxStalenessMs,
    load: async () => { await followed.inTurn(load) },
    change: async (edit) => await changes.take(() => change(edit)),
    async close () {
      await changes.over()
      await followed.close()
    }
  }

  async function load (): Promise<void> {
    const before = book
    turnTo(readBook(form, await readSealed(file, form.plural), before))
    reportForged(form, before, book, onError)
  }

  function turnTo (next: Book<R>): void {
    const before = book
    book = next
    onChange(next, before)
  }

  /** Under a lock, so that two processes never lose each other's change. It is waited for while the file is still looked at. */
  async function change (edit: (current: Book<R>) => BookChange<R> | null): Promise<R | null> {
    const lock = await lockFile(`${file}.lock`)
    try {
      return await followed.inTurn(() => write(edit))
    } finally {
      await lock.release()
    }
  }

  async function write (edit: (current: Book<R>) => BookChange<R> | null): Promise<R | null> {
    await load()
    const made = edit(book)
    if (made === null) return null
    await writeFileAtomic(file, written(made.next, form.plural))
    turnTo(made.next)
    return made.record
  }
}

async function readSealed (file: string, plural: string): Promise<SealedBook> {
  const bytes = await readPrivateFile(file).catch((error: unknown) => {
    if (isAbsent(error)) return null
    throw error
  })
  if (bytes === null) return emptyBook()
  const { head, [plural]: sealed } = object({ version: oneOf('2'), head: readMembers, [plural]: readMembers })(parse(bytes, file), path.basename(file))
  return { head: canonicalJson(head), texts: new Map(Object.entries(readMembers(sealed, plural)).map(([id, text]) => [id, canonicalJson(text)])) }
}

function isAbsent (error: unknown): boolean {
  return isGuardError(error, 'FMG_ERR_FILE') && Reflect.get(Object(error.cause), 'code') === 'ENOENT'
}

/** One record a line, so that a difference between two versions of the file can be read. */
function written ({ head, texts }: SealedBook, plural: string): string {
  const lines = [...texts].map(([id, text]) => `${JSON.stringify(id)}:${text}`)
  return `{"version":"2","head":${head},"${plural}":{\n${lines.join(',\n')}\n}}\n`
}

function parse (bytes: Buffer, file: string): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    // The parser's own message quotes the file.
    throw guardError('FMG_ERR_FILE', { detail: `${file} is not JSON` })
  }
}
