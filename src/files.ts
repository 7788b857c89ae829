import { link, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { guardError } from './errors.ts'

/** Makes a folder (and those above it) that only its owner may enter. */
export async function makePrivateFolder (folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
}

/**
 * Writes a whole file so that a reader, or a crash at any moment, finds the old content or the new, never a part:
 * temporary file beside it, fsync, rename, fsync of the folder.
 * @param mode permission bits, by default only the owner's (0600).
 * @param beside what the temporary file is named after and stands beside, where it must not stand in the file's own folder.
 */
export async function writeFileAtomic (file: string, data: string | Uint8Array, mode = 0o600, beside = file): Promise<void> {
  const temporary = `${beside}.${randomBytes(6).toString('hex')}.tmp`
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

/**
 * Reads a file.
 * @throws FMG_ERR_FILE that names it.
 */
export async function readNamedFile (file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${file}`, cause })
  }
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

/** A lock held by this process until `release`. */
export interface Lock {
  release (): Promise<void>
}

/**
 * Takes a folder for this process alone, by a `lock` file that names it; a lock left by a process that is gone is taken over.
 * @throws FMG_ERR_FILE naming the process that holds it.
 */
export async function lockFolder (folder: string): Promise<Lock> {
  const taken = await takeLock(path.join(folder, 'lock'))
  if (typeof taken === 'string') throw guardError('FMG_ERR_FILE', { detail: `${folder} is in use by process ${taken}` })
  return taken
}

/**
 * Waits for a short turn at something that several processes change.
 * @throws FMG_ERR_FILE naming the process that still holds it after `timeoutMs`.
 */
export async function lockFile (file: string, timeoutMs = 5000): Promise<Lock> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const taken = await takeLock(file)
    if (typeof taken !== 'string') return taken
    if (Date.now() >= deadline) throw guardError('FMG_ERR_FILE', { detail: `${file} is held by process ${taken}` })
    await setTimeout(5)
  }
}

/** The lock, or the id of the process that has it. */
async function takeLock (file: string): Promise<Lock | string> {
  if (await writeNew(file)) return { release: async () => { await rm(file, { force: true }) } }
  const holder = await readHolder(file)
  const space = holder.indexOf(' ')
  const [pid, started] = [holder.slice(0, space), holder.slice(space + 1)]
  if (pid === '' || isHeldBy(Number(pid), started)) return pid
  // Of all who see a dead holder's lock one may remove it, and only as long as it is still that one.
  const removal = await takeLock(`${file}.removal`)
  if (typeof removal === 'string') return removal
  if (await readHolder(file) === holder) await rm(file)
  await removal.release()
  return await takeLock(file)
}

async function readHolder (file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '')
}

/** A link appears with its content already in it: nobody reads a lock that does not yet name its holder. */
async function writeNew (file: string): Promise<boolean> {
  const complete = `${file}.${randomBytes(6).toString('hex')}`
  await writeFile(complete, `${process.pid} ${processStart(process.pid)}`, { mode: 0o600 }).catch(async (cause: unknown) => {
    // On a full disk the file is there, and nothing in it.
    await rm(complete, { force: true })
    throw guardError('FMG_ERR_FILE', { detail: `cannot write ${file}`, cause })
  })
  const isNew = await link(complete, file).then(() => true, () => false)
  await rm(complete)
  return isNew
}

function isHeldBy (pid: number, started: string): boolean {
  if (started !== '') return processStart(pid) === started
  // Where there is no proc(5) the process id must do, though it comes round again.
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return Reflect.get(Object(error), 'code') !== 'ESRCH'
  }
}

/** When a process started, in clock ticks since boot. Empty for one that is gone, and where there is no proc(5). */
function processStart (pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Counted after the parenthesised name, which may itself hold spaces: field 3 is the state, field 22 the start.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie holds nothing any more, whenever its parent comes to notice.
    return fields[0] === 'Z' ? '' : String(fields[19])
  } catch {
    return ''
  }
}
