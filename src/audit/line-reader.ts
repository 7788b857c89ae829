import { findLine } from './line-search.ts'
import { listSegments, readLineBlocks, segmentsFolder, type SegmentFile } from './segment-files.ts'
import { isCompressed } from './segment-source.ts'

/** Lines from a place on, without a gap. */
export interface ReadLines {
  /** Seq of the first: the one that was asked for, or, where that was retired, the first that is kept. */
  readonly firstSeq: number
  readonly lines: readonly string[]
}

/** Reads a log that grows. */
export interface LineReader {
  /** At most so many of the lines from this seq up to, and not with, `end`, all of which are durable; `undefined` when there are none. */
  read (seq: number, end: number, most: number): Promise<ReadLines | undefined>
}

/** Where the last reading ended. */
interface Place {
  readonly file: string
  readonly seq: number
  readonly offset: number
}

/** Remembers where it was, so that what was read is not read again. */
export function lineReader (directory: string): LineReader {
  let place: Place | undefined

  async function placeOf ({ file, firstSeq }: SegmentFile, seq: number): Promise<Place> {
    if (isCompressed(file)) return { file, seq: firstSeq, offset: 0 }
    if (place?.file === file && place.seq === seq) return place
    const offset = seq === firstSeq ? undefined : await findLine(file, seq)
    return offset === undefined ? { file, seq: firstSeq, offset: 0 } : { file, seq, offset }
  }

  return {
    async read (wanted, end, most) {
      const segments = await listSegments(segmentsFolder(directory))
      const index = Math.max(0, segments.findLastIndex(({ firstSeq }) => firstSeq <= wanted))
      const segment = segments[index]
      const seq = Math.max(wanted, segment?.firstSeq ?? Infinity)
      if (segment === undefined || seq >= end) return undefined
      const start = await placeOf(segment, seq)
      const lines: string[] = []
      let at = start.seq
      for await (const { bytes, offset, torn } of readLineBlocks(segment.file, { from: start.offset, maxBytes: segment.maxBytes })) {
        // Beyond what is durable a line may be half written.
        if (torn) break
        for (let from = 1, to; from < bytes.length && at < end && lines.length < most; from = to + 1, at++) {
          to = bytes.indexOf(10, from)
          if (at >= seq) lines.push(bytes.toString('utf8', from, to))
          place = { file: segment.file, seq: at + 1, offset: offset + to }
        }
        if (at >= end || lines.length >= most) break
      }
      return lines.length > 0 ? { firstSeq: seq, lines } : undefined
    }
  }
}
