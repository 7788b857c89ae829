import { link, mkdir, open, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
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
  const lock = { release: async () => { await rm(file, { force: true }) } }
  if (await writeNew(file)) return lock
  const holder = await readFile(file, 'utf8').catch(() => '')
  const [pid = '', started = ''] = holder.split(' ')
  if (pid === '' || isHeldBy(Number(pid), started)) return pid
  await moveAside(file, holder)
  return await writeNew(file) ? lock : pid
}

/** Removes the lock of a dead holder, and only that: another process may have taken it over a moment ago. */
async function moveAside (file: string, holder: string): Promise<void> {
  const aside = `${file}.${randomBytes(6).toString('hex')}`
  await rename(file, aside).catch(() => undefined)
  if (await readFile(aside, 'utf8').catch(() => holder) !== holder) await link(aside, file).catch(() => undefined)
  await rm(aside, { force: true })
}

async function writeNew (file: string): Promise<boolean> {
  const complete = `${file}.${randomBytes(6).toString('hex')}`
  await writeFile(complete, `${process.pid} ${processStart(process.pid)}`, { mode: 0o600 })
  try {
    // A link appears with its content already in it: nobody reads a lock that does not yet name its holder.
    await link(complete, file)
    return true
  } catch {
    return false
  } finally {
    await unlink(complete)
  }
}

function isHeldBy (pid: number, started: string): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it runs, as somebody else.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  return processStart(pid) === started
}

/** When a process started, in clock ticks since boot: a process id alone comes round again. Empty where there is no proc(5). */
function processStart (pid: number): string {
  try {
    // Field 22, counted after the parenthesised name, which may itself hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    // A zombie holds nothing any more, whenever its parent comes to notice.
    return fields[0] === 'Z' ? '' : fields[19] ?? ''
  } catch {
    return ''
  }
}
