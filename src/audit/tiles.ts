import { readFile } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { syncFolder } from '../files.ts'
import { digestBytes } from './merkle.ts'

/** Hashes of a full tile, and entries of a full bundle (C2SP tlog-tiles). */
export const tileWidth = 256

/** A tile of hashes at a level, or a bundle of entries; full at a width of 256. */
export interface Tile {
  readonly level: number | 'entries'
  readonly index: number
  /** Hashes or entries, 1 to 256. */
  readonly width: number
  readonly bytes: Uint8Array
}

/** Where a tile stands in the log's folder (C2SP tlog-tiles): `tile/0/x001/x234/067.p/8`. */
export function tilePath (level: number | 'entries', index: number, width: number): string {
  let place = threeDigits(index)
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) place = `x${threeDigits(rest)}/${place}`
  return `tile/${level}/${place}${width < tileWidth ? `.p/${width}` : ''}`
}

function threeDigits (index: number): string {
  return String(index % 1000).padStart(3, '0')
}

/**
 * Splits an entry bundle.
 * @throws FMG_ERR_LOG_INCONSISTENT when it does not end where its last entry does.
 */
export function parseBundle (bytes: Uint8Array): Uint8Array[] {
  const entries: Uint8Array[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 2 + entryLength(bytes, at)
    if (end > bytes.length) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: 'an entry bundle is cut short' })
    entries.push(bytes.subarray(at + 2, end))
    at = end
  }
  return entries
}

/** The first entries of a bundle, or the first hashes of a tile: the partial one of this width. */
export function cutTile (level: number | 'entries', bytes: Uint8Array, width: number): Uint8Array {
  let end = 0
  for (let entry = 0; entry < width; entry++) end += level === 'entries' ? 2 + entryLength(bytes, end) : digestBytes
  return bytes.subarray(0, end)
}

/** Length of the entry whose two bytes of length stand here; 0 after the end. */
export function entryLength (bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
}

/**
 * The bytes of a tile or entry bundle on disk, whatever they are; where a partial one is gone, the beginning of the full one
 * (C2SP tlog-tiles lets a log delete it then). `undefined` when neither is there.
 */
export async function readTile (folder: string, level: number | 'entries', index: number, width: number): Promise<Uint8Array | undefined> {
  const exact = await readIfThere(path.join(folder, tilePath(level, index, width)))
  if (exact !== undefined || width === tileWidth) return exact
  const full = await readIfThere(path.join(folder, tilePath(level, index, tileWidth)))
  return full === undefined ? undefined : cutTile(level, full, width)
}

/** Whether a tile stands on disk just so. */
export async function isOnDisk (folder: string, { level, index, width, bytes }: Tile): Promise<boolean> {
  const found = await readTile(folder, level, index, width)
  return found !== undefined && Buffer.compare(found, bytes) === 0
}

// By callback: thousands are read in a verification, and a FileHandle costs as much again.
async function readIfThere (file: string): Promise<Buffer | undefined> {
  return await new Promise((resolve) => { readFile(file, (error, bytes) => { resolve(error === null ? bytes : undefined) }) })
}

/**
 * Writes tiles, entry bundles first, and makes them durable, names and all, before it resolves. A tile that is there
 * already is written over.
 */
export async function writeTiles (folder: string, tiles: readonly Tile[]): Promise<void> {
  const folders = new Set<string>([folder])
  const [entries, hashes] = [tiles.filter(isBundle), tiles.filter((tile) => !isBundle(tile))]
  for (const group of [...pairs(entries), ...pairs(hashes)]) {
    await Promise.all(group.map(async (tile) => {
      const file = path.join(folder, tilePath(tile.level, tile.index, tile.width))
      if (!folders.has(path.dirname(file))) await makeFolder(path.dirname(file))
      await writeDurably(file, tile.bytes)
    }))
  }
  for (const name of folders) await syncFolder(name)

  async function makeFolder (name: string): Promise<void> {
    await mkdir(name, { recursive: true, mode: 0o700 })
    for (let above = name; above.length > folder.length; above = path.dirname(above)) folders.add(above)
  }
}

function isBundle ({ level }: Tile): boolean {
  return level === 'entries'
}

// Two at a time: of Node's four threads for files, the others are for the segment, for whose sync answers wait.
function * pairs<T> (items: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += 2) yield items.slice(at, at + 2)
}

async function writeDurably (file: string, bytes: Uint8Array): Promise<void> {
  // Under another name first: a tile that is there is whole, also one that no checkpoint came to promise.
  const temporary = `${file}.tmp`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
}

/** Deletes the partial tiles that these full ones have made needless. */
export async function removePartials (folder: string, tiles: readonly Tile[]): Promise<void> {
  for (const { level, index } of tiles) {
    await rm(path.join(folder, `${tilePath(level, index, tileWidth)}.p`), { recursive: true, force: true })
  }
}
