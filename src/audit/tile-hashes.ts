import { guardError } from '../errors.ts'
import { digestBytes, hashNode, isPowerOfTwo, toDigest, type Digest } from './merkle.ts'
import { readTile, tilePath, tileWidth } from './tiles.ts'

/** Hashes of the subtrees that a Merkle tree is made of: of the leaves from `start` up to, and not with, `end`. */
export type SubtreeHashes = (start: number, end: number) => Promise<Digest>

/**
 * The subtrees of a log of so many records, from its tiles on disk (C2SP tlog-tiles), each of which is read once. `size` is that of a published checkpoint:
 * the partial tiles of an earlier one may be gone, and are beginnings of the same.
 * The tiles are believed: what comes of them is to be held against the root of a checkpoint.
 * Rejects with FMG_ERR_LOG_INCONSISTENT where a tile is missing or cut short.
 */
export function tileHashes (directory: string, size: number): SubtreeHashes {
  const tiles = new Map<string, Promise<Digest[]>>()

  async function subtree (start: number, end: number): Promise<Digest> {
    if (isPowerOfTwo(end - start)) return await complete(start, end - start)
    const middle = start + splitPoint(end - start)
    return hashNode(await complete(start, middle - start), await subtree(middle, end))
  }

  /** Of leaves whose number is a power of two, and the first of which is a multiple of it. */
  async function complete (start: number, leaves: number): Promise<Digest> {
    let level = 0
    let span = 1
    for (; span * tileWidth <= leaves; span *= tileWidth) level++
    const first = start / span
    const hashes = await tile(level, Math.floor(first / tileWidth), span)
    return fold(hashes.slice(first % tileWidth, first % tileWidth + leaves / span))
  }

  async function tile (level: number, index: number, span: number): Promise<Digest[]> {
    const name = `${level}/${index}`
    const reading = tiles.get(name) ?? readHashes(directory, level, index, Math.min(tileWidth, Math.floor(size / span) - index * tileWidth))
    tiles.set(name, reading)
    return await reading
  }

  return subtree
}

/** The largest power of two below a number above 1 (RFC 6962 section 2.1). */
export function splitPoint (leaves: number): number {
  let k = 1
  while (k * 2 < leaves) k *= 2
  return k
}

async function readHashes (directory: string, level: number, index: number, width: number): Promise<Digest[]> {
  const bytes = await readTile(directory, level, index, width)
  if (bytes?.length !== width * digestBytes) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${tilePath(level, index, width)} is missing or cut short` })
  return Array.from({ length: width }, (_, at) => toDigest(bytes.subarray(at * digestBytes, (at + 1) * digestBytes)))
}

/** The root over so many hashes: a power of two. */
function fold ([first = '', ...others]: readonly Digest[]): Digest {
  if (others.length === 0) return first
  const half = (others.length + 1) / 2
  return hashNode(fold([first, ...others.slice(0, half - 1)]), fold(others.slice(half - 1)))
}
