import type { Share, Window } from './windows.ts'

/** What is done with a list of windows while the store that counts them cannot be reached. */
export interface OutagePlan {
  /** Whether one of them refuses. */
  readonly denies: boolean
  /** Those of which each node enforces its part. The others, where none refuses, are not enforced. */
  readonly local: readonly Window[]
  /** The parts of one of this many nodes, in the order of `local`. The same list as before for the same number. */
  partsFor (nodes: number): readonly Window[]
}

const plans = new WeakMap<readonly Window[], OutagePlan>()

/** The same plan for the same list. */
export function outagePlan (windows: readonly Window[]): OutagePlan {
  const known = plans.get(windows)
  if (known !== undefined) return known
  const local = windows.filter(({ whenUnavailable }) => whenUnavailable === 'local')
  let last = { nodes: 0, parts: [] as readonly Window[] }
  const plan: OutagePlan = {
    denies: windows.some(({ whenUnavailable = 'deny' }) => whenUnavailable === 'deny'),
    local,
    partsFor (nodes) {
      if (nodes !== last.nodes) last = { nodes, parts: local.map((window) => partOf(window, nodes)) }
      return last.parts
    }
  }
  plans.set(windows, plan)
  return plan
}

/** Units that one of this many nodes may spend by itself. */
export function partQuota ({ quota }: Window, nodes: number): number {
  return Math.floor(quota / nodes)
}

const wholes = new WeakMap<Window, Window>()

/** The window that this is a part of, or this very window. */
export function wholeOf (part: Window): Window {
  return wholes.get(part) ?? part
}

/** A window of one unit stands for a part that has none: whoever asks, looks at `partQuota` before. */
function partOf (whole: Window, nodes: number): Window {
  const { share, ...window } = whole
  const kept = shareOf(share, nodes)
  const part = { ...window, quota: Math.max(1, partQuota(whole, nodes)), ...kept !== undefined && { share: kept } }
  wholes.set(part, whole)
  return part
}

/** No node can keep less than a unit for a principal. */
function shareOf (share: Share | undefined, nodes: number): Share | undefined {
  const quota = Math.floor((share?.quota ?? 0) / nodes)
  return share === undefined || quota === 0 ? undefined : { quota, principals: share.principals }
}
