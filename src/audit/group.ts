import type { BufferPool } from './buffer-pool.ts'
import { numberLine, type LineDraft } from './line.ts'
import { hashLeafInPlace, type Digest } from './merkle.ts'

/** What one write makes durable. */
export interface Group {
  /** From byte 1 on: lines. */
  readonly bytes: Buffer
  readonly lines: { readonly end: number, readonly leaf: Digest }[]
}

/** Numbered lines in one buffer, from byte 1 on. */
export function assemble (drafts: readonly LineDraft[], firstSeq: number, pool: BufferPool): Group {
  const lines = drafts.map((draft, index) => numberLine(draft, firstSeq + index))
  const text = `\n${lines.join('\n')}\n`
  // A UTF-16 code unit takes three bytes at most.
  const bytes = pool.take(text.length * 3)
  return { bytes: bytes.subarray(0, bytes.write(text)), lines: [] }
}

/** Notes where each line ends, and its leaf; what ended the line before it is overwritten. */
export function hashLeaves ({ bytes, lines }: Group): void {
  for (let start = 1; start < bytes.length;) {
    const end = bytes.indexOf(10, start)
    lines.push({ end, leaf: hashLeafInPlace(bytes, start, end) })
    start = end + 1
  }
}
