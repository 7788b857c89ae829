import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { digestBytes } from './merkle.ts'
import { cutTile, entryLength, readTile, tilePath, tileWidth, type Tile } from './tiles.ts'

/** Something about a log that does not hold. */
export interface LogProblem {
  /** The first record that it concerns; absent where it cannot be told. */
  readonly seq?: number | undefined
  /** How many records from that one on it may concern; left out for one. */
  readonly records?: number | undefined
  readonly what: string
}

/** Says everything once, and leaves out what only repeats of a whole subtree what is known of a record in it. */
export function mostPrecise (problems: readonly LogProblem[]): LogProblem[] {
  const once = [...new Map(problems.map((problem) => [`${problem.seq ?? ''} ${problem.what}`, problem])).values()]
  return once.filter(({ seq, records }) => seq === undefined || records === undefined || !problems.some((other) =>
    other.seq !== undefined && other.seq >= seq && other.seq < seq + records && (other.records ?? 1) < records))
}

/**
 * Holds a tile as it should be against the one on disk, which may be wider: then against its beginning.
 * @returns `undefined` when they are equal.
 */
export async function checkTile (folder: string, tile: Tile, widthOnDisk = tile.width): Promise<LogProblem | undefined> {
  const { level, index, width } = tile
  const found = await readTile(folder, level, index, widthOnDisk)
  if (found === undefined) return { seq: seqOf(tile, 0), what: `${tilePath(level, index, widthOnDisk)} is missing` }
  const compared = widthOnDisk === width ? found : cutTile(level, found, width)
  return Buffer.compare(compared, tile.bytes) === 0
    ? undefined
    : { seq: seqOf(tile, firstDifference(tile, compared)), ...typeof level === 'number' && level > 0 ? { records: tileWidth ** level } : {}, what: `${tilePath(level, index, widthOnDisk)} ${lacks(level)}` }
}

/** Holds the partial tiles of earlier checkpoints against the tile that they are beginnings of. */
export async function checkPartials (folder: string, tile: Tile): Promise<LogProblem[]> {
  const { level, index, bytes } = tile
  const problems: LogProblem[] = []
  for (const name of await namesIn(path.join(folder, `${tilePath(level, index, tileWidth)}.p`))) {
    const width = Number(name)
    const earlier = width < tile.width ? await checkTile(folder, { level, index, width, bytes: cutTile(level, bytes, width) }) : undefined
    if (earlier !== undefined) problems.push(earlier)
  }
  return problems
}

async function namesIn (folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch {
    return []
  }
}

function lacks (level: number | 'entries'): string {
  if (level === 'entries') return 'does not hold the line'
  return level === 0 ? 'does not hold the hash of the line' : 'does not hold the hash of the tile below'
}

/** The first record under this place of a tile. */
function seqOf ({ level, index }: Tile, place: number): number {
  return (index * tileWidth + place) * (level === 'entries' ? 1 : tileWidth ** level)
}

/** The place of the first byte that is not as it should be; the last place when only what follows is not. */
function firstDifference ({ level, width, bytes }: Tile, found: Uint8Array): number {
  let at = 0
  while (at < found.length && found[at] === bytes[at]) at++
  let place = 0
  for (let end = 0; place < width - 1; place++) {
    end += level === 'entries' ? 2 + entryLength(bytes, end) : digestBytes
    if (end > at) break
  }
  return place
}
