import { watch } from 'node:fs'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists, lockFile, makePrivateFolder, readPrivateFile, writeFileAtomic } from '../files.ts'
import { listOf, object, oneOf } from '../options.ts'
import { readKeyRecord } from './key-record.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'

const readFile = object({ version: oneOf('1'), keys: listOf(readKeyRecord) })

export interface FileKeyStoreOptions {
  /** JSON file, mode 0600; made on the first `add`. */
  readonly file: string
  /** Told when a changed file cannot be read; the records read last stay. Default: a process warning. */
  readonly onError?: (error: unknown) => void
}

/**
 * Key records in one JSON file, held in memory and written whole by rename.
 * A change made by another process is noticed by watching the folder.
 * @throws FMG_ERR_FILE, FMG_ERR_OPTION_INVALID when the file cannot be read as a key store.
 */
export async function fileKeyStore ({ file, onError = warn }: FileKeyStoreOptions): Promise<KeyStore> {
  await makePrivateFolder(path.dirname(file))
  let records = await load(file, new Map())
  let reloading = Promise.resolve()
  const watcher = watch(path.dirname(file), { persistent: false }, (_event, name) => {
    if (name !== path.basename(file)) return
    reloading = reloading.then(async () => { records = await load(file, records) }).catch(onError)
  })

  /** Reads, changes and writes under a lock, so that two processes never lose each other's change. */
  async function change (edit: (current: Map<string, KeyRecord>) => void): Promise<void> {
    const lock = await lockFile(`${file}.lock`)
    try {
      const next = new Map(await load(file, records))
      edit(next)
      await writeFileAtomic(file, `${JSON.stringify({ version: '1', keys: [...next.values()] }, null, 2)}\n`)
      records = next
    } finally {
      await lock.release()
    }
  }

  return {
    find: (keyId) => records.get(keyId) ?? null,
    list: async () => [...records.values()],
    async add (record) {
      await change((current) => { current.set(record.keyId, readKeyRecord(record, 'key')) })
    },
    async revoke (keyId, at) {
      if (!records.has(keyId)) return false
      await change((current) => {
        const record = current.get(keyId)
        if (record !== undefined) current.set(keyId, Object.freeze({ ...record, revokedAt: record.revokedAt ?? at }))
      })
      return true
    },
    async close () {
      watcher.close()
      await reloading
    }
  }
}

function warn (error: unknown): void {
  process.emitWarning(String(error))
}

/** Reads the file; a record that has not changed stays the object it was. */
async function load (file: string, known: ReadonlyMap<string, KeyRecord>): Promise<Map<string, KeyRecord>> {
  if (!await exists(file)) return new Map()
  const { keys } = readFile(parse(await readPrivateFile(file), file), path.basename(file))
  return new Map(keys.map((record) => {
    const before = known.get(record.keyId)
    return [record.keyId, before !== undefined && JSON.stringify(before) === JSON.stringify(record) ? before : record]
  }))
}

function parse (bytes: Buffer, file: string): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    // The parser's own message quotes the file.
    throw guardError('FMG_ERR_FILE', { detail: `${file} is not JSON` })
  }
}
