import { integer, object, optional, optionInvalid, recordOf, withDefault, type Read, type Reader } from '../options.ts'
import { approved, readName, textOf } from '../approval.ts'

/** Other quotas of some windows, by the names of the windows: higher than the tier's, or lower. */
export type Quotas = Readonly<Record<string, number>>

const maxWindows = 32
const maxModels = 100

/** At most so many names. */
function atMost<T> (count: number, read: Reader<Readonly<Record<string, T>>>): Reader<Readonly<Record<string, T>>> {
  return (value, path) => {
    const record = read(value, path)
    if (Object.keys(record).length > count) throw optionInvalid(path, `of at most ${count} names`, value)
    return record
  }
}

const readQuotas: Reader<Quotas> = atMost(maxWindows, recordOf(integer({ min: 1, max: 999_999_999_999_999 })))
const noQuotas: Quotas = Object.freeze({})
const noModels: Readonly<Record<string, Quotas>> = Object.freeze({})

/** What an operator states of an exception. */
export const exceptionTerms = {
  /** Whose limits. */
  principal: readName,
  /** Of windows that are the principal's own. */
  quotas: withDefault(readQuotas, noQuotas),
  /** Of windows that are the principal's own for one model, by the model's id. */
  models: withDefault(atMost(maxModels, recordOf(readQuotas)), noModels),
  /** Milliseconds since the epoch, when it ends. Left out: for good. */
  until: optional(integer({ min: 0 })),
  ...approved,
  /** Kept with the exception; the audit log holds its keyed digest. */
  reason: textOf(1000)
}

/** An exception that is to be made. */
export const readNewException = object(exceptionTerms)

/** An exception as it is kept. */
export const readExceptionRecord = object({
  version: integer({ min: 1 }),
  ...exceptionTerms,
  /** Milliseconds since the epoch. */
  madeAt: integer({ min: 0 }),
  /** Milliseconds since the epoch, when an operator ended it: who asked and who approved is then said of that. */
  endedAt: optional(integer({ min: 0 }))
})

/** Quotas of one principal that differ from those of its tier. */
export type LimitException = Read<typeof readExceptionRecord>

/** Whether it counts at this moment. */
export function isInForce ({ until = Infinity, endedAt }: LimitException, now: number): boolean {
  return endedAt === undefined && now < until
}

// Clocks of nodes differ, and none may leave out what another still goes by.
const slackMs = 300_000

/** From when on it need not be kept. */
export function endOf ({ until = Infinity, endedAt = Infinity }: LimitException): number {
  return Math.min(until, endedAt) + slackMs
}
