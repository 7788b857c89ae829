import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { syncFolder } from '../files.ts'

/**
 * Fills a folder beside the destination and moves it there when it is whole: it is there whole or not at all.
 * @param what it is, for the message.
 * @param mode permission bits of the folder itself, of which the process may take some away.
 * @throws FMG_ERR_FILE when it cannot be written; and what `fill` throws.
 */
export async function writeFolder (destination: string, what: string, fill: (folder: string) => Promise<void>, mode = 0o777): Promise<void> {
  const temporary = `${destination}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await mkdir(temporary, { mode })
    await fill(temporary)
    await rename(temporary, destination)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error instanceof Error && 'syscall' in error ? guardError('FMG_ERR_FILE', { detail: `${what} cannot be written`, cause: error }) : error
  }
  await syncFolder(path.dirname(destination))
}
