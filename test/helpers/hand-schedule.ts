import type { Schedule } from '../../src/limits/breaker.ts'

/** What waits until the test says that its time has come. */
export interface HandSchedule {
  readonly schedule: Schedule
  /** Milliseconds that each of those was to wait. */
  readonly delays: readonly number[]
  /** Runs what waits, and gives how many that were. */
  readonly run: () => number
}

export function handSchedule (): HandSchedule {
  const waiting = new Map<() => void, number>()
  return {
    schedule (run, delayMs) {
      waiting.set(run, delayMs)
      return () => { waiting.delete(run) }
    },
    get delays () { return [...waiting.values()] },
    run () {
      const due = [...waiting.keys()]
      waiting.clear()
      for (const one of due) one()
      return due.length
    }
  }
}
