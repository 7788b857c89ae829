import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { exists, syncFolder } from '../files.ts'
import { indexFolder } from './log-index.ts'
import { readRetirement, writeRetirement, type RetirementNote } from './retirement.ts'
import { listSegments, segmentsFolder } from './segment-files.ts'
import { compressedName } from './segment-source.ts'
import { tilePath, tileWidth } from './tiles.ts'

/**
 * Deletes the segments that a durable record says are retired, and the entry bundles that lie wholly before the first that is kept. The tiles of hashes stay.
 * Noted before and after, so that what a crash interrupts is finished by {@link finishRetiring}.
 */
export async function retireSegments (directory: string, note: RetirementNote): Promise<void> {
  await writeRetirement(directory, note)
  await deleteRetired(directory, note)
}

/** Deletes what a crash has left of an earlier retirement. */
export async function finishRetiring (directory: string): Promise<void> {
  const note = await readRetirement(directory)
  if (note !== undefined && note.from < note.before) await deleteRetired(directory, note)
}

async function deleteRetired (directory: string, note: RetirementNote): Promise<void> {
  const folder = segmentsFolder(directory)
  for (const { file, firstSeq } of await listSegments(folder)) {
    if (firstSeq >= note.before) break
    for (const name of [file, compressedName(file)]) await rm(name, { force: true })
  }
  await syncFolder(folder)
  for (let index = Math.floor(note.from / tileWidth); index < Math.floor(note.before / tileWidth); index++) {
    await rm(path.join(directory, tilePath('entries', index, tileWidth)), { force: true })
  }
  await deleteBlocks(indexFolder(directory), note.before)
  await writeRetirement(directory, { ...note, from: note.before })
}

/** The blocks of the index that hold any of them. */
async function deleteBlocks (folder: string, before: number): Promise<void> {
  const names = await exists(folder) ? await readdir(folder) : []
  for (const name of names) if (/^[0-9]{20}\.block$/.test(name) && Number(name.slice(0, 20)) < before) await rm(path.join(folder, name), { force: true })
}
