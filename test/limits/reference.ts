import { subWindows } from '../../src/limits/window-count.ts'
import type { SlidingWindow } from '../../src/limits/windows.ts'

/**
 * What limiters are held against: an exact log of how much was spent when, in microseconds.
 * Slow and forgetting nothing, so that it is right at sight.
 */
export type SpendingLog = { readonly at: number, readonly cost: number }[]

/** Whether no window would hold more than its quota: a window that ends now is `(now - length, now]`. */
export function mayAllow (log: SpendingLog, windows: readonly SlidingWindow[], now: number, cost: number): boolean {
  return windows.every(({ quota, windowSeconds }) => spentSince(log, now - windowSeconds * 1e6) + cost <= quota)
}

/** Whether there is room even when every unit is remembered one sub-window too long. */
export function mustAllow (log: SpendingLog, windows: readonly SlidingWindow[], now: number, cost: number): boolean {
  return windows.every(({ quota, windowSeconds }) => {
    const length = windowSeconds * 1e6
    return spentSince(log, now - length - length / subWindows) + cost <= quota
  })
}

function spentSince (log: SpendingLog, start: number): number {
  return log.reduce((sum, { at, cost }) => sum + (at > start ? cost : 0), 0)
}
