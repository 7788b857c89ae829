/**
 * Up to how much each may have, when those who ask for less than that get all of it and this supply is not exceeded (max-min fairness).
 * `Infinity` when the supply is enough for all.
 */
export function fairLevel (asked: Iterable<number>, supply: number): number {
  const ascending = Float64Array.from(asked).sort()
  let left = supply
  for (const [index, amount] of ascending.entries()) {
    const level = left / (ascending.length - index)
    if (amount > level) return level
    left -= amount
  }
  return Infinity
}
