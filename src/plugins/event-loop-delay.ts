import { monitorEventLoopDelay } from 'node:perf_hooks'

/** Milliseconds between two looks at the event loop. */
const resolution = 10

/** How late the event loop of this thread runs. */
export interface EventLoopDelay {
  /** By how many milliseconds it was late on average since the last reading; 0 when there was no look since. */
  read (): number
  stop (): void
}

/** Looks at the event loop a hundred times a second; keeps no process alive. */
export function eventLoopDelay (): EventLoopDelay {
  const histogram = monitorEventLoopDelay({ resolution })
  histogram.enable()
  return {
    read () {
      // Nanoseconds from look to look.
      const late = histogram.count === 0 ? 0 : histogram.mean / 1e6 - resolution
      histogram.reset()
      return Math.max(0, late)
    },
    stop () { histogram.disable() }
  }
}
