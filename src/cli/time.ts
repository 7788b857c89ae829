import { UsageError, type Arguments } from './command.ts'

const dayMs = 86_400_000

/** A moment that an option names, in milliseconds since the epoch. */
export function timeIn (args: Arguments, name: string): number | undefined {
  const text = args.text(name)
  if (text === undefined) return undefined
  const time = Date.parse(text)
  if (Number.isNaN(time)) throw new UsageError(`--${name} is a time, as 2030-01-31T12:00:00Z`)
  return time
}

/** A moment, or so many days before now: `90d`. */
export function pastTimeIn (args: Arguments, name: string): number | undefined {
  const days = /^(\d{1,5})d$/.exec(args.text(name) ?? '')?.[1]
  return days === undefined ? timeIn(args, name) : Date.now() - Number(days) * dayMs
}
