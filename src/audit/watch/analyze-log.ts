import { readRecords } from '../read-records.ts'
import type { Alert } from './alert.ts'
import { createWatch } from './watch.ts'
import type { WatchOptions } from './watch-options.ts'

export interface AnalyzeOptions {
  /** The log's folder. It may be in use. */
  readonly directory: string
  readonly watch?: WatchOptions | undefined
  /** Tells alerts of this time and later only; milliseconds since the epoch. What came before is learnt from all the same. */
  readonly since?: number | undefined
  /** Stops at this time. */
  readonly until?: number | undefined
}

/** What the rules found in a log. */
export interface Analysis {
  readonly records: number
  /** In the order of the log. */
  readonly alerts: readonly Alert[]
}

/**
 * The rules over a log, as they would have judged it record by record while it was written, with these thresholds.
 * @throws FMG_ERR_FILE when there is no log in the folder; FMG_ERR_LOG_INCONSISTENT for a line that is no record; FMG_ERR_OPTION_INVALID
 */
export async function analyzeLog ({ directory, watch: options, since = -Infinity, until }: AnalyzeOptions): Promise<Analysis> {
  const watch = createWatch(options)
  const alerts: Alert[] = []
  let records = 0
  for await (const batch of readRecords({ directory, until })) {
    records += batch.length
    for (const record of batch) alerts.push(...watch.see(record, record.seq).filter(({ time }) => time >= since))
  }
  return { records, alerts }
}
