import type { FastifyBaseLogger } from 'fastify'
import type { OnProgress } from '../model/progress.ts'

/** Loads that are shorter than this leave no line but their last. */
const everyMs = 5000

/**
 * Logs how far a long load is, every five seconds.
 * @param now milliseconds, of any beginning.
 */
export function logProgress (log: Pick<FastifyBaseLogger, 'info'>, model: string, now: () => number = () => performance.now()): OnProgress {
  let last = now()
  return ({ name, bytes, totalBytes }) => {
    if (now() - last < everyMs) return
    last = now()
    log.info({ model, file: name, bytes, totalBytes }, 'model is loading')
  }
}
