import type { LoggedRecord } from '../audit/read-records.ts'
import type { FilePolicy } from '../authz/file-policy.ts'
import type { Weighed } from '../authz/weigh.ts'
import { isInScope } from '../scope.ts'
import type { Question } from './judgement.ts'
import { textKey } from './kept-members.ts'
import type { RecordedQuestions } from './recorded-questions.ts'

/** What a policy says of a recorded request. */
export type JudgeAgain = (record: LoggedRecord) => Weighed

const noFacts: Weighed = Object.freeze({ outcome: 'unknown', rule: null, because: Object.freeze([{ rule: 'facts', attributes: Object.freeze([]) }]) })
const outOfScope: Weighed = Object.freeze({ outcome: 'deny', rule: null, because: Object.freeze([]) })

/**
 * Puts recorded questions to a policy, in the way of `authorize`. The same question is judged once, unless the time counts.
 * @param maxRemembered answers that are kept; beyond that some questions are judged again.
 */
export function judgeAgain (policy: FilePolicy, questions: RecordedQuestions, maxRemembered = 1_000_000): JudgeAgain {
  const answers = new Map<string, Weighed | 'timed'>()

  function answer (record: LoggedRecord): Weighed {
    const key = questionKey(record)
    const last = answers.get(key)
    if (last !== undefined && last !== 'timed') return last
    const question = questions.recall(record)
    if (question === undefined) return noFacts
    const end = Date.parse(record.timestamp)
    const judged = judgeAt(policy, questions, question, end)
    if (answers.size >= maxRemembered) answers.clear()
    answers.set(key, questions.clock.isAsked ? 'timed' : judged)
    if (!questions.clock.isAsked) return judged
    // When in between it was judged, the record does not say.
    const before = judgeAt(policy, questions, question, end - (record.duration_ms ?? 0))
    if (before.outcome === judged.outcome) return judged
    return { outcome: 'unknown', rule: null, because: [before, judged].flatMap(({ rule }) => rule === null ? [] : [{ rule, attributes: ['context.time'] }]) }
  }

  return (record) => {
    const judged = answer(record)
    // By the very policy that decided, nothing is unknown.
    if (judged.outcome !== 'unknown' || record.policy !== policy.id || record.decision === undefined) return judged
    return { outcome: record.decision, rule: record.rule ?? null, because: [] }
  }
}

/** Tells questions apart, but for their time. */
export function questionKey ({ facts, action, resource_id: resourceId, model_id: modelId }: LoggedRecord): string {
  return `${facts ?? ''}${textKey(action)}${resourceId ?? modelId ?? ''}`
}

/** Puts one question at one moment. */
export function judgeAt (policy: FilePolicy, { asked, clock }: RecordedQuestions, { principal, action, resource, context }: Question, time: number): Weighed {
  clock.now = time
  clock.isAsked = false
  asked.clear()
  const { limitedTo } = principal.credential
  if (limitedTo !== undefined) {
    const isCovered = isInScope(limitedTo, { type: resource.type, action, id: resource.id })
    if (asked.size > 0) return { outcome: 'unknown', rule: null, because: [{ rule: 'scopes', attributes: [...asked] }] }
    if (!isCovered) return outOfScope
  }
  const { allowed, rule } = policy.decide(principal, action, resource, context)
  if (asked.size === 0) return { outcome: allowed ? 'allow' : 'deny', rule, because: [] }
  return policy.weigh(principal, action, resource, context, asked)
}
