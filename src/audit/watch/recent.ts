import { numberAt } from './number-at.ts'

/** How much there was lately, and the last records that said so. */
export interface Recent {
  /** Adds, and tells how much there is in the window that ends at this time. */
  add (time: number, seq: number, count: number): number
  /** How much there was in the window that ends at this time. */
  at (time: number): number
  /** Seqs of the last records that were added, at most {@link maxEvidence}, oldest first. */
  readonly seqs: readonly number[]
}

/** Seqs that an alert names at most. */
export const maxEvidence = 16

const parts = 6

/**
 * A sliding window, in six parts: it covers between five sixths of its length and all of it. What comes with an earlier time than the last
 * counts as of that time: a clock that is set back empties no window.
 */
export function recent (windowSeconds: number): Recent {
  const partMs = windowSeconds * 1000 / parts
  const counts = new Array<number>(parts).fill(0)
  const seqs: number[] = []
  let newest = -Infinity

  function at (time: number): number {
    const part = Math.floor(time / partMs)
    if (part > newest) {
      for (let stale = Math.max(newest + 1, part - parts + 1); stale <= part; stale++) counts[stale % parts] = 0
      newest = part
    }
    return counts.reduce((sum, count) => sum + count, 0)
  }

  return {
    at,
    seqs,
    add (time, seq, count) {
      const before = at(time)
      counts[newest % parts] = numberAt(counts, newest % parts) + count
      seqs.push(seq)
      if (seqs.length > maxEvidence) seqs.shift()
      return before + count
    }
  }
}
