import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { maxLineBytes } from './line.ts'

/** One file of the durable log: canonical JSON lines, gapless from its first seq on. */
export interface SegmentFile {
  readonly file: string
  readonly firstSeq: number
}

/** The folder of the segments within a log's folder. */
export function segmentsFolder (directory: string): string {
  return path.join(directory, 'segments')
}

/** The segment that begins with this seq. */
export function segmentFile (folder: string, firstSeq: number): string {
  return path.join(folder, `${String(firstSeq).padStart(20, '0')}.jsonl`)
}

/**
 * The segments of a log in order; other files in the folder are not the log's and are passed over.
 * @throws FMG_ERR_FILE when there is no such folder.
 */
export async function listSegments (folder: string): Promise<SegmentFile[]> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${folder}`, cause })
  }
  return names.filter((name) => /^[0-9]{20}\.jsonl$/.test(name)).sort()
    .map((name) => ({ file: path.join(folder, name), firstSeq: Number(name.slice(0, 20)) }))
}

/** A run of whole lines, or what stands where one should be. */
export interface LineBlock {
  /** From byte 1 on: the byte before each line is free for its leaf's prefix. Written over by the next block. */
  readonly bytes: Buffer
  /** Offset of byte 1 in the file. */
  readonly offset: number
  /** Not lines, but a beginning without an end: the last thing that is given of a file. */
  readonly torn: boolean
}

const chunkBytes = 1_048_576

/** Reads a segment in blocks of whole lines, in little memory however long it is. What is longer than a line may be ends the reading as torn. */
export async function * readLineBlocks (file: string): AsyncGenerator<LineBlock> {
  const buffer = Buffer.alloc(1 + maxLineBytes + 1 + chunkBytes)
  const handle = await open(file, 'r')
  try {
    let offset = 0
    let kept = 0
    while (kept <= maxLineBytes) {
      const { bytesRead } = await handle.read(buffer, 1 + kept, chunkBytes)
      if (bytesRead === 0) break
      const filled = 1 + kept + bytesRead
      buffer[0] = 0
      const end = Math.max(1, buffer.lastIndexOf(10, filled - 1) + 1)
      if (end > 1) yield { bytes: buffer.subarray(0, end), offset, torn: false }
      offset += end - 1
      buffer.copyWithin(1, end, filled)
      kept = filled - end
    }
    if (kept > 0) yield { bytes: buffer.subarray(0, 1 + kept), offset, torn: true }
  } finally {
    await handle.close()
  }
}
