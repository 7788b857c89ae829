import { serializeItem, serializeList, type Item } from 'structured-headers'
import { dayLength } from './calendar.ts'
import type { LimitOutcome } from './limiter.ts'
import type { Window } from './windows.ts'

/**
 * The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11 section 3): `"burst";q=100;w=60, "daily";q=1000;w=86400`.
 * The same for every answer under these windows: make it once.
 */
export function limitPolicyHeader (windows: readonly Window[]): string {
  return serializeList(windows.map((window): Item => [window.name, new Map([['q', window.quota], ...windowParameter(window)])]))
}

/** Months are not all as long, and the parameter may be left out. */
function windowParameter ({ windowSeconds, per }: Window): [['w', number]] | [] {
  if (per === 'month') return []
  return [['w', windowSeconds ?? dayLength / 1e6]]
}

const serializedNames = new WeakMap<Window, string>()

/**
 * The value of `RateLimit` (section 4) for the window that bound: `"burst";r=50;t=30`.
 * Until `t` no more than `r` can be spent; section 6: a `Retry-After` of `retryAfterSeconds` is never before it.
 */
export function limitHeader ({ window, remaining, resetSeconds }: Pick<LimitOutcome, 'window' | 'remaining' | 'resetSeconds'>): string {
  let name = serializedNames.get(window)
  if (name === undefined) {
    name = serializeItem(window.name)
    serializedNames.set(window, name)
  }
  return `${name};r=${remaining};t=${resetSeconds}`
}
