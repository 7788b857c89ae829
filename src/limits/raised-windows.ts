import type { Quotas } from './exception.ts'
import type { Window } from './windows.ts'

const known = new WeakMap<Quotas, WeakMap<readonly Window[], readonly Window[]>>()

/** These windows with other quotas. The same list for the same two, as limiters know lists by; the given one where no window has such a name. */
export function windowsUnder (windows: readonly Window[], quotas: Quotas): readonly Window[] {
  const lists = known.get(quotas) ?? new WeakMap<readonly Window[], readonly Window[]>()
  known.set(quotas, lists)
  const list = lists.get(windows) ?? changed(windows, quotas)
  lists.set(windows, list)
  return list
}

function changed (windows: readonly Window[], quotas: Quotas): readonly Window[] {
  const list = windows.map((window) => {
    const quota = Object.hasOwn(quotas, window.name) ? quotas[window.name] : undefined
    // What several principals spend from is no one's to raise.
    return quota === undefined || window.share !== undefined ? window : Object.freeze({ ...window, quota })
  })
  return list.some((window, index) => window !== windows[index]) ? Object.freeze(list) : windows
}
