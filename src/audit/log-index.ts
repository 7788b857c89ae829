import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists, makePrivateFolder, writeFileAtomic } from '../files.ts'
import { parseCheckpointText, type Checkpoint } from './checkpoint.ts'
import { openIndexBlock, writeIndexBlock, type IndexBlock } from './index-block.ts'
import { parseNote } from './note.ts'
import { checkpointFile } from './publisher.ts'
import { parseRecord, type LoggedRecord } from './read-records.ts'
import { listSegments, segmentsFolder } from './segment-files.ts'
import { parseBundle, readTile, tilePath, tileWidth } from './tiles.ts'

/** Records of a block: those under a full tile of level 1. */
export const blockRecords = tileWidth * tileWidth

export interface LogIndexOptions {
  /** The log's folder. It may be in use. */
  readonly directory: string
  /** Where the index is kept, which can be made anew from the log at any time; by default the folder `index` in the log's. */
  readonly index?: string | undefined
  /** Told of every block that was made. */
  readonly onBlock?: ((number: number) => void) | undefined
}

/** How many blocks a log's checkpoint covers, unverified. */
export async function countBlocks (directory: string): Promise<number> {
  return Math.floor((await readClaim(directory)).size / blockRecords)
}

/** The first block none of whose records is retired: of others the bundles are gone. */
export async function firstBlock (directory: string): Promise<number> {
  const [first] = await listSegments(segmentsFolder(directory))
  return Math.ceil((first?.firstSeq ?? 0) / blockRecords)
}

/** Where an index is kept that nobody said otherwise of. */
export function indexFolder (directory: string): string {
  return path.join(directory, 'index')
}

/** How the log's checkpoint names it, unverified; empty where there is none. */
export async function readOrigin (directory: string): Promise<string> {
  return (await readClaim(directory)).origin
}

async function readClaim (directory: string): Promise<Pick<Checkpoint, 'origin' | 'size'>> {
  const file = checkpointFile(directory)
  return await exists(file) ? parseCheckpointText(parseNote(await readFile(file)).text) : { origin: '', size: 0 }
}

/**
 * Makes what the index of a log lacks: a block for every 65,536 records that the checkpoint covers.
 * Reads the log as it stands, and does not verify it.
 * @returns how many records the blocks hold.
 * @throws FMG_ERR_FILE when the index cannot be written.
 * @throws FMG_ERR_LOG_INCONSISTENT when a tile or an entry bundle is missing or no part of a log.
 */
export async function indexLog (options: LogIndexOptions): Promise<number> {
  const [first, blocks] = [await firstBlock(options.directory), await countBlocks(options.directory)]
  for (let number = first; number < blocks; number++) await (await openBlock(options, number)).close()
  return Math.max(0, blocks - first) * blockRecords
}

/** Opens a block, and makes it when it is not there or not of this log. Throws as {@link indexLog}. */
export async function openBlock ({ directory, index = indexFolder(directory), onBlock }: LogIndexOptions, number: number): Promise<IndexBlock> {
  const file = path.join(index, `${String(number * blockRecords).padStart(20, '0')}.block`)
  const tile = hash('sha256', await tileOf(directory, 1, number))
  const found = await openIndexBlock(file)
  if (found?.tile === tile) return found
  await found?.close()
  const records: LoggedRecord[] = []
  for (let bundle = number * tileWidth; bundle < (number + 1) * tileWidth; bundle++) records.push(...await readBundle(directory, bundle))
  await makePrivateFolder(index)
  await writeFileAtomic(file, writeIndexBlock(records, tile))
  onBlock?.(number)
  const made = await openIndexBlock(file)
  if (made === undefined) throw guardError('FMG_ERR_FILE', { detail: `${file} was written and cannot be read` })
  return made
}

/** Records of a full entry bundle: those in these places, or all 256. */
export async function readBundle (directory: string, bundle: number, places?: readonly number[]): Promise<LoggedRecord[]> {
  const entries = parseBundle(await tileOf(directory, 'entries', bundle))
  return (places?.flatMap((place) => entries[place] ?? []) ?? entries).map((entry) => {
    const record = parseRecord(Buffer.from(entry).toString())
    if (record === undefined) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${tilePath('entries', bundle, tileWidth)} holds what is no record` })
    return record
  })
}

async function tileOf (directory: string, level: number | 'entries', index: number): Promise<Uint8Array> {
  const tile = await readTile(directory, level, index, tileWidth)
  if (tile === undefined) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${tilePath(level, index, tileWidth)} is missing` })
  return tile
}
