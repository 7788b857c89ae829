import { guardError, isGuardError } from '../errors.ts'
import type { Batch, BatchSemantic } from './authzen-batch.ts'
import { writeObligations } from './authzen-obligations.ts'
import { readQuestion, type AuthzenQuestion } from './authzen-question.ts'
import type { Context, Decision, Policy } from './policy.ts'

/** A Decision of AuthZEN 1.0 (section 5.5). */
export interface AuthzenAnswer {
  readonly decision: boolean
  readonly context?: Readonly<Record<string, unknown>>
}

/** Who answers, and how. */
export interface DecisionPoint {
  readonly policy: Policy
  /** What is so of every question that does not say otherwise. */
  readonly circumstances: Context
  /** Whether a denial says which rule made it. */
  readonly tellReasons: boolean
  /** Told of a policy that threw. */
  readonly onError: (error: unknown) => void
}

/** Answers one question. A policy that throws denies. */
export async function answer (point: DecisionPoint, { principal, action, resource, context: said }: AuthzenQuestion): Promise<AuthzenAnswer> {
  const { policy, circumstances, tellReasons, onError } = point
  try {
    const decision = await policy.decide(principal, action, resource, { ...circumstances, ...said })
    const context = {
      ...tellReasons && !decision.allowed && { reason_admin: reasonOf(decision) },
      ...decision.obligations !== undefined && { obligations: writeObligations(decision.obligations) }
    }
    return { decision: decision.allowed, ...Object.keys(context).length > 0 && { context } }
  } catch (error) {
    onError(error)
    return failed(error)
  }
}

/** Answers questions in their order, up to the one that decides. One that cannot be read is denied, and says why. */
export async function answerAll (point: DecisionPoint, { messages, semantic }: Batch): Promise<readonly AuthzenAnswer[]> {
  const answers: AuthzenAnswer[] = []
  for (const message of messages) {
    const given = await answerMessage(point, message)
    answers.push(given)
    if (isLast(given, semantic)) break
  }
  return answers
}

async function answerMessage (point: DecisionPoint, message: unknown): Promise<AuthzenAnswer> {
  let question: AuthzenQuestion
  try {
    question = readQuestion(message)
  } catch (error) {
    return failed(error)
  }
  return await answer(point, question)
}

function isLast ({ decision }: AuthzenAnswer, semantic: BatchSemantic): boolean {
  return (semantic === 'deny_on_first_deny' && !decision) || (semantic === 'permit_on_first_permit' && decision)
}

/** As the specification's own example writes it (section 5.5.1), under the status that a guard answers with. */
function reasonOf ({ reason, rule }: Decision): Readonly<Record<string, string>> {
  return { 403: rule === null ? reason : `${reason} by ${rule}` }
}

/** The form of the specification's own example (section 7.2.1): messages of this package hold nothing secret, those of others are not told. */
function failed (error: unknown): AuthzenAnswer {
  const { statusCode, message } = isGuardError(error) ? error : guardError('FMG_ERR_POLICY_UNAVAILABLE')
  return { decision: false, context: { error: { status: statusCode, message } } }
}
