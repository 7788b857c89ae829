import { readdir, realpath, rm } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { lockFile, type Lock } from '../files.ts'
import { envelopeName } from './sealed-bundle.ts'

// As `writeFileAtomic` and `sealModel` name what is not whole yet.
const unfinished = /^(.+)\.[0-9a-f]{12}\.tmp$/
const lockName = 'rewrap.lock'
// As `lockFile` does.
const unfinishedLock = /^rewrap\.lock(\.removal)*\.[0-9a-f]{12}$/

/**
 * The folder of a bundle without links on the way, so that what stands beside it is on the same disk.
 * @throws FMG_ERR_FILE when there is none.
 */
export async function realFolder (directory: string): Promise<string> {
  try {
    return await realpath(directory)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${directory}`, cause })
  }
}

/**
 * The sealed bundles of a folder: itself, or those in it at any depth, sorted. Links are not followed.
 * @throws FMG_ERR_FILE when there is none.
 */
export async function findBundles (folder: string): Promise<readonly string[]> {
  const found: string[] = []
  await walk(folder)
  if (found.length === 0) throw guardError('FMG_ERR_FILE', { detail: `${folder} holds no sealed bundle` })
  return found.sort()

  async function walk (parent: string): Promise<void> {
    const entries = await readdir(parent, { withFileTypes: true })
    if (entries.some((entry) => entry.name === envelopeName && entry.isFile())) found.push(parent)
    else for (const entry of entries) if (entry.isDirectory() && !unfinished.test(entry.name)) await walk(path.join(parent, entry.name))
  }
}

/**
 * Waits for a turn at these bundles, which no other process of this host changes meanwhile, and removes what runs that were killed left beside them.
 * @throws FMG_ERR_FILE naming the process that is at it.
 */
export async function lockBundles (bundles: readonly string[]): Promise<Lock> {
  const held: Lock[] = []
  const release = async (): Promise<void> => { for (const lock of held) await lock.release() }
  try {
    // In order: two who want several of the same wait for each other, not both for ever.
    for (const parent of [...new Set(bundles.map((bundle) => path.dirname(bundle)))].sort()) {
      held.push(await lockFile(path.join(parent, lockName)))
      await clear(parent, new Set(bundles))
    }
  } catch (error) {
    await release()
    throw error
  }
  return { release }
}

async function clear (parent: string, bundles: ReadonlySet<string>): Promise<void> {
  for (const entry of await readdir(parent, { withFileTypes: true })) {
    const [, name = ''] = unfinished.exec(entry.name) ?? []
    // Who waits for the turn just now writes his again.
    const isLeft = bundles.has(path.join(parent, name)) || unfinishedLock.test(entry.name)
    if (entry.isFile() && isLeft) await rm(path.join(parent, entry.name), { force: true })
  }
}
