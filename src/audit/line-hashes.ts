import { lineSeq } from './line-check.ts'
import { digestBytes, hashLeafInPlace, type Digest } from './merkle.ts'

/** What verification knows of the lines of a block, in their order: arrays that move to another thread without being copied. */
export interface LineHashes {
  /** Where each ends: the place of its line feed. */
  readonly ends: Uint32Array<ArrayBuffer>
  /** Of each its seq; NaN where it is no canonical line. */
  readonly seqs: Float64Array<ArrayBuffer>
  /** Their leaf hashes, one after the other. */
  readonly leaves: string
}

/** Checks and hashes the whole lines that stand in `bytes` from byte 1 on; what ended the line before each is overwritten. */
export function hashLines (bytes: Buffer): LineHashes {
  const ends: number[] = []
  const seqs: number[] = []
  const leaves: Digest[] = []
  for (let start = 1, end; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(10, start)
    ends.push(end)
    seqs.push(lineSeq(bytes, start, end) ?? NaN)
    leaves.push(hashLeafInPlace(bytes, start, end))
  }
  return { ends: Uint32Array.from(ends), seqs: Float64Array.from(seqs), leaves: leaves.join('') }
}

/** The leaf of a line. */
export function leafOf ({ leaves }: LineHashes, line: number): Digest {
  return leaves.slice(line * digestBytes, (line + 1) * digestBytes)
}
