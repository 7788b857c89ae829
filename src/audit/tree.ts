import { bufferPool, type BufferPool } from './buffer-pool.ts'
import { digestBytes, emptyRoot, hashNode, type Digest } from './merkle.ts'
import { tileWidth, type Tile } from './tiles.ts'

/**
 * The right edge of a Merkle tree (RFC 6962) over the log's lines, and the tiles that grow there: all that appending needs,
 * however long the log is. It reads and writes nothing.
 */
export interface LogTree {
  /** Leaves. */
  readonly size: number
  /** Tiles and entry bundles that became full since the last `takeFull`, in the order in which they did. */
  readonly full: readonly Tile[]
  /** Bytes in `full`. */
  readonly fullBytes: number
  /** Adds the line that stands in `bytes` from `start` to `end`, and its leaf hash. */
  append (bytes: Buffer, start: number, end: number, leaf: Digest): void
  /** Adds the leaf hash of a line that is no longer kept: its bundle is none of those that grow. Such lines come before all others. */
  appendLeaf (leaf: Digest): void
  /** Adds the hash of a full tile of the level below: how a tree is taken up again from its tiles. Lower levels must be empty. */
  appendSubtree (level: number, hash: Digest): void
  /** Forgets so many of the oldest full tiles, and grows new ones in their memory: nobody may look at them any more. */
  dropFull (count: number): void
  /** The partial tiles of this size (copies); none where a level has just filled up. */
  partial (): Tile[]
  /** MTH over all leaves. */
  root (): Digest
}

/** The root of a complete subtree, and the next larger one to its left. */
interface Subtree {
  readonly size: number
  readonly root: Digest
  readonly left: Subtree | undefined
}

/** One level of tiles: the tile that grows, and the complete subtrees that it is made of, the smallest first. */
interface Level {
  readonly number: number
  smallest: Subtree | undefined
  index: number
  width: number
  hashes: Buffer
  above: Level | undefined
}

const maxSpareBytes = 16_777_216

/** A tree without leaves; or one of `start` leaves, a multiple of 256, whose tiles are yet to be given by `appendSubtree`. */
export function createTree (start = 0): LogTree {
  const bottom = createLevel(0, start)
  const full: Tile[] = []
  const [bundles, tiles] = [bufferPool(maxSpareBytes), bufferPool(maxSpareBytes)]
  const bundle = createBundle(bundles)
  let fullBytes = 0

  function emit (tile: Tile): void {
    full.push(tile)
    fullBytes += tile.bytes.length
  }

  function push (level: Level, hash: Digest): void {
    level.hashes.write(hash, level.width * digestBytes, 'latin1')
    let subtree: Subtree = { size: 1, root: hash, left: level.smallest }
    // Two complete subtrees of one size are one of twice the size (RFC 6962 section 2.1).
    while (subtree.left?.size === subtree.size) {
      subtree = { size: subtree.size * 2, root: hashNode(subtree.left.root, subtree.root), left: subtree.left.left }
    }
    level.smallest = subtree
    level.width++
    if (level.width < tileWidth) return
    emit({ level: level.number, index: level.index, width: tileWidth, bytes: level.hashes })
    startTile(level, tiles.take(tileBytes))
    push(levelAbove(level, start), subtree.root)
  }

  return {
    get size () { return bottom.index * tileWidth + bottom.width },
    full,
    get fullBytes () { return fullBytes },
    append (bytes, start, end, leaf) {
      bundle.add(bytes, start, end)
      // Entries before tiles: a tile never promises an entry that is not there.
      if (bottom.width === tileWidth - 1) emit({ level: 'entries', index: bottom.index, width: tileWidth, bytes: bundle.take() })
      push(bottom, leaf)
    },
    appendLeaf (leaf) { push(bottom, leaf) },
    appendSubtree (number, hash) {
      let level = bottom
      while (level.number < number) level = levelAbove(level, start)
      push(level, hash)
    },
    dropFull (count) {
      for (const { level, bytes } of full.splice(0, count)) {
        fullBytes -= bytes.length
        const pool = level === 'entries' ? bundles : tiles
        pool.give(bytes)
      }
    },
    partial () {
      const partial: Tile[] = []
      const { index, width } = bottom
      if (width > 0) partial.push({ level: 'entries', index, width, bytes: bundle.copy() })
      for (let level: Level | undefined = bottom; level !== undefined; level = level.above) {
        const bytes = Buffer.from(level.hashes.subarray(0, level.width * digestBytes))
        if (level.width > 0) partial.push({ level: level.number, index: level.index, width: level.width, bytes })
      }
      return partial
    },
    root () {
      let root: Digest | undefined
      for (let level: Level | undefined = bottom; level !== undefined; level = level.above) {
        for (let subtree = level.smallest; subtree !== undefined; subtree = subtree.left) {
          root = root === undefined ? subtree.root : hashNode(subtree.root, root)
        }
      }
      return root ?? emptyRoot
    }
  }
}

const tileBytes = tileWidth * digestBytes

function createLevel (number: number, leaves: number): Level {
  const index = Math.floor(leaves / tileWidth ** (number + 1))
  return { number, smallest: undefined, index, width: 0, hashes: Buffer.allocUnsafeSlow(tileBytes), above: undefined }
}

function levelAbove (level: Level, leaves: number): Level {
  level.above ??= createLevel(level.number + 1, leaves)
  return level.above
}

function startTile (level: Level, hashes: Buffer): void {
  level.index++
  level.width = 0
  level.smallest = undefined
  level.hashes = hashes
}

interface Bundle {
  add (source: Buffer, start: number, end: number): void
  copy (): Buffer
  /** Gives what was gathered and starts anew. */
  take (): Buffer
}

/** Entries of C2SP tlog-tiles: each its length in two bytes, big-endian, then itself. */
function createBundle (pool: BufferPool): Bundle {
  let bytes = pool.take(32_768)
  let length = 0
  return {
    add (source, start, end) {
      while (length + 2 + end - start > bytes.length) bytes = grown(bytes)
      length = bytes.writeUInt16BE(end - start, length)
      length += source.copy(bytes, length, start, end)
    },
    copy: () => Buffer.from(bytes.subarray(0, length)),
    take () {
      const taken = bytes.subarray(0, length)
      bytes = pool.take(bytes.length)
      length = 0
      return taken
    }
  }
}

function grown (bytes: Buffer): Buffer {
  const larger = Buffer.allocUnsafeSlow(bytes.length * 2)
  bytes.copy(larger)
  return larger
}
