import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { exists, makePrivateFolder, writeFileAtomic } from '../files.ts'
import type { Checkpoint } from './checkpoint.ts'

/** Keeps a checkpoint that is about to be published, where it is one to keep. */
export type Keep = (checkpoint: Checkpoint) => Promise<void>

const folderName = 'checkpoints'

/**
 * Keeps of each hour (UTC) the first checkpoint that covers a record, in a file of that hour's name: some 2 MB a year.
 * The hour is this machine's word; what was signed, and when a witness saw it, is not.
 * @param clock milliseconds since the epoch.
 */
export function keepHourly (directory: string, clock: () => number): Keep {
  let last: string | undefined
  return async ({ size, note }) => {
    const hour = hourOf(clock())
    if (size === 0 || hour === last) return
    const file = path.join(directory, folderName, hour)
    // An hour that has its checkpoint keeps it, also over a restart and when the clock is set back.
    if (!await exists(file)) await writeKept(directory, hour, note)
    last = hour
  }
}

/** The hour of a time in milliseconds since the epoch, as `2026-11-23T03`. */
function hourOf (time: number): string {
  return new Date(time).toISOString().slice(0, 13)
}

/** Writes a kept checkpoint under this name, durably, in the place of another of that name. */
async function writeKept (directory: string, name: string, note: string): Promise<void> {
  await makePrivateFolder(path.join(directory, folderName))
  await writeFileAtomic(path.join(directory, folderName, name), note)
}

/** Where the last checkpoint that a witness cosigned stands, within the log's folder. */
export function cosignedFile (witnessId: string): string {
  return path.join(folderName, `witness-${witnessId}`)
}

/** What a witness cosigned. */
export interface Cosigned {
  /** Of the witness' key. */
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly time: number
  /** The checkpoint with its cosignatures. */
  readonly note: string
}

/** Keeps what a witness cosigned: of each hour the first, and the last of all. */
export async function keepCosigned (directory: string, { id, time, note }: Cosigned): Promise<void> {
  const name = `${hourOf(time)}-${id}`
  if (!await exists(path.join(directory, folderName, name))) await writeKept(directory, name, note)
  await writeKept(directory, path.basename(cosignedFile(id)), note)
}

/** The files, within the log's folder, of the last checkpoint that each witness cosigned. */
export async function listCosigned (directory: string): Promise<string[]> {
  return (await listKept(directory)).filter((name) => path.basename(name).startsWith('witness-'))
}

/** The files, within the log's folder, of the earlier checkpoints that it keeps; none where it has no folder of them. What was deleted cannot be missed. */
export async function listKept (directory: string): Promise<string[]> {
  const folder = path.join(directory, folderName)
  const names = await exists(folder) ? await readdir(folder) : []
  return names.filter((name) => !name.endsWith('.tmp')).sort().map((name) => path.join(folderName, name))
}
