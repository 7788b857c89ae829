import type { LoggedRecord } from '../audit/read-records.ts'
import type { OpenAnswer, Weighed } from '../authz/weigh.ts'
import { judgeAgain } from './judge-again.ts'
import { nameRequest, readRequestsOptions, recordedRequests, wasJudged, type NamedRequest, type RecordedRequestsOptions } from './recorded-requests.ts'

/** Recorded requests of one principal that a policy would decide otherwise. */
export interface ReplayedChange extends NamedRequest {
  readonly change: 'refused' | 'admitted'
  readonly count: number
  /** What decided then, and what would now; `null`: nothing that allows. */
  readonly before: string | null
  readonly after: string | null
}

/** Recorded requests of which the log does not keep what the policy wants to know. */
export interface OpenRequests {
  readonly count: number
  /** What of the policy hangs on what is not known. `facts` alone: the log has none that can be read. */
  readonly because: readonly OpenAnswer[]
}

/** What a policy would have done with recorded requests. */
export interface ReplayReport {
  /** Id of the policy. */
  readonly policy: string
  /** Times of the first and the last request. */
  readonly first?: string | undefined
  readonly last?: string | undefined
  /** Requests that were judged then: the sum of the next four. */
  readonly requests: number
  readonly same: number
  readonly refused: number
  readonly admitted: number
  /** It cannot be told, and is not guessed. */
  readonly unknown: number
  /** Requests that no policy was asked about: strangers, limited ones, public routes. */
  readonly unjudged: number
  /** The most frequent first. */
  readonly changes: readonly ReplayedChange[]
  readonly open: readonly OpenRequests[]
}

/**
 * Puts every question that a log holds to a policy, and says which it would decide otherwise than it was decided then. In memory that grows
 * with the different questions, not with the log.
 * @throws FMG_ERR_OPTION_INVALID for wrong options.
 * @throws FMG_ERR_FILE when there is no log in the folder, or the identities cannot be read.
 * @throws FMG_ERR_LOG_INCONSISTENT for a line that is no record.
 */
export async function replayPolicy (options: RecordedRequestsOptions): Promise<ReplayReport> {
  const { policy, ...where } = readRequestsOptions(options, 'replayPolicy')
  const { batches, questions, nameOf } = await recordedRequests({ policy, ...where })
  const answer = judgeAgain(policy, questions)
  const counts = { requests: 0, same: 0, refused: 0, admitted: 0, unknown: 0, unjudged: 0 }
  const changes = tally<Omit<ReplayedChange, 'count'>>()
  const open = tally<Omit<OpenRequests, 'count'>>()
  let first: string | undefined
  let last: string | undefined

  function replay (record: LoggedRecord): void {
    first ??= record.timestamp
    last = record.timestamp
    if (!wasJudged(record)) {
      counts.unjudged += record.count ?? 1
      return
    }
    const now = answer(record)
    const outcome = outcomeOf(record, now)
    counts.requests++
    counts[outcome]++
    if (outcome === 'unknown') open.add({ because: now.because })
    else if (outcome !== 'same') changes.add({ change: outcome, ...nameRequest(record, nameOf(String(record.user_id))), before: record.rule ?? null, after: now.rule })
  }

  for await (const records of batches()) for (const record of records) replay(record)
  return { policy: policy.id, first, last, ...counts, changes: changes.counted(), open: open.counted() }
}

function outcomeOf ({ decision }: LoggedRecord, { outcome }: Weighed): 'same' | 'refused' | 'admitted' | 'unknown' {
  if (outcome === 'unknown' || decision === undefined) return 'unknown'
  if (outcome === decision) return 'same'
  return outcome === 'allow' ? 'admitted' : 'refused'
}

/** Counts how often the same is added. */
function tally<T extends object> (): { add (item: T): void, counted (): readonly (T & { readonly count: number })[] } {
  const counts = new Map<string, { readonly item: T, count: number }>()
  return {
    add (item) {
      const key = JSON.stringify(item)
      const known = counts.get(key)
      if (known === undefined) counts.set(key, { item, count: 1 })
      else known.count++
    },
    counted: () => [...counts].sort(([a, { count }], [b, { count: other }]) => other - count || (a < b ? -1 : 1)).map(([, { item, count }]) => ({ ...item, count }))
  }
}
