/** Numbers that follow from a seed. */
export interface RandomNumbers {
  /** From 0, less than 1. */
  readonly uniform: () => number
  /** Of mean 0 and deviation 1. */
  readonly normal: () => number
  /** An integer from `from` to `to`, both possible. */
  readonly integer: (from: number, to: number) => number
  readonly chance: (share: number) => boolean
  readonly pick: <T>(list: readonly T[]) => T
}

const table = 65_536

/** Mulberry32: fast, and good enough for traffic. */
export function randomNumbers (seed: number): RandomNumbers {
  let state = seed >>> 0
  const normals = new Float64Array(table)
  for (let index = 0; index < table; index++) normals[index] = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
  let at = 0

  function uniform (): number {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ state >>> 15, 1 | state)
    bits = (bits + Math.imul(bits ^ bits >>> 7, 61 | bits)) ^ bits
    return ((bits ^ bits >>> 14) >>> 0) / 2 ** 32
  }

  const integer = (from: number, to: number): number => from + Math.floor(uniform() * (to - from + 1))
  return {
    uniform,
    integer,
    normal () {
      // A stretch of the table, from a place that is drawn anew now and then.
      if ((at & 63) === 0) at = Math.floor(uniform() * table) & ~63
      return normals[at++ & table - 1] ?? 0
    },
    chance: (share) => uniform() < share,
    pick: (list) => {
      const picked = list[integer(0, list.length - 1)]
      if (picked === undefined) throw new Error('nothing to pick from')
      return picked
    }
  }
}
