/** The number at this place of a list; 0 beyond its end. */
export function numberAt (list: readonly number[], index: number): number {
  return list[index] ?? 0
}

/** The same of an array of floating-point numbers: one function for both would be slow for either. */
export function floatAt (list: Float64Array, index: number): number {
  return list[index] ?? 0
}
