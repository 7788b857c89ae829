import { subWindows } from '../../src/limits/window-count.ts'
import type { Window } from '../../src/limits/windows.ts'

/** One request that was admitted. */
export interface Spending {
  /** Microseconds. */
  readonly at: number
  /** What was charged, as settled since. */
  cost: number
  /** Who takes a share of what is shared. */
  readonly principal?: string
  /** Of each shared window by name: what was taken beyond the share, as the limiter says. */
  readonly pooled?: Readonly<Record<string, number>>
}

/**
 * What limiters are held against: an exact log of how much was spent when.
 * Slow and forgetting nothing, so that it is right at sight.
 */
export type SpendingLog = Spending[]

/** Whether no window would hold more than its quota: a window that ends now is `(now - length, now]`, or the day or month of UTC. */
export function mayAllow (log: SpendingLog, windows: readonly Window[], now: number, cost: number, principal = ''): boolean {
  return windows.every((window) => {
    const within = log.filter(({ at }) => isWithin(window, at, now, 0))
    return sumOf(within) + cost <= window.quota && leavesShares(window, [...within, { at: now, cost, principal }])
  })
}

/** Whether there is room even when every unit is remembered one sub-window too long. */
export function mustAllow (log: SpendingLog, windows: readonly Window[], now: number, cost: number, principal = ''): boolean {
  return windows.every((window) => {
    const within = log.filter(({ at }) => isWithin(window, at, now, 1 / subWindows))
    return sumOf(within) + cost <= window.quota && roomOf(window, within, principal) >= cost
  })
}

/** What all have spent beyond their shares is no more than what the shares leave. */
function leavesShares ({ quota, share }: Window, within: SpendingLog): boolean {
  if (share === undefined) return true
  const beyond = [...new Set(within.map(({ principal }) => principal))]
    .map((principal) => Math.max(0, sumOf(within.filter((spent) => spent.principal === principal)) - share.quota))
  return beyond.reduce((sum, one) => sum + one, 0) <= quota - share.quota * share.principals
}

function roomOf ({ name, quota, share }: Window, within: SpendingLog, principal: string): number {
  if (share === undefined) return Infinity
  const pooledBy = ({ pooled }: Spending): number => pooled?.[name] ?? 0
  const pool = within.reduce((sum, spent) => sum + pooledBy(spent), 0)
  const own = within.reduce((sum, spent) => sum + (spent.principal === principal ? spent.cost - pooledBy(spent) : 0), 0)
  return Math.max(0, share.quota - own) + Math.max(0, quota - share.quota * share.principals - pool)
}

function isWithin ({ windowSeconds, per }: Window, at: number, now: number, slack: number): boolean {
  if (windowSeconds === undefined) return dateOf(at).slice(0, per === 'day' ? 10 : 7) === dateOf(now).slice(0, per === 'day' ? 10 : 7)
  return at > now - windowSeconds * 1e6 * (1 + slack)
}

function dateOf (microseconds: number): string {
  return new Date(microseconds / 1000).toISOString()
}

function sumOf (log: SpendingLog): number {
  return log.reduce((sum, { cost }) => sum + cost, 0)
}
