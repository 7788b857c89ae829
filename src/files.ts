import { open, mkdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { guardError } from './errors.ts'

/** Makes a folder (and those above it) that only its owner may enter. */
export async function makePrivateFolder (folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
}

/**
 * Writes a whole file so that a reader, or a crash at any moment, finds the old content or the new, never a part:
 * temporary file beside it, fsync, rename, fsync of the folder.
 * @param mode permission bits, by default only the owner's (0600).
 */
export async function writeFileAtomic (file: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await open(temporary, 'wx', mode)
    try {
      await handle.writeFile(data)
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw guardError('FMG_ERR_FILE', { detail: `cannot write ${file}`, cause })
  }
  await syncFolder(path.dirname(file))
}

/** Makes the names in a folder durable: a renamed or new file survives a power cut only after this. */
export async function syncFolder (folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Reads a file that holds a secret.
 * @throws FMG_ERR_FILE when it is not there, or when anyone but its owner may read or write it.
 */
export async function readPrivateFile (file: string): Promise<Buffer> {
  let mode: number
  try {
    mode = (await stat(file)).mode
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${file}`, cause })
  }
  if ((mode & 0o077) !== 0) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} holds a secret but others may read it: chmod 600 ${file}` })
  }
  return await readFile(file)
}

/** Whether a file or folder of this name is there. */
export async function exists (file: string): Promise<boolean> {
  try {
    await stat(file)
    return true
  } catch {
    return false
  }
}

/** A folder held by this process until `release`. */
export interface FolderLock {
  release (): Promise<void>
}

/**
 * Takes a folder for this process alone, by a `lock` file that names it; a lock left by a process that is gone is taken over.
 * @throws FMG_ERR_FILE naming the process that holds it.
 */
export async function lockFolder (folder: string): Promise<FolderLock> {
  const file = path.join(folder, 'lock')
  const own = `${process.pid} ${processStart(process.pid)}`
  try {
    await writeNew(file, own)
  } catch {
    const [pid = '', started = ''] = (await readFile(file, 'utf8')).split(' ')
    if (isRunning(Number(pid)) && processStart(Number(pid)) === started) {
      throw guardError('FMG_ERR_FILE', { detail: `${folder} is in use by process ${pid}` })
    }
    await unlink(file)
    await writeNew(file, own)
  }
  return { release: async () => { await rm(file, { force: true }) } }
}

async function writeNew (file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  await handle.writeFile(text)
  await handle.close()
}

function isRunning (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // EPERM: it runs, as somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** When a process started, in clock ticks since boot: a process id alone comes round again. Empty where there is no proc(5). */
function processStart (pid: number): string {
  try {
    // proc(5): field 22, counted after the parenthesised name, which may itself hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1) ?? ''
    return fields.split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
