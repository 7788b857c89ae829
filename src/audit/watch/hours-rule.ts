import { numberAt } from './number-at.ts'
import { recent } from './recent.ts'
import type { Rule } from './rule.ts'
import type { RuleThresholds } from './watch-options.ts'

const hourSeconds = 3600
const hourMs = hourSeconds * 1000
const hoursADay = 24

/**
 * Many requests at an hour of the day (UTC), and at those beside it, at which the identity never works. One that works at most hours is not judged.
 * Which hours are its own is learnt when a day is over: nobody makes an hour their own by using it.
 */
export function hoursRule ({ minRequests, learnDays, minDays, maxHours, nearHours }: RuleThresholds['hours']): Rule {
  return {
    name: 'hours',
    quietSeconds: 86_400,
    follow () {
      const lately = recent(hourSeconds)
      const daysOfHour = new Array<number>(hoursADay).fill(0)
      const today = new Set<number>()
      let days = 0
      let lastDay = -Infinity

      function learnDay (): void {
        for (const hour of today) daysOfHour[hour] = numberAt(daysOfHour, hour) + 1
        today.clear()
        days++
      }

      function isOwn (hour: number): boolean {
        return numberAt(daysOfHour, hour) >= minDays
      }

      return ({ time, seq, count }) => {
        const hours = Math.floor(time / hourMs)
        const [day, hour] = [Math.floor(hours / hoursADay), hours % hoursADay]
        if (day > lastDay) {
          if (lastDay !== -Infinity) learnDay()
          lastDay = day
        }
        today.add(hour)
        const measured = lately.add(time, seq, count)
        if (days < learnDays || measured < minRequests) return undefined
        if (daysOfHour.some((_, ofHour) => isOwn(ofHour) && hoursBetween(hour, ofHour) <= nearHours)) return undefined
        const isAlways = daysOfHour.filter((_, own) => isOwn(own)).length > maxHours
        return isAlways ? undefined : { measured, threshold: minRequests, evidence: lately.seqs }
      }
    }
  }
}

/** Around the clock. */
function hoursBetween (a: number, b: number): number {
  const apart = Math.abs(a - b)
  return Math.min(apart, hoursADay - apart)
}
