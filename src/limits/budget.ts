import { partOf } from './decision.ts'
import { emptyCount, expire, isCountOf, type WindowCount } from './window-count.ts'
import type { Window } from './windows.ts'

/** All that is counted for one key. */
export interface Budget {
  /** One for each window of the last request, in its order. */
  asked: readonly WindowCount[]
  /** Of windows that other requests named: they count until they have run out. */
  others: readonly WindowCount[]
}

/** Puts the counts of these windows, and no others, into `asked`. */
export function arrange (budget: Budget, windows: readonly Window[], time: number): Budget {
  const { asked, others } = budget
  if (asked.length === windows.length && windows.every((window, index) => asked[index]?.window === window)) return budget
  const counts = new Set([...asked, ...others])
  budget.asked = windows.map((window) => {
    const count = [...counts].find((candidate) => isCountOf(candidate, window)) ?? emptyCount(window)
    counts.delete(count)
    count.window = window
    return count
  })
  for (const count of counts) expire(count, time)
  budget.others = [...counts].filter(({ total }) => total > 0)
  return budget
}

/** The part used of the window that has least left; 0 when everything has run out. */
export function largestPart ({ asked, others }: Budget, time: number): number {
  return Math.max(largestOf(asked, time), largestOf(others, time))
}

function largestOf (counts: readonly WindowCount[], time: number): number {
  let largest = 0
  for (const count of counts) {
    expire(count, time)
    largest = Math.max(largest, partOf(count))
  }
  return largest
}
