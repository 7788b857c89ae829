import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists, makePrivateFolder, writeFileAtomic } from '../files.ts'
import { readClaim, type Claim } from './checkpoint.ts'
import { openIndexBlock, readIndexBlock, writeIndexBlock, type IndexBlock } from './index-block.ts'
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
}

/** Records in an index. */
export interface IndexedLog {
  readonly records: number
  /** Of those, how many its blocks did not hold before. */
  readonly made: number
}

/** What of a log the index holds. */
export interface IndexedParts {
  /** The seq with which the log begins, now that older records are retired. */
  readonly begin: number
  /** The first block none of whose records is retired: of others the bundles are gone. */
  readonly first: number
  /** The block after the last that the checkpoint, unverified, covers. */
  readonly end: number
}

/** @throws FMG_ERR_FILE when there is no log in the folder. */
export async function partsOf (directory: string): Promise<IndexedParts> {
  const [oldest] = await listSegments(segmentsFolder(directory))
  const begin = oldest?.firstSeq ?? 0
  const first = Math.ceil(begin / blockRecords)
  return { begin, first, end: Math.max(first, Math.floor((await claimOf(directory)).size / blockRecords)) }
}

/** Where an index is kept that nobody said otherwise of. */
export function indexFolder (directory: string): string {
  return path.join(directory, 'index')
}

/** How the log's checkpoint names it, unverified; empty where there is none. */
export async function readOrigin (directory: string): Promise<string> {
  return (await claimOf(directory)).origin
}

async function claimOf (directory: string): Promise<Pick<Claim, 'origin' | 'size'>> {
  const file = checkpointFile(directory)
  return await exists(file) ? readClaim(await readFile(file), undefined) : { origin: '', size: 0 }
}

/**
 * Makes what the index of a log lacks: a block for every 65,536 records that the checkpoint covers.
 * Reads the log as it stands, and does not verify it.
 * @throws FMG_ERR_FILE when the index cannot be written.
 * @throws FMG_ERR_LOG_INCONSISTENT when a tile or an entry bundle is missing or no part of a log.
 */
export async function indexLog (options: LogIndexOptions): Promise<IndexedLog> {
  const { first, end } = await partsOf(options.directory)
  let made = 0
  for (let number = first; number < end; number++) {
    const { block, isNew } = await findBlock(options, number)
    await block.close()
    if (isNew) made += blockRecords
  }
  return { records: (end - first) * blockRecords, made }
}

/** Opens a block, and makes it when it is not there or not of this log. Throws as {@link indexLog}. */
export async function openBlock (options: LogIndexOptions, number: number): Promise<IndexBlock> {
  return (await findBlock(options, number)).block
}

async function findBlock ({ directory, index = indexFolder(directory) }: LogIndexOptions, number: number): Promise<{ readonly block: IndexBlock, readonly isNew: boolean }> {
  const file = path.join(index, `${String(number * blockRecords).padStart(20, '0')}.block`)
  const tile = hash('sha256', await tileOf(directory, 1, number))
  const found = await openIndexBlock(file)
  if (found?.tile === tile) return { block: found, isNew: false }
  await found?.close()
  const records: LoggedRecord[] = []
  for (let bundle = number * tileWidth; bundle < (number + 1) * tileWidth; bundle++) records.push(...await readBundle(directory, bundle))
  await makePrivateFolder(index)
  await writeFileAtomic(file, writeIndexBlock(records, tile))
  return { block: await readIndexBlock(file), isNew: true }
}

/** Records of a full entry bundle: those in these places, or all 256. */
export async function readBundle (directory: string, bundle: number, places?: ReadonlySet<number>): Promise<LoggedRecord[]> {
  const name = tilePath('entries', bundle, tileWidth)
  const entries = parseBundle(await tileOf(directory, 'entries', bundle))
  if (entries.length !== tileWidth) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${name} holds ${entries.length} entries` })
  return entries.filter((_, place) => places?.has(place) ?? true).map((entry) => {
    const record = parseRecord(Buffer.from(entry).toString())
    if (record === undefined) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${name} holds what is no record` })
    return record
  })
}

async function tileOf (directory: string, level: number | 'entries', index: number): Promise<Uint8Array> {
  const tile = await readTile(directory, level, index, tileWidth)
  if (tile === undefined) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${tilePath(level, index, tileWidth)} is missing` })
  return tile
}
