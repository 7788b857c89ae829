import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { malformed } from './authzen-question.ts'

const semantics = ['execute_all', 'deny_on_first_deny', 'permit_on_first_permit'] as const

/** When the rest of a batch is not evaluated any more (AuthZEN 1.0 section 7.1.2.1). */
export type BatchSemantic = typeof semantics[number]

/** Questions of one request, each as if it had been asked alone. */
export interface Batch {
  readonly semantic: BatchSemantic
  /** Not read yet: what is wrong with one of them is said in its answer. */
  readonly messages: readonly unknown[]
}

const keys = ['subject', 'action', 'resource', 'context'] as const

/** What each of them needs at least. */
const requiredMembers = { subject: ['type', 'id'], action: ['name'], resource: ['type', 'id'], context: [] } as const

/**
 * Reads an Access Evaluations request (AuthZEN 1.0 section 7.1); `null` for one that asks one question, as to the Access Evaluation endpoint.
 * What stands at the top is the default of every question. A question's own `subject`, `action`, `resource` or `context` replaces it whole:
 * of what it overrides, only a `type`, `id` or `name` that it does not have itself is taken (certification scenario, batch with default value merging).
 * @throws FMG_ERR_REQUEST_INVALID for what is wrong with the request as a whole.
 */
export function readBatch (request: JsonObject, maxEvaluations: number): Batch | null {
  const semantic = readSemantic(request.options)
  const { evaluations = [] } = request
  if (!Array.isArray(evaluations)) throw malformed('evaluations', 'a list')
  if (evaluations.length === 0) return null
  if (evaluations.length > maxEvaluations) throw malformed('evaluations', `a list of at most ${maxEvaluations}`)
  for (const key of keys) {
    if (request[key] !== undefined && !isJsonObject(request[key])) throw malformed(key, 'an object')
  }
  return { semantic, messages: evaluations.map((message: unknown) => withDefaults(message, request)) }
}

function readSemantic (options: unknown): BatchSemantic {
  if (options === undefined) return 'execute_all'
  if (!isJsonObject(options)) throw malformed('options', 'an object')
  const { evaluations_semantic: given = 'execute_all' } = options
  const semantic = semantics.find((known) => known === given)
  if (semantic === undefined) throw malformed('options.evaluations_semantic', `one of ${semantics.join(', ')}`)
  return semantic
}

function withDefaults (message: unknown, request: JsonObject): unknown {
  if (!isJsonObject(message)) return message
  return Object.fromEntries(keys.map((key) => [key, overridden(request[key], message[key], requiredMembers[key])]))
}

function overridden (whole: unknown, own: unknown, required: readonly string[]): unknown {
  if (own === undefined) return whole
  if (!isJsonObject(own) || !isJsonObject(whole)) return own
  const missing = required.filter((name) => own[name] === undefined && whole[name] !== undefined)
  return { ...own, ...Object.fromEntries(missing.map((name) => [name, whole[name]])) }
}
