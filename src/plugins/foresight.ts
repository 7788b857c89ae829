import type { FastifyRequest } from 'fastify'
import type { Decision, Resource } from '../authz/policy.ts'
import { judged, judging } from './judgement.ts'
import { rulesOf } from './route-rules.ts'

/** What must be known of a request before it is charged. */
export interface Foresight {
  /** The tier to which the policy obliges; `undefined` for the principal's own. */
  readonly tier: string | undefined
  /** The model that the policy lets the request use. */
  readonly model: string | undefined
}

const nothing: Foresight = Object.freeze({ tier: undefined, model: undefined })

/**
 * Whether that can be told only once the body was parsed.
 * @param areOfModels whether limits hang on the model.
 */
export function isForeseenInBody (request: FastifyRequest, areOfModels: boolean): boolean {
  const { access } = rulesOf(request)
  return typeof access === 'object' && access.resource.from === 'body' && mattersTo(request, access.resource.type, areOfModels)
}

/** Asks the policy before its turn, where that is yet to come and something hangs on what it says. */
export function foresee (request: FastifyRequest, areOfModels: boolean): Foresight | Promise<Foresight> {
  // Without the authorize plugin there is no such member at all.
  if (request.decision) return told(request.decision, request[judged]?.resource)
  const { access } = rulesOf(request)
  if (typeof access !== 'object' || !mattersTo(request, access.resource.type, areOfModels)) return nothing
  try {
    // Where nobody judges, whoever is asked for may be used.
    if (!request.server.hasDecorator(judging)) return { tier: undefined, model: access.resource.resolve(request).id }
    const judgement = request.server[judging].ahead(request, access)
    if (judgement instanceof Promise) return judgement.then(({ decision, question }) => told(decision, question?.resource), () => nothing)
    return told(judgement.decision, judgement.question?.resource)
  } catch {
    // What cannot be judged is refused by `authorize`, and charged until then like what is denied.
    return nothing
  }
}

function mattersTo ({ server }: FastifyRequest, type: string, areOfModels: boolean): boolean {
  return (areOfModels && type === 'model') || (server.hasDecorator(judging) && (server[judging].policy.tiers ?? []).length > 0)
}

// A model that may not be used is not charged: else whoever is denied could spend what others have of it.
function told ({ allowed, obligations }: Decision, resource: Resource | undefined): Foresight {
  return { tier: obligations?.tier, model: allowed && resource?.type === 'model' ? resource.id : undefined }
}
