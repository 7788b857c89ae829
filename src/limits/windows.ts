import { integer, listOf, object, oneOf, optional, optionInvalid, string, type Read, type Reader } from '../options.ts'
import type { Period } from './calendar.ts'

/** What is kept for each of the principals that spend from one window, so that none of them can drain it for the others. */
export interface Share {
  /** Units that each principal has for itself. What it spends beyond comes from the rest, which is for whoever comes first. */
  readonly quota: number
  /** For how many principals at once that is kept. `quota × principals` is at most the quota of the window. */
  readonly principals: number
}

/** What is done with a limit while the store that counts it cannot be reached: refuse, let pass, or enforce a part of it on each node. */
export type WhenUnavailable = 'deny' | 'allow' | 'local'

interface AnyWindow {
  /** Short name for headers and records, for instance `burst`. */
  readonly name: string
  /** Units of cost. */
  readonly quota: number
  /** Left out, whoever comes first may spend all of it. */
  readonly share?: Share
  /** Default `deny`. */
  readonly whenUnavailable?: WhenUnavailable
}

/** At most `quota` units of cost in any `windowSeconds` seconds. */
export interface SlidingWindow extends AnyWindow {
  readonly windowSeconds: number
  readonly per?: never
}

/** At most `quota` units of cost in each day, or each month, of UTC. */
export interface CalendarWindow extends AnyWindow {
  readonly per: Period
  readonly windowSeconds?: never
}

export type Window = SlidingWindow | CalendarWindow

/** The members of a window, for readers of what holds more than a window. */
export const windowShape = {
  name: string(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a name of at most 64 letters, digits, dots, dashes and underscores'),
  // RFC 9651 section 3.3.1: an integer in a header field has at most 15 digits.
  quota: integer({ min: 1, max: 999_999_999_999_999 }),
  windowSeconds: optional(integer({ min: 1, max: 366 * 86_400 })),
  per: optional(oneOf<Period>('day', 'month')),
  share: optional(object({ quota: integer({ min: 1 }), principals: integer({ min: 1 }) })),
  whenUnavailable: optional(oneOf<WhenUnavailable>('deny', 'allow', 'local'))
}

const readMembers = object(windowShape)

/**
 * A window of these members.
 * @throws FMG_ERR_OPTION_INVALID when it is neither sliding nor of the calendar, or its shares are more than the whole.
 */
export function windowOf ({ name, quota, windowSeconds, per, share, whenUnavailable }: Read<typeof readMembers>, path: string): Window {
  const rest = { name, quota, ...share !== undefined && { share }, ...whenUnavailable !== undefined && { whenUnavailable } }
  if (share !== undefined && share.quota * share.principals > quota) {
    throw optionInvalid(`${path}.share`, `at most ${quota} units, the quota of the window, for all principals together`, share.quota * share.principals)
  }
  if (windowSeconds !== undefined && per === undefined) return Object.freeze({ ...rest, windowSeconds })
  if (per !== undefined && windowSeconds === undefined) return Object.freeze({ ...rest, per })
  throw optionInvalid(path, 'given either windowSeconds or per', windowSeconds)
}

const list = listOf((value, path) => windowOf(readMembers(value, path), path))

/** Reads a list of windows: at least one, each of another name. Frozen. */
export const readWindows: Reader<readonly Window[]> = (value, path) => {
  const windows = list(value, path)
  refuseEmpty(windows, path)
  refuseSameNames(windows, path)
  return windows
}

/** @throws FMG_ERR_OPTION_INVALID for a list without a window. */
export function refuseEmpty (windows: readonly Window[], path: string): void {
  if (windows.length === 0) throw optionInvalid(path, 'a list of at least one window', windows)
}

/** @throws FMG_ERR_OPTION_INVALID naming the second of two windows with one name. */
export function refuseSameNames (windows: readonly Window[], path: string): void {
  const names = new Set<string>()
  for (const [index, { name }] of windows.entries()) {
    if (names.has(name)) throw optionInvalid(`${path}[${index}].name`, 'another name than the windows before it', name)
    names.add(name)
  }
}
