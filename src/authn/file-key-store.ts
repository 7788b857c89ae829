import { watch } from 'node:fs'
import path from 'node:path'
import { canonicalJson } from '../encoding.ts'
import { guardError } from '../errors.ts'
import { exists, lockFile, makePrivateFolder, readPrivateFile, writeFileAtomic } from '../files.ts'
import { functionOf, integer, object, oneOf, recordOf, string, withDefault } from '../options.ts'
import { addToBook, changeInBook, type BookChange } from './change-book.ts'
import { fileKeyUses } from './file-key-uses.ts'
import { emptyBook, findInBook, readBook, reportForged, type KeyBook, type SealedBook } from './key-book.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'
import { readPepperBytes } from './pepper.ts'
import { recordSeal } from './record-seal.ts'

export interface FileKeyStoreOptions {
  /** JSON file, mode 0600; made on the first `add`. When keys were last used stands beside it, in a file whose name ends in `.uses`. */
  readonly file: string
  /** At least 32 bytes, kept apart from the store; the records' MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Records of another epoch are not known: a higher one voids a store that was in foreign hands. Default 0. */
  readonly epoch?: number
  /** Told of a forged record, and when a changed file cannot be read; the records read last stay. Default: a process warning. */
  readonly onError?: (error: unknown) => void
}

const readOptions = object({
  file: string(),
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error) => { process.emitWarning(String(error)) })
})

const anything = (value: unknown): unknown => value
const readFile = object({ version: oneOf('2'), head: anything, keys: recordOf(anything) })

/**
 * Key records in one JSON file, held in memory and written whole by rename.
 * A change made by another process is noticed by watching the folder.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the file cannot be read as a key store.
 * @throws FMG_ERR_KEY_UNAVAILABLE when its records are not what its head says.
 */
export async function fileKeyStore (options: FileKeyStoreOptions): Promise<KeyStore> {
  const { file, pepper, epoch, onError } = readOptions(options, 'fileKeyStore')
  const seal = recordSeal(pepper, epoch)
  const uses = fileKeyUses(`${file}.uses`, onError)
  await makePrivateFolder(path.dirname(file))
  let book = emptyBook
  await load()
  let turn = Promise.resolve()
  const watcher = watch(path.dirname(file), { persistent: false }, (_event, name) => {
    if (name === path.basename(file)) inTurn(load).catch(onError)
  })

  /** One after the other: what was read before a change must not take its place. */
  async function inTurn<T> (work: () => Promise<T>): Promise<T> {
    const result = turn.then(work)
    turn = result.then(() => undefined, () => undefined)
    return await result
  }

  async function load (): Promise<void> {
    const before = book
    book = readBook(seal, await readSealed(file), before)
    reportForged(before, book, onError)
  }

  /** Reads, changes and writes under a lock, so that two processes never lose each other's change. */
  async function change (edit: (current: KeyBook) => BookChange | null): Promise<KeyRecord | null> {
    const lock = await lockFile(`${file}.lock`)
    try {
      await load()
      const made = edit(book)
      if (made === null) return null
      await writeFileAtomic(file, written(made.next))
      book = made.next
      return made.record
    } finally {
      await lock.release()
    }
  }

  return {
    recall: (keyId) => book.records.get(keyId) ?? null,
    find: (keyId) => findInBook(book, keyId),
    list: async () => [...book.records.values()],
    async add (record) { await inTurn(() => change((current) => addToBook(seal, current, record))) },
    update: async (keyId, edit) => await inTurn(() => change((current) => changeInBook(seal, current, keyId, edit))),
    noteUse: (keyId, at) => { uses.note(keyId, at) },
    lastUses: async () => await uses.read(),
    async close () {
      watcher.close()
      await turn
      await uses.close()
    }
  }
}

async function readSealed (file: string): Promise<SealedBook> {
  if (!await exists(file)) return emptyBook
  const { head, keys } = readFile(parse(await readPrivateFile(file), file), path.basename(file))
  return { head: canonicalJson(head), keys: new Map(Object.entries(keys).map(([keyId, sealed]) => [keyId, canonicalJson(sealed)])) }
}

/** One record a line, so that a difference between two versions of the file can be read. */
function written ({ head, keys }: SealedBook): string {
  const lines = [...keys].map(([keyId, text]) => `${JSON.stringify(keyId)}:${text}`)
  return `{"version":"2","head":${head},"keys":{\n${lines.join(',\n')}\n}}\n`
}

function parse (bytes: Buffer, file: string): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    // The parser's own message quotes the file.
    throw guardError('FMG_ERR_FILE', { detail: `${file} is not JSON` })
  }
}
