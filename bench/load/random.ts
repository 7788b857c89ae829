/** Numbers from 0 to 1 that follow from a seed (mulberry32). */
export function randomOf (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Waits between events that come at random, so many a second: milliseconds. */
export function gapMs (random: () => number, perSecond: number): number {
  return -Math.log(1 - random()) / perSecond * 1000
}

/** Log-normal, by Box and Muller: most are short, some are long. */
export function logNormal (random: () => number, mean: number, spread: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  return mean * Math.exp(spread * normal - spread * spread / 2)
}
