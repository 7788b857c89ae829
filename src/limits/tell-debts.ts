import type { Breaker, Schedule } from './breaker.ts'
import type { Debt, Debts } from './debts.ts'
import type { Charge, Limiter, LimitRequest } from './limiter.ts'
import { isOutage } from './unavailability.ts'
import type { WindowCount } from './window-count.ts'
import type { Window } from './windows.ts'

export interface TellDebtsOptions {
  readonly debts: Debts
  /** Who is told. */
  readonly limiter: Limiter
  /** While it is open nothing is told. */
  readonly fuse: Breaker
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly schedule: Schedule
  /** Milliseconds until what could not be told is tried again. */
  readonly retryMs: number
  /** Told of what failed, about which group. */
  readonly onFailure: (group: string, turn: number, error: Error) => void
  /** Told when nothing is owed any more. */
  readonly onTold: () => void
}

/** Charges a shared limiter for what was spent without it. */
export interface Teller {
  /** Begins, where there is something to tell, before it returns: what is asked of the limiter after that comes after the charge. */
  tell (): void
  stop (): void
}

/** Windows told about at once: a whole outage at once would be the next one. */
const maxTogether = 100

// What is spent now needs neither.
const anyCharge: Charge = Object.freeze({ at: 0, pooled: [] })

export function tellDebts ({ debts, limiter, fuse, now, schedule, retryMs, onFailure, onTold }: TellDebtsOptions): Teller {
  let isTelling = false
  let isStopped = false
  let cancel = (): void => undefined

  return {
    tell,
    stop () {
      isStopped = true
      cancel()
    }
  }

  function tell (): void {
    if (isTelling || !mayTell()) return
    isTelling = true
    void tellAll()
  }

  function mayTell (): boolean {
    return debts.size > 0 && !fuse.isOpen && !isStopped
  }

  async function tellAll (): Promise<void> {
    let isTold = true
    while (isTold && mayTell()) isTold = await tellSome()
    isTelling = false
    if (!isTold && !isStopped) cancel = schedule(tell, retryMs)
    else if (debts.size === 0) onTold()
  }

  async function tellSome (): Promise<boolean> {
    const { turn } = fuse
    const failures = await Promise.all(debts.take(maxTogether, microseconds()).map(tellOne))
    const failure = failures.find((error) => error !== undefined)
    if (failure !== undefined) onFailure(failure.group, turn, failure.error)
    return failure === undefined
  }

  async function tellOne (debt: Debt): Promise<{ readonly group: string, readonly error: Error } | undefined> {
    const untold: WindowCount[] = []
    let failure: Error | undefined
    await Promise.all(debt.counts.filter(({ total }) => total > 0).map(async (count) => {
      try {
        await limiter.settle(requestAbout(debt, count.window), anyCharge, count.total)
      } catch (error) {
        // A budget that cannot be counted, whoever asks, would be tried for ever.
        if (!isOutage(error)) return
        failure = error
        untold.push(count)
      }
    }))
    if (failure === undefined) return undefined
    debts.putBack({ ...debt, counts: untold }, microseconds())
    return { group: debt.group, error: failure }
  }

  function microseconds (): number {
    return Math.round(now() * 1000)
  }
}

const lists = new WeakMap<Window, readonly Window[]>()

/** Each window for itself: of a short one less still counts than of a long one. */
function requestAbout ({ group, key, sharer }: Debt, window: Window): LimitRequest {
  const windows = lists.get(window) ?? [window]
  lists.set(window, windows)
  return { group, budgets: [{ key, windows, ...sharer !== undefined && { sharer } }], cost: 1 }
}
