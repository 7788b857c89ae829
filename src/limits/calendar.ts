/** A part of the calendar, in UTC. */
export type Period = 'day' | 'month'

/** Microseconds. */
export const dayLength = 86_400_000_000

/** Microseconds that a period lasts at most. */
export const longest: Readonly<Record<Period, number>> = { day: dayLength, month: 31 * dayLength }

/** When the period ends in which this moment lies. Microseconds since the epoch, as `now`. */
export function endOfPeriod (period: Period, now: number): number {
  if (period === 'day') return (Math.floor(now / dayLength) + 1) * dayLength
  const date = new Date(now / 1000)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1) * 1000
}
