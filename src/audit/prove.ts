import { fromDigest } from './merkle.ts'
import { splitPoint, type SubtreeHashes } from './tile-hashes.ts'

/** The leaves of a subtree: from `start` up to, and not with, `end`. */
type Subtree = readonly [start: number, end: number]

/**
 * That the record of this seq stands in the log of this size: PATH of RFC 6962 section 2.1.1, from the leaf's sibling up, at most 63 hashes of 32 bytes.
 * @param seq below `size`.
 */
export async function proveInclusion (hashes: SubtreeHashes, seq: number, size: number): Promise<Buffer[]> {
  const siblings: Subtree[] = []
  for (let start = 0, end = size; end - start > 1;) {
    const middle = start + splitPoint(end - start)
    siblings.push(seq < middle ? [middle, end] : [start, middle])
    if (seq < middle) end = middle
    else start = middle
  }
  return await hashed(hashes, siblings.reverse())
}

/**
 * That the log of one size is the beginning of the log of another: PROOF of RFC 6962 section 2.1.2, at most 63 hashes of 32 bytes; none from nothing, and
 * none from a log to itself.
 * @param size1 not above `size2`.
 */
export async function proveConsistency (hashes: SubtreeHashes, size1: number, size2: number): Promise<Buffer[]> {
  if (size1 === 0) return []
  const subtrees: Subtree[] = []
  let start = 0
  let end = size2
  while (end > size1) {
    const middle = start + splitPoint(end - start)
    subtrees.push(size1 <= middle ? [middle, end] : [start, middle])
    if (size1 <= middle) end = middle
    else start = middle
  }
  // Whoever has the first root knows that subtree when it is the whole of the first tree.
  if (start > 0) subtrees.push([start, end])
  return await hashed(hashes, subtrees.reverse())
}

async function hashed (hashes: SubtreeHashes, subtrees: readonly Subtree[]): Promise<Buffer[]> {
  return await Promise.all(subtrees.map(async ([start, end]) => fromDigest(await hashes(start, end))))
}
