import { integer, listOf, object, optionInvalid, string, type Reader } from '../options.ts'
import type { LimitRequest, Window } from './limiter.ts'

const window = object({
  name: string(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a name of at most 64 letters, digits, dots, dashes and underscores'),
  // RFC 9651 section 3.3.1: an integer in a header field has at most 15 digits.
  quota: integer({ min: 1, max: 999_999_999_999_999 }),
  windowSeconds: integer({ min: 1, max: 366 * 86_400 })
})

const list = listOf(window)

/** Reads a list of windows: at least one, each of another name. Frozen. */
export const readWindows: Reader<readonly Window[]> = (value, path) => {
  const windows = list(value, path)
  if (windows.length === 0) throw optionInvalid(path, 'a list of at least one window', value)
  const names = new Set<string>()
  for (const [index, { name }] of windows.entries()) {
    if (names.has(name)) throw optionInvalid(`${path}[${index}].name`, 'another name than the windows before it', name)
    names.add(name)
  }
  return windows
}

const wellFormed = new WeakSet<readonly Window[]>()

/**
 * Refuses what no limiter can count. A list of windows is read the first time it comes by, so keep it, do not build it anew.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function checkLimitRequest ({ windows, cost }: LimitRequest): void {
  // A negative cost would give units back, and NaN would compare as fitting.
  if (!Number.isSafeInteger(cost) || cost < 1) throw optionInvalid('cost', 'a whole number of at least 1', cost)
  if (wellFormed.has(windows)) return
  readWindows(windows, 'windows')
  wellFormed.add(windows)
}
