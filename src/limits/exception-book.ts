import { writeToBook } from '../books/change-book.ts'
import { recordSeal } from '../books/record-seal.ts'
import type { Book, BookForm } from '../books/sealed-book.ts'
import type { OnChange, SharedBook } from '../books/shared-book.ts'
import { functionOf, integer, optional, optionInvalid, withDefault } from '../options.ts'
import { readPepperBytes } from '../pepper.ts'
import { readApproval, readApproved, readName, requireAnotherPerson, requireAnotherPrincipal, type Approval } from '../approval.ts'
import { endOf, isInForce, readExceptionRecord, readNewException, type LimitException, type Quotas } from './exception.ts'
import type { ExceptionChange, Exceptions } from './exceptions.ts'
import { raisableWindows } from './raised-plan.ts'
import { readTierOptions, type TierOptions } from './tiers.ts'

/** What is said of exceptions wherever they are kept. */
export interface ExceptionOptions {
  /** At least 32 bytes, kept apart from the exceptions; their MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Exceptions of another epoch are not known: a higher one begins a new list. Default 0. */
  readonly epoch?: number
  /** An exception about a window that none of these has is refused when it is made. Default: names are not checked. */
  readonly tiers?: TierOptions
  /** Who may approve. Default `another`. */
  readonly approval?: Approval
  /** Exceptions kept at once, by every node whole in memory. They are made by hand: more than the default of 10,000 are a mistake. */
  readonly maxExceptions?: number
  /** Told of what listeners throw over changes that others made. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** By which exceptions end. Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** Readers of these options. */
export const exceptionOptions = {
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  tiers: optional(readTierOptions),
  approval: readApproval,
  maxExceptions: withDefault(integer({ min: 1, max: 100_000 }), 10_000),
  now: withDefault(functionOf<() => number>(), Date.now)
}

/** A book of exceptions. */
export function exceptionBookForm (pepper: Uint8Array, epoch: number): BookForm<LimitException> {
  return {
    name: 'limit-exceptions',
    code: 'FMG_ERR_LIMITER_UNAVAILABLE',
    plural: 'exceptions',
    seal: recordSeal('limit-exceptions', pepper, epoch),
    read: readExceptionRecord,
    idOf: ({ principal }) => principal,
    endOf,
    // One that cannot be read may have lowered any quota.
    isWholeOrNothing: true
  }
}

type Settings = Required<Pick<ExceptionOptions, 'approval' | 'maxExceptions' | 'onError' | 'now'>> & Pick<ExceptionOptions, 'tiers'>

/** Exceptions that are kept in a book. */
export async function bookExceptions (form: BookForm<LimitException>, open: (onChange: OnChange<LimitException>) => Promise<SharedBook<LimitException>>, { tiers, approval, maxExceptions, onError, now }: Settings): Promise<Exceptions> {
  const raisable = tiers === undefined ? undefined : raisableWindows(tiers)
  let listener: ((change: ExceptionChange) => Promise<void>) | undefined
  // By principals, of whom operators made something: what the listener makes of their last change.
  const told = new Map<string, Promise<void>>()
  const book = await open(tell)

  return {
    find (principal) {
      const exception = book.current.records.get(principal)
      return exception !== undefined && isInForce(exception, now()) ? exception : undefined
    },
    async list () {
      await book.load()
      return [...book.current.records.values()].filter((exception) => isInForce(exception, now()))
    },
    async raise (given) {
      const wanted = readNewException(given, 'exception')
      if (approval === 'another') {
        requireAnotherPerson(wanted)
        requireAnotherPrincipal(wanted.principal, wanted)
      }
      checkTerms(wanted)
      const made = await write(wanted.principal, (before) => ({ ...wanted, version: (before?.version ?? 0) + 1, madeAt: now(), endedAt: undefined }))
      return made ?? Promise.reject(optionInvalid('exception', `one of at most ${maxExceptions}`, given))
    },
    async end (given, givenBy) {
      const [principal, by] = [readName(given, 'principal'), readApproved(givenBy, 'by')]
      // Lowered quotas too are an exception.
      if (approval === 'another') requireAnotherPrincipal(principal, by)
      return await write(principal, (before) => before !== undefined && isInForce(before, now()) ? { ...before, ...by, version: before.version + 1, endedAt: now() } : null) !== null
    },
    whenChanged (given) { listener = given },
    close: async () => { await book.close() }
  }

  function checkTerms ({ quotas, models, until = Infinity }: Pick<LimitException, 'quotas' | 'models' | 'until'>): void {
    if ([quotas, ...Object.values(models)].every((each) => Object.keys(each).length === 0)) throw optionInvalid('exception.quotas', 'the quota of at least one window', quotas)
    checkNames(quotas, undefined, 'exception.quotas')
    for (const [model, ofModel] of Object.entries(models)) checkNames(ofModel, model, `exception.models.${model}`)
    if (until <= now()) throw optionInvalid('exception.until', 'a time to come', until)
  }

  /** A quota of a window that nobody has would silently be none. */
  function checkNames (quotas: Quotas, model: string | undefined, path: string): void {
    if (raisable === undefined) return
    const known = raisable(model)
    const unknown = Object.keys(quotas).find((name) => !known.has(name))
    if (unknown !== undefined) throw optionInvalid(`${path}.${unknown}`, `about a window that a tier has: ${[...known].join(', ') || 'none'}`, quotas)
  }

  async function write (principal: string, change: (before: LimitException | undefined) => LimitException | null): Promise<LimitException | null> {
    const written = await book.change((current) => {
      const record = change(current.records.get(principal))
      if (record === null || (!current.records.has(principal) && current.records.size >= maxExceptions)) return null
      return writeToBook(form, current, record, now())
    })
    if (written !== null) await told.get(principal)
    return written
  }

  function tell ({ texts, records }: Book<LimitException>, before: Book<LimitException>): void {
    for (const [principal, exception] of records) {
      if (listener === undefined || before.texts.get(principal) === texts.get(principal)) continue
      const telling = listener({ kind: exception.endedAt === undefined ? 'raise' : 'end', exception })
      telling.catch(onError)
      told.set(principal, telling)
    }
  }
}
