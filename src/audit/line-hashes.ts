import { lineSeq } from './line-check.ts'
import { digestBytes, hashLeafInPlace, type Digest } from './merkle.ts'

/** What verification knows of the lines of a block, in their order. */
export interface LineHashes {
  /** Where each ends: the place of its line feed. */
  readonly ends: readonly number[]
  /** Of each its seq; `undefined` where it is no canonical line. */
  readonly seqs: readonly (number | undefined)[]
  /** Their leaf hashes, one after the other. */
  readonly leaves: string
}

/** Checks and hashes the whole lines that stand in `bytes` from byte 1 on; what ended the line before each is overwritten. */
export function hashLines (bytes: Buffer): LineHashes {
  const ends: number[] = []
  const seqs: (number | undefined)[] = []
  const leaves: Digest[] = []
  for (let start = 1, end; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(10, start)
    ends.push(end)
    seqs.push(lineSeq(bytes, start, end))
    leaves.push(hashLeafInPlace(bytes, start, end))
  }
  return { ends, seqs, leaves: leaves.join('') }
}

/** The leaf of a line. */
export function leafOf ({ leaves }: LineHashes, line: number): Digest {
  return leaves.slice(line * digestBytes, (line + 1) * digestBytes)
}
