import { maxEvidence } from './recent.ts'

/** What was spent in the last days, by days. */
export interface RunningBudget {
  /** Adds, and tells what was spent in the days that end with this one. */
  add (time: number, seq: number, units: number): number
  readonly seqs: readonly number[]
}

const dayMs = 86_400_000

/** Nothing spent yet. */
export function runningBudget (days: number): RunningBudget {
  const spent: { readonly day: number, units: number }[] = []
  const seqs: number[] = []
  let sum = 0

  return {
    seqs,
    add (time, seq, units) {
      const last = spent.at(-1)
      const day = Math.max(Math.floor(time / dayMs), last?.day ?? -Infinity)
      if (last?.day === day) {
        last.units += units
        sum += units
      } else {
        spent.push({ day, units })
        while (spent[0] !== undefined && spent[0].day <= day - days) spent.shift()
        sum = spent.reduce((total, one) => total + one.units, 0)
      }
      seqs.push(seq)
      if (seqs.length > maxEvidence) seqs.shift()
      return sum
    }
  }
}
