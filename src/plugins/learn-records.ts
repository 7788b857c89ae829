import { readRecords } from '../audit/read-records.ts'
import type { AuditRecord } from '../audit/record.ts'

export interface LearnOptions {
  readonly directory: string
  readonly days: number
  /** Milliseconds since the epoch. */
  readonly clock: () => number
  /** Takes in a record that was there before. */
  readonly recall: (record: AuditRecord, seq: number) => void
  /** Takes in one that was made since this began. */
  readonly see: (record: AuditRecord, seq: number) => void
  readonly onError: (error: unknown) => void
  /** Records that may wait; of more the first are let go. Default 100,000. */
  readonly maxWaiting?: number
}

/** The last days of a log being read, while new records come. */
export interface Learning {
  /** Has a new record wait until all before it are read; `false` once they are. */
  keep (record: AuditRecord, seq: number): boolean
  /** Stops reading. */
  stop (): Promise<void>
  /** Resolves when it is done, or was stopped. */
  readonly done: Promise<void>
}

const dayMs = 86_400_000

/** Reads from now on; a record that was made since is not taken for an old one, nor seen twice. */
export function learnRecords ({ directory, days, clock, recall, see, onError, maxWaiting = 100_000 }: LearnOptions): Learning {
  const waiting: { readonly record: AuditRecord, readonly seq: number }[] = []
  let isStopped = false
  let isDone = false
  let last = -1

  async function read (): Promise<void> {
    for await (const batch of readRecords({ directory, since: clock() - days * dayMs })) {
      if (isStopped) return
      const firstNew = waiting[0]?.seq ?? Infinity
      for (const record of batch.filter(({ seq }) => seq < firstNew)) {
        recall(record, record.seq)
        last = record.seq
      }
    }
  }

  const done = read().catch(onError).then(() => {
    isDone = true
    if (!isStopped) for (const { record, seq } of waiting.splice(0).filter((one) => one.seq > last)) see(record, seq)
  })

  return {
    done,
    keep (record, seq) {
      if (isDone) return false
      waiting.push({ record, seq })
      if (waiting.length > maxWaiting) waiting.shift()
      return true
    },
    async stop () {
      isStopped = true
      await done
    }
  }
}
