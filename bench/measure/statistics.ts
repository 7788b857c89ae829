/** The value in the middle; of an even number, the mean of the two. NaN of none. */
export function median (values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
}

/** The smallest value that this share of all values does not exceed (nearest rank). NaN of none. */
export function percentile (values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN
}

/** A figure taken in every round: its median, and how far the rounds lay apart. */
export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Puts the rounds of one figure together. */
export function figure (rounds: readonly number[]): Figure {
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds) }
}

/** As many digits as a figure of this kind is good for. */
export function rounded (value: number, digits = 3): number {
  return Number(value.toPrecision(digits))
}
