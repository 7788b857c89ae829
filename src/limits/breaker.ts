/** Runs something later, once; gives what cancels it. */
export type Schedule = (run: () => void, delayMs: number) => () => void

export interface BreakerOptions {
  /** Failures without a success between them that open it. */
  readonly failures: number
  /** Asks whether it is over; rejects when it is not. */
  readonly probe: () => Promise<unknown>
  /** Milliseconds until the first probe, and between two at most. Each is twice as far from the last, and up to half of that earlier. */
  readonly probeMs: number
  readonly maxProbeMs: number
  /** From 0, less than 1. */
  readonly random: () => number
  readonly schedule: Schedule
  readonly onOpen: (cause: Error) => void
  readonly onClose: () => void
}

/** Whether something that has failed is worth asking: not while it is open. */
export interface Breaker {
  readonly isOpen: boolean
  /** Changes whenever it opens. To be noted when something is asked: what was asked before that tells nothing of what is now. */
  readonly turn: number
  succeeded (turn: number): void
  failed (turn: number, cause: Error): void
  /** No probe follows. */
  stop (): void
}

/** While it is open one probe runs at a time, and the first that succeeds closes it: no request is ever risked. */
export function breaker ({ failures, probe, probeMs, maxProbeMs, random, schedule, onOpen, onClose }: BreakerOptions): Breaker {
  let isOpen = false
  let isStopped = false
  let turn = 0
  let inARow = 0
  let cancel = (): void => undefined

  return {
    get isOpen () { return isOpen },
    get turn () { return turn },
    succeeded (asked) {
      if (asked === turn) inARow = 0
    },
    failed (asked, cause) {
      if (isOpen || asked !== turn || ++inARow < failures) return
      isOpen = true
      turn++
      inARow = 0
      probeAfter(probeMs)
      onOpen(cause)
    },
    stop () {
      isStopped = true
      cancel()
    }
  }

  function probeAfter (delayMs: number): void {
    // All nodes lost it at once, and would all come back at once.
    cancel = schedule(() => { void tryOnce(delayMs) }, delayMs * (1 - random() / 2))
  }

  async function tryOnce (delayMs: number): Promise<void> {
    const isOver = await probe().then(() => true, () => false)
    if (isStopped) return
    if (!isOver) {
      probeAfter(Math.min(maxProbeMs, 2 * delayMs))
      return
    }
    isOpen = false
    onClose()
  }
}
