import path from 'node:path'
import { exists, lockFile, readPrivateFile, writeFileAtomic } from '../files.ts'
import { integer, recordOf } from '../options.ts'
import type { KeyUses } from './key-book.ts'

/** A server that starts hears of all its keys at once: their uses are one write. */
const gatherMs = 1000

const readUses = recordOf(integer({ min: 0 }))

/**
 * When keys were last used, in a file of its own: it changes without the records, and carries no MAC, as nothing is decided by it.
 * @param onError told when a use cannot be written down.
 */
export function fileKeyUses (file: string, onError: (error: unknown) => void): KeyUses {
  let noted = new Map<string, number>()
  let writing: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  async function load (): Promise<Map<string, number>> {
    if (!await exists(file)) return new Map()
    const stored: unknown = JSON.parse(String(await readPrivateFile(file)))
    return new Map(Object.entries(readUses(stored, path.basename(file))))
  }

  async function write (): Promise<void> {
    const lock = await lockFile(`${file}.lock`)
    try {
      const uses = await load()
      const latest = noted
      noted = new Map()
      for (const [keyId, at] of latest) uses.set(keyId, Math.max(at, uses.get(keyId) ?? 0))
      await writeFileAtomic(file, `${JSON.stringify(Object.fromEntries(uses), null, 2)}\n`)
    } finally {
      await lock.release()
    }
  }

  async function flush (): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    if (noted.size > 0) writing = writing.then(write).catch(onError)
    await writing
  }

  return {
    note (keyId, at) {
      noted.set(keyId, at)
      timer ??= setTimeout(() => { void flush() }, gatherMs).unref()
    },
    async read () {
      await flush()
      return await load()
    },
    close: flush
  }
}
