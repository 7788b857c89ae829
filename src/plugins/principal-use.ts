import type { LoggedRecord } from '../audit/read-records.ts'
import { questionKey } from './judge-again.ts'
import type { Question } from './judgement.ts'
import type { RecordedQuestions } from './recorded-questions.ts'

/** Requests of one principal that asked the same. */
export interface UsedQuestion {
  readonly question: Question
  /** When the first of them was asked. */
  readonly time: number
  readonly isAllowed: boolean
  count: number
}

/** What one principal asked for. */
export interface PrincipalUse {
  /** Roles that its credentials brought. */
  readonly roles: Set<string>
  readonly asked: Map<string, UsedQuestion>
  /** Requests that were allowed, and of which the log does not say what exactly was judged. */
  readonly lost: LoggedRecord[]
  /** Whether there were any, allowed or not. */
  isPartial: boolean
}

/** Collects what principals asked for, by their pseudonyms. */
export interface PrincipalUses {
  readonly all: ReadonlyMap<string, PrincipalUse>
  /** Takes up whoever made a request. */
  see (record: LoggedRecord): void
  /** Takes up what was asked for. */
  note (record: LoggedRecord, isAllowed: boolean): void
}

/** An empty collection. */
export function principalUses (questions: RecordedQuestions): PrincipalUses {
  const all = new Map<string, PrincipalUse>()

  function useOf ({ user_id: user = '' }: LoggedRecord): PrincipalUse {
    const known = all.get(user)
    if (known !== undefined) return known
    const use = { roles: new Set<string>(), asked: new Map<string, UsedQuestion>(), lost: [], isPartial: false }
    all.set(user, use)
    return use
  }

  return {
    all,
    see (record) {
      const { roles } = useOf(record)
      for (const role of questions.principal(record)?.roles ?? []) roles.add(role)
    },
    note (record, isAllowed) {
      const use = useOf(record)
      const key = `${String(isAllowed)}${questionKey(record)}`
      const known = use.asked.get(key)
      if (known !== undefined) {
        known.count++
        return
      }
      const question = questions.recall(record)
      if (question !== undefined) use.asked.set(key, { question, time: Date.parse(record.timestamp), isAllowed, count: 1 })
      else use.isPartial = true
      if (question === undefined && isAllowed) use.lost.push(record)
    }
  }
}
