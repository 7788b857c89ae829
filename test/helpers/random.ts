import { createHash } from 'node:crypto'

/** Choices that follow from a seed: the same seed, the same choices. */
export interface Random {
  /** An integer from 0, less than this. */
  below (bound: number): number
  pick<T> (list: readonly [T, ...(readonly T[])]): T
  /** So many characters of this alphabet. */
  text (length: number, alphabet: string): string
}

/** Choices by SHA-256 of the seed and a counter. */
export function randomOf (seed: string): Random {
  let block = Buffer.alloc(0)
  let counter = 0
  let at = 0
  function below (bound: number): number {
    if (at + 4 > block.length) {
      block = createHash('sha256').update(`${seed}:${counter++}`).digest()
      at = 0
    }
    at += 4
    return block.readUInt32LE(at - 4) % bound
  }
  return {
    below,
    pick: (list) => list[below(list.length)] ?? list[0],
    text: (length, alphabet) => Array.from({ length }, () => alphabet.charAt(below(alphabet.length))).join('')
  }
}
