import type { FastifyRequest } from 'fastify'
import { type Judgement, judging } from './judgement.ts'
import { rulesOf } from './route-rules.ts'

/** Whether the policy may oblige this request to another tier, and can tell only once the body was parsed. */
export function isTierInBody (request: FastifyRequest): boolean {
  const { access } = rulesOf(request)
  return typeof access === 'object' && access.resource.from === 'body' && mayOblige(request)
}

/** The tier that the policy obliges this request to, asked before its turn where that is yet to come; `undefined` for the principal's own. */
export function obligedTier (request: FastifyRequest): string | undefined | Promise<string | undefined> {
  // Without the authorize plugin there is no such member at all.
  if (request.decision) return request.decision.obligations?.tier
  const { access } = rulesOf(request)
  if (typeof access !== 'object' || !mayOblige(request)) return undefined
  try {
    const judgement = request.server[judging].ahead(request, access)
    return judgement instanceof Promise ? judgement.then(tierOf, () => undefined) : tierOf(judgement)
  } catch {
    // What cannot be judged is refused by `authorize`, and charged until then like what is denied.
    return undefined
  }
}

function mayOblige ({ server }: FastifyRequest): boolean {
  return server.hasDecorator(judging) && (server[judging].policy.tiers ?? []).length > 0
}

function tierOf ({ decision }: Judgement): string | undefined {
  return decision.obligations?.tier
}
