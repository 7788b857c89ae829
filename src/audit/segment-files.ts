import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { maxLineBytes } from './line.ts'
import { chunkBytes, isCompressed, openSegment } from './segment-source.ts'

/** Bytes that no segment has, whatever it was told to grow to. */
export const maxSegmentBytes = 8_589_934_592

/** One file of the durable log: canonical JSON lines, gapless from its first seq on, or the same compressed (RFC 1952). */
export interface SegmentFile {
  readonly file: string
  readonly firstSeq: number
  /** What its lines can take at most, up to the next segment. */
  readonly maxBytes: number
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
  const found = new Map<number, string>()
  for (const name of names.filter((name) => /^[0-9]{20}\.jsonl(?:\.gz)?$/.test(name)).sort()) {
    const firstSeq = Number(name.slice(0, 20))
    // A crash may leave a segment beside what it was compressed to: the one that was written line by line counts.
    if (!found.has(firstSeq)) found.set(firstSeq, path.join(folder, name))
  }
  const seqs = [...found.keys()]
  return Array.from(found, ([firstSeq, file], index) => ({ file, firstSeq, maxBytes: mostBytes(firstSeq, seqs[index + 1]) }))
}

function mostBytes (firstSeq: number, nextSeq: number | undefined): number {
  return nextSeq === undefined ? maxSegmentBytes : Math.min(maxSegmentBytes, (nextSeq - firstSeq) * (maxLineBytes + 1))
}

/** A run of whole lines, or what stands where one should be. */
export interface LineBlock {
  /** From byte 1 on: the byte before each line is free for its leaf's prefix. Written over by the next block. */
  readonly bytes: Buffer
  /** Offset of byte 1 in the file; in what it inflates to, where it is compressed. */
  readonly offset: number
  /** Not lines, but a beginning without an end: the last thing that is given of a file. */
  readonly torn: boolean
}

/** What part of a segment is read. */
export interface ReadLinesOptions {
  /** Where a line begins, in bytes of the lines. Default 0. */
  readonly from?: number
  /** What a compressed segment may inflate to. Default 8 GiB. */
  readonly maxBytes?: number
}

/**
 * Reads a segment in blocks of whole lines, in little memory however long it is. What is longer than a line may be ends the reading as torn.
 * @throws FMG_ERR_LOG_INCONSISTENT for a compressed one that is cut, damaged, of more bytes than it may be, or that does not end with a line.
 */
export async function * readLineBlocks (file: string, { from = 0, maxBytes = maxSegmentBytes }: ReadLinesOptions = {}): AsyncGenerator<LineBlock> {
  const buffer = Buffer.alloc(1 + maxLineBytes + 1 + chunkBytes)
  const source = await openSegment(file, from, maxBytes)
  try {
    let offset = from
    let kept = 0
    while (kept <= maxLineBytes) {
      const bytesRead = await source.read(buffer, 1 + kept)
      if (bytesRead === 0) break
      const filled = 1 + kept + bytesRead
      buffer[0] = 0
      const end = Math.max(1, buffer.lastIndexOf(10, filled - 1) + 1)
      if (end > 1) yield { bytes: buffer.subarray(0, end), offset, torn: false }
      offset += end - 1
      buffer.copyWithin(1, end, filled)
      kept = filled - end
    }
    if (kept === 0) return
    // Only what is being written can be torn, and that is not compressed.
    if (isCompressed(file)) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${file} does not end with a line` })
    yield { bytes: buffer.subarray(0, 1 + kept), offset, torn: true }
  } finally {
    await source.close()
  }
}
