import { guardError } from '../errors.ts'
import { digestBytes, hashLeaf, toDigest } from './merkle.ts'
import { parseBundle, readTile, tilePath, tileWidth } from './tiles.ts'
import type { LogTree } from './tree.ts'

/**
 * Adds the records before this seq, whose lines are no longer kept, to an empty tree: from the tiles of level 0, which stay, and, of the bundle in which the
 * lines that are kept begin, from that bundle. Nothing is believed of them that the root over them all does not say.
 * @param each called after every record: where roots are compared.
 * @param drain called after every tile, to take full tiles away from the tree.
 * @throws FMG_ERR_LOG_INCONSISTENT naming the first record whose hash is not there.
 */
export async function addRetired (directory: string, before: number, tree: LogTree, each: () => void, drain: () => Promise<void> | void): Promise<void> {
  while (tree.size < before) {
    const [index, width] = [tree.size / tileWidth, Math.min(tileWidth, before - tree.size)]
    if (width === tileWidth) addLeaves(await readWhole(directory, 0, index, width), tree, each)
    else addEntries(await readWhole(directory, 'entries', index, width), width, tree, each)
    await drain()
  }
}

async function readWhole (directory: string, level: 0 | 'entries', index: number, width: number): Promise<Uint8Array> {
  const bytes = await readTile(directory, level, index, width)
  if (bytes === undefined || (level === 0 && bytes.length !== width * digestBytes)) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `record ${index * tileWidth} is missing: ${tilePath(level, index, tileWidth)}, which stands for it, is not whole` })
  }
  return bytes
}

function addLeaves (hashes: Uint8Array, tree: LogTree, each: () => void): void {
  for (let at = 0; at < hashes.length; at += digestBytes) {
    tree.appendLeaf(toDigest(hashes.subarray(at, at + digestBytes)))
    each()
  }
}

function addEntries (bundle: Uint8Array, width: number, tree: LogTree, each: () => void): void {
  const entries = parseBundle(bundle)
  if (entries.length !== width) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `record ${tree.size} is missing: the bundle that holds it is not whole` })
  for (const entry of entries) {
    tree.append(Buffer.from(entry), 0, entry.length, hashLeaf(entry))
    each()
  }
}
