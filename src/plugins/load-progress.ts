import type { FastifyBaseLogger } from 'fastify'
import { manifestName } from '../model/manifest.ts'
import type { OnProgress } from '../model/progress.ts'

/** Loads that are shorter than this leave no line of their progress. */
const everyMs = 5000

/**
 * Logs how far long loads of a model are, every five seconds.
 * @param now milliseconds, of any beginning.
 */
export function logProgress (log: Pick<FastifyBaseLogger, 'info'>, model: string, now: () => number = () => performance.now()): OnProgress {
  let last = now()
  return ({ name, bytes, totalBytes }) => {
    // A load begins with the manifest.
    if (name === manifestName) last = now()
    if (now() - last < everyMs) return
    last = now()
    log.info({ model, file: name, bytes, totalBytes }, 'model is loading')
  }
}
