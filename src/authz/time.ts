/** A moment, or a time of day in UTC that comes every day; in milliseconds since the epoch or since midnight. */
export interface Time {
  readonly kind: 'instant' | 'time-of-day'
  readonly ms: number
}

const dayMs = 86_400_000
const dateTime = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/
const timeOfDay = /^(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?$/

/**
 * Reads `2026-01-31T08:00:00Z` (RFC 3339 with its offset, which cannot be left out) or `08:00` (a time of day in UTC).
 * `undefined` for anything else, days that no calendar has and leap seconds included.
 */
export function parseTime (value: unknown): Time | undefined {
  if (typeof value !== 'string') return undefined
  if (timeOfDay.test(value)) return { kind: 'time-of-day', ms: Date.parse(`1970-01-01T${value}Z`) }
  const [, local = ''] = dateTime.exec(value) ?? []
  // Date.parse takes 30 February for 2 March, and 24:00 for the next day: only what reads back the same is a moment.
  const readBack = new Date(Date.parse(`${local}Z`))
  const ms = Date.parse(value)
  return Number.isNaN(readBack.getTime()) || Number.isNaN(ms) || !readBack.toISOString().startsWith(local) ? undefined : { kind: 'instant', ms }
}

/**
 * The milliseconds of a value, to compare with a time of this kind: a text as above, a `Date`, or a number of milliseconds since the
 * epoch. A moment has a time of day; a time of day alone is no moment.
 */
export function timeOf (value: unknown, kind: Time['kind']): number | undefined {
  const time = typeof value === 'string' ? parseTime(value) : parseNumber(value instanceof Date ? value.getTime() : value)
  if (time === undefined || time.kind === kind) return time?.ms
  return kind === 'time-of-day' ? ((time.ms % dayMs) + dayMs) % dayMs : undefined
}

function parseNumber (value: unknown): Time | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? { kind: 'instant', ms: value } : undefined
}
