/** What follows a log as it grows, and which segments it still needs. */
export interface LogHold {
  /** It has what comes before this seq. */
  passed (seq: number): void
  release (): void
}

/** All that follow one log. */
export interface Holds {
  /** @param onDurable told when more is durable. */
  readonly follow: (from: number, onDurable: () => void) => LogHold
  /** Everything before this seq has been passed by all; `Infinity` when nothing follows. */
  readonly passed: () => number
  /** Tells all. */
  readonly tell: () => void
}

export function createHolds (): Holds {
  const holds = new Map<LogHold, { from: number, onDurable: () => void }>()
  return {
    follow (from, onDurable) {
      const place = { from, onDurable }
      const hold: LogHold = {
        passed (seq) { place.from = seq },
        release () { holds.delete(hold) }
      }
      holds.set(hold, place)
      return hold
    },
    passed: () => Math.min(Infinity, ...Array.from(holds.values(), ({ from }) => from)),
    tell () { for (const { onDurable } of holds.values()) onDurable() }
  }
}
