import { readFile } from 'node:fs/promises'
import { guardError } from '../errors.ts'
import { exists } from '../files.ts'
import { openCheckpoint, type Checkpoint } from './checkpoint.ts'
import { digestBytes, toDigest } from './merkle.ts'
import type { VerifierKey } from './note.ts'
import { checkpointFile } from './publisher.ts'
import { addRetired } from './retired-leaves.ts'
import { retiredBefore } from './retirement.ts'
import { replay, type ReplayEnd } from './replay.ts'
import { listSegments, segmentsFolder, type SegmentFile } from './segment-files.ts'
import { cutFile } from './segment-writer.ts'
import { isOnDisk, readTile, tileWidth, writeTiles, type Tile } from './tiles.ts'
import { createTree, type LogTree } from './tree.ts'

/** Something that was put right while a log was opened, and that the log is to tell of. */
export interface Repair {
  readonly reason: 'torn-line' | 'checkpoint-missing' | 'tiles-rebuilt'
  readonly detail: Readonly<Record<string, unknown>>
}

/** What a log was found to be: where appending and publishing go on. */
export interface Recovered {
  /** Over all lines, those after the checkpoint too. */
  readonly tree: LogTree
  /** The checkpoint, when all that it promises is on disk. */
  readonly published: Checkpoint | undefined
  readonly newest: ReplayEnd['newest']
  readonly repairs: readonly Repair[]
}

/** Bytes of tiles that are gathered before they are written, while a tree is rebuilt. */
const rebuildBytes = 16_777_216

/**
 * Finds where a log stands: checks the checkpoint's signature, takes the tree up from the tiles at its right edge, replays
 * the lines after them, and cuts a torn last line. Tiles that are missing or wrong there are rebuilt from the segments, and a
 * missing checkpoint is no obstacle: only lines that contradict a checkpoint, or each other, are.
 * @throws FMG_ERR_LOG_INCONSISTENT when they do. No file is changed then.
 */
export async function recoverLog (directory: string, key: VerifierKey): Promise<Recovered> {
  const checkpoint = await readCheckpoint(directory, key)
  const segments = await listSegments(segmentsFolder(directory))
  const firstSeq = segments[0]?.firstSeq ?? 0
  const retired = firstSeq === 0 ? 0 : await retiredBefore(directory, checkpoint?.size ?? 0)
  if (firstSeq > retired) throw inconsistent(`the first segment is missing: record ${retired}, and no record says that it was retired`)
  if (checkpoint === undefined) {
    const missing: Repair[] = segments.length === 0 ? [] : [{ reason: 'checkpoint-missing', detail: {} }]
    return await rebuild({ directory, segments, checkpoint, repairs: missing })
  }
  return await resume(directory, segments, checkpoint) ??
    await rebuild({ directory, segments, checkpoint, repairs: [{ reason: 'tiles-rebuilt', detail: { tiles: 'all' } }] })
}

async function readCheckpoint (directory: string, key: VerifierKey): Promise<Checkpoint | undefined> {
  const file = checkpointFile(directory)
  return await exists(file) ? openCheckpoint(await readFile(file), key) : undefined
}

/** Reads the right edge of the tiles and the lines after it, however long the log is. `undefined` when the two do not fit. */
async function resume (directory: string, segments: readonly SegmentFile[], checkpoint: Checkpoint): Promise<Recovered | undefined> {
  const tree = await resumeTree(directory, checkpoint.size)
  if (tree === undefined) return undefined
  const end = await replay({ segments, tree, checkpoint, drain: async () => { await drain(directory, tree) } })
  if (end === undefined) return undefined
  const damaged = await missing(directory, end.edge)
  if (damaged.length > 0) await writeTiles(directory, damaged)
  const repairs: Repair[] = damaged.length > 0 ? [{ reason: 'tiles-rebuilt', detail: { tiles: damaged.length } }] : []
  return { tree, published: checkpoint, newest: end.newest, repairs: [...repairs, ...await cut(end)] }
}

/** The tree of a log's full bundles; `undefined` when a tile that it needs is missing. */
async function resumeTree (directory: string, size: number): Promise<LogTree | undefined> {
  const start = size - size % tileWidth
  const tree = createTree(start)
  for (let level = 1, nodes = start / tileWidth; nodes > 0; level++, nodes = Math.floor(nodes / tileWidth)) {
    const width = nodes % tileWidth
    if (width === 0) continue
    const tile = await readTile(directory, level, Math.floor(nodes / tileWidth), width)
    if (tile === undefined) return undefined
    for (let at = 0; at < tile.length; at += digestBytes) tree.appendSubtree(level, toDigest(tile.subarray(at, at + digestBytes)))
  }
  return tree
}

async function missing (directory: string, tiles: readonly Tile[]): Promise<Tile[]> {
  const there = await Promise.all(tiles.map(async (tile) => await isOnDisk(directory, tile)))
  return tiles.filter((_, index) => there[index] === false)
}

interface Rebuild {
  readonly directory: string
  readonly segments: readonly SegmentFile[]
  readonly checkpoint: Checkpoint | undefined
  readonly repairs: readonly Repair[]
}

/** Reads all lines, twice when there is a checkpoint to hold them against: tiles are evidence, and not written over on suspicion. */
async function rebuild ({ directory, segments, checkpoint, repairs }: Rebuild): Promise<Recovered> {
  if (checkpoint !== undefined) {
    const trial = await beginTree(directory, segments, (tree) => { tree.dropFull(tree.full.length) })
    const holds = await replay({ segments, tree: trial, checkpoint, drain: () => { trial.dropFull(trial.full.length) } })
    if (holds === undefined) throw inconsistent(`the first ${checkpoint.size} records do not have the root of their checkpoint`)
  }
  const tree = await beginTree(directory, segments, async (tree) => { await drain(directory, tree) })
  const end = await replay({ segments, tree, checkpoint: undefined, drain: async () => { await drain(directory, tree) } })
  return { tree, published: undefined, newest: end?.newest, repairs: [...repairs, ...await cut(end)] }
}

/** A tree of what comes before the first segment. */
async function beginTree (directory: string, [first]: readonly SegmentFile[], drain: (tree: LogTree) => Promise<void> | void): Promise<LogTree> {
  const tree = createTree()
  await addRetired(directory, first?.firstSeq ?? 0, tree, () => {}, () => drain(tree))
  return tree
}

async function drain (directory: string, tree: LogTree): Promise<void> {
  if (tree.fullBytes < rebuildBytes) return
  const full = tree.full.slice()
  await writeTiles(directory, full)
  tree.dropFull(full.length)
}

/** Ends the last segment after its last whole line. */
async function cut (end: ReplayEnd | undefined): Promise<Repair[]> {
  if (end?.newest === undefined) return []
  // Also when there is nothing to cut: what a killed process wrote may be in memory only, and is built upon from here on.
  await cutFile(end.newest.file, end.newest.length)
  return end.tornBytes === 0 ? [] : [{ reason: 'torn-line', detail: { bytes: end.tornBytes } }]
}

function inconsistent (detail: string): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail })
}
