import { deniedBy, denialId, endOf, isDenied, readDenial, widened, type DenialRecord } from './denial-record.ts'
import type { Denial, WritableDenyList } from './deny-list.ts'

export interface MemoryDenyList extends WritableDenyList {
  deny (denial: Denial): void
}

/** A deny-list of this process. @param clock milliseconds since the epoch. */
export function memoryDenyList (clock: () => number = Date.now): MemoryDenyList {
  const records = new Map<string, DenialRecord>()
  return {
    deny (given) {
      const denial = readDenial(given, 'denial')
      for (const [id, record] of records) if (endOf(record) <= clock()) records.delete(id)
      for (const denied of deniedBy(denial)) {
        const id = denialId(denied)
        const record = widened(records.get(id), denied, denial)
        if (record !== null) records.set(id, record)
      }
    },
    denies: (token) => isDenied(records, token),
    get size () { return records.size }
  }
}
