import { limitOutcome } from './decision.ts'
import type { BudgetRequest, LimitOutcome, LimitRequest } from './limiter.ts'
import { redisKey, sharerKey } from './redis-key.ts'
import { countedWindows, poolQuota } from './shared-window.ts'
import type { Window } from './windows.ts'

/** What the script of `redis-script.ts` is asked. */
export interface Question {
  readonly request: LimitRequest
  /** A cost; or where an earlier request is settled, the difference, when that was, and what it took from each pool. */
  readonly what: number | readonly number[]
}

/** The keys and the argument of one call. */
export function scriptArguments (prefix: string, questions: readonly Question[]): (string | number)[] {
  const keys: string[] = []
  const lists = new Map<readonly Window[], number>()
  const asked = questions.map(({ request: { group, budgets }, what }) => {
    for (const { key, windows, sharer } of budgets) {
      keys.push(redisKey(prefix, group, key))
      if (sharer !== undefined && hasShares(windows)) keys.push(sharerKey(prefix, group, key, sharer))
    }
    return JSON.stringify([what, ...budgets.map(({ windows }) => numberOf(lists, windows))])
  })
  return [keys.length, ...keys, `[[${[...lists.keys()].map(writtenList).join(',')}],[${asked.join(',')}]]`]
}

function numberOf (lists: Map<readonly Window[], number>, windows: readonly Window[]): number {
  const known = lists.get(windows) ?? lists.size + 1
  lists.set(windows, known)
  return known
}

/** What the script said of a request; `undefined` when that is no answer of the script. */
export function readAnswer (answer: unknown, { budgets }: LimitRequest): LimitOutcome | undefined {
  // Some clients are set to give numbers as strings.
  const numbers = Array.isArray(answer) ? answer.map((number) => typeof number === 'number' ? number : Number.parseInt(String(number), 10)) : []
  const [binding = NaN, remaining = NaN, untilMoreRoom = NaN, wait = NaN, at = NaN, ...pooled] = numbers
  const window = windowNumbered(budgets, binding - 1)
  if (window === undefined || !(remaining >= 0 && untilMoreRoom >= 0 && wait >= 0 && at >= 0)) return undefined
  return limitOutcome(window, remaining, untilMoreRoom, wait, wait === 0 ? { at, pooled } : undefined)
}

function windowNumbered (budgets: readonly BudgetRequest[], index: number): Window | undefined {
  let before = 0
  for (const { windows } of budgets) {
    if (index < before + windows.length) return windows[index - before]
    before += windows.length
  }
  return undefined
}

const writtenLists = new WeakMap<readonly Window[], string>()

function writtenList (windows: readonly Window[]): string {
  const known = writtenLists.get(windows)
  if (known !== undefined) return known
  const written = JSON.stringify(hasShares(windows)
    ? [true, ...windows.flatMap((window) => [...plainly(window), ...sharesOf(window)])]
    : windows.flatMap(plainly))
  writtenLists.set(windows, written)
  return written
}

function plainly ({ name, quota, windowSeconds, per }: Window): [name: string, quota: number, length: number | string] {
  return [name, quota, windowSeconds === undefined ? per : windowSeconds * 1e6]
}

function sharesOf (window: Window): [share: number, pool: number] {
  return window.share === undefined ? [-1, -1] : [window.share.quota, poolQuota(window, window.share)]
}

function hasShares (windows: readonly Window[]): boolean {
  return countedWindows(windows).own.length > 0
}
