import { constants, type Dirent } from 'node:fs'
import { open, readdir, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { guardError, type GuardError } from '../errors.ts'

/**
 * The files of a folder and those below it, relative, `/` between the parts, sorted by code point.
 * @param skip relative paths that are left out with all below them.
 * @throws FMG_ERR_MODEL_TAMPERED for a symbolic link or anything else that is neither a file nor a folder.
 * @throws FMG_ERR_BUNDLE_INVALID when the folder cannot be read.
 */
export async function listFiles (folder: string, skip: ReadonlySet<string> = new Set()): Promise<readonly string[]> {
  const files: string[] = []
  await walk('')
  return files.sort(byCodePoint)

  async function walk (parent: string): Promise<void> {
    for (const entry of await entriesOf(path.join(folder, parent))) {
      const name = `${parent}${entry.name}`
      if (skip.has(name)) continue
      if (entry.isDirectory()) await walk(`${name}/`)
      else if (entry.isFile()) files.push(name)
      // A link may point to another file by the time it is read, or out of the model.
      else throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${name} is neither a file nor a folder`, reason: 'special-file' })
    }
  }
}

async function entriesOf (folder: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true })
  } catch (cause) {
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: 'a folder of the model cannot be read', reason: 'unreadable-folder', cause })
  }
}

/** Order of Unicode code points, in which UTF-8 bytes sort and JavaScript strings do not. */
export function byCodePoint (a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/**
 * Demands that exactly these files are there.
 * @throws FMG_ERR_MODEL_TAMPERED naming the first that is missing, or the first that is too many.
 */
export function requireExactly (found: readonly string[], expected: readonly string[]): void {
  const there = new Set(found)
  const missing = expected.find((name) => !there.has(name))
  if (missing !== undefined) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${missing} is missing`, reason: 'missing-file' })
  const wanted = new Set(expected)
  const extra = found.find((name) => !wanted.has(name))
  if (extra !== undefined) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${extra} is not signed for`, reason: 'extra-file' })
}

/** A file that was opened once, with the size it had then. */
export interface OpenFile {
  readonly handle: FileHandle
  readonly bytes: number
}

/**
 * Opens a file of a model, does something with it, and closes it. A symbolic link is not followed.
 * @throws FMG_ERR_BUNDLE_INVALID when it cannot be opened or is no file.
 */
export async function withFile<T> (folder: string, name: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
  const file = await openFile(folder, name)
  try {
    return await use(file)
  } finally {
    await file.handle.close()
  }
}

/**
 * Opens a file of a model, which the caller closes. A symbolic link is not followed.
 * @throws FMG_ERR_BUNDLE_INVALID when it cannot be opened or is no file.
 */
export async function openFile (folder: string, name: string): Promise<OpenFile> {
  const handle = await openPath(folder, name)
  const stats = await handle.stat()
  if (stats.isFile()) return { handle, bytes: stats.size }
  await handle.close()
  throw unreadable(name)
}

async function openPath (folder: string, name: string): Promise<FileHandle> {
  try {
    // Non-blocking: a pipe put in a file's place must not hang the load.
    return await open(path.join(folder, name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (cause) {
    throw unreadable(name, cause)
  }
}

function unreadable (name: string, cause?: unknown): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} cannot be read`, reason: 'unreadable-file', cause })
}

/**
 * A small file, whole.
 * @throws FMG_ERR_BUNDLE_INVALID when it cannot be read or is larger than that.
 */
export async function readSmallFile (folder: string, name: string, maxBytes: number): Promise<Buffer> {
  return await withFile(folder, name, async ({ handle, bytes }) => {
    if (bytes > maxBytes) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} is larger than ${maxBytes} bytes`, reason: 'too-large' })
    const content = Buffer.alloc(bytes)
    const { bytesRead } = await handle.read(content, 0, bytes, 0)
    return content.subarray(0, bytesRead)
  })
}
