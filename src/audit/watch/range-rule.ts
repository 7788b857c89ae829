import { recent, type Recent } from './recent.ts'
import type { Rule } from './rule.ts'
import type { RuleThresholds } from './watch-options.ts'

const daySeconds = 86_400
const dayMs = daySeconds * 1000
const silentDays = 3

interface Range {
  readonly lately: Recent
  /** Days on which it was used, and the last of them. */
  days: number
  lastDay: number
  isKnown: boolean
  /** Day from which on it is told of again: of one range once in three days, whatever was told of others. */
  tellAgain: number
}

/** Many requests from an address range that the identity does not use: one that never stays in a range is not judged. */
export function rangeRule ({ minRequests, learnDays, knownAfterDays, maxRanges }: RuleThresholds['range']): Rule {
  return {
    name: 'range',
    quietSeconds: 3600,
    follow () {
      const ranges = new Map<string, Range>()
      let days = 0
      let lastDay = -Infinity

      function rangeOf (digest: string): Range {
        const known = ranges.get(digest)
        if (known !== undefined) return known
        // Of those that are not known the oldest goes: no number of new ones drives out a known one.
        const [oldest] = [...ranges].find(([, { isKnown }]) => !isKnown) ?? []
        if (ranges.size > 2 * maxRanges && oldest !== undefined) ranges.delete(oldest)
        const added = { lately: recent(daySeconds), days: 0, lastDay: -Infinity, isKnown: false, tellAgain: -Infinity }
        ranges.set(digest, added)
        return added
      }

      return ({ time, seq, count, range: digest }) => {
        if (digest === undefined) return undefined
        const day = Math.floor(time / dayMs)
        if (day > lastDay) {
          days++
          lastDay = day
        }
        const range = rangeOf(digest)
        const isLearning = days <= learnDays
        if (day > range.lastDay) {
          range.days++
          range.lastDay = day
        }
        range.isKnown ||= isLearning || range.days > knownAfterDays
        const measured = range.lately.add(time, seq, count)
        if (range.isKnown || measured < minRequests || day < range.tellAgain) return undefined
        const isRoaming = [...ranges.values()].filter(({ isKnown }) => isKnown).length > maxRanges
        if (isRoaming) return undefined
        range.tellAgain = day + silentDays
        return { measured, threshold: minRequests, evidence: range.lately.seqs }
      }
    }
  }
}
