import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readName } from '../approval.ts'
import type { Block } from '../limits/block.ts'
import { exceptionTerms, type LimitException } from '../limits/exception.ts'
import { object, optional, optionInvalid, string, type Reader } from '../options.ts'
import { answerDone, may, readStrictBodies, storeNothing } from './admin-route.ts'
import { callerOf } from './caller.ts'
import type { OperatorLimits } from './open-limits.ts'
import { understood } from './understood.ts'

const bodyLimit = 65_536
const maxListed = 1000

/** A moment as RFC 3339 writes it, in UTC: milliseconds since the epoch. */
const readTime: Reader<number> = (value, path) => {
  const expected = 'a time in UTC, as 2030-01-31T12:00:00Z'
  const time = Date.parse(string(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/, expected)(value, path))
  if (Number.isNaN(time)) throw optionInvalid(path, expected, value)
  return time
}

// Whoever calls approves: what the body says of that is refused.
const { approvedBy: _caller, ...terms } = exceptionTerms
const readBody = object({ ...terms, until: optional(readTime) })
const readQuery = object({ requestedBy: optional(readName) })

type Named = FastifyRequest<{ Params: { principal: string } }>

/**
 * What an operator may ask about limits over HTTP. What is judged names no principal, or its id would stand in the log: of whom a change is, the
 * record of the change says by pseudonym.
 */
export async function adminLimits (app: FastifyInstance, { blocks, exceptions }: OperatorLimits): Promise<void> {
  readStrictBodies(app)
  storeNothing(app)

  app.get('/exceptions', may('read', 'limit'), async () => ({ exceptions: (await exceptions.list()).map(publicException) }))

  app.post('/exceptions', { ...may('raise', 'limit'), bodyLimit }, async (request, reply) => {
    const exception = await understood(async () => await exceptions.raise({ ...readBody(request.body, 'exception'), approvedBy: callerOf(request) }))
    return await reply.code(201).send(publicException(exception))
  })

  app.delete('/exceptions/:principal', may('end', 'limit'), async (request: Named, reply) => {
    const { principal } = request.params
    const ended = await understood(async () => await exceptions.end(principal, approvedOf(request)))
    return await answerDone(reply, ended, { principal, ended })
  })

  app.get('/blocks', may('read', 'block'), async () => {
    const all = blocks.list()
    return { blocks: all.slice(0, maxListed).map(publicBlock), total: all.length }
  })

  app.delete('/blocks/:principal', may('lift', 'block'), async (request: Named, reply) => {
    const { principal } = request.params
    const lifted = await understood(async () => await blocks.lift(principal, approvedOf(request)))
    return await answerDone(reply, lifted, { principal, lifted })
  })
}

function approvedOf (request: FastifyRequest): { readonly requestedBy: string, readonly approvedBy: string } {
  const approvedBy = callerOf(request)
  return { requestedBy: readQuery(request.query, 'query').requestedBy ?? approvedBy, approvedBy }
}

/** An exception for people and programs: times as RFC 3339 writes them. */
export function publicException ({ principal, quotas, models, until, requestedBy, approvedBy, reason, madeAt }: LimitException): object {
  return { principal, quotas, models, until: until === undefined ? null : new Date(until).toISOString(), requestedBy, approvedBy, reason, madeAt: new Date(madeAt).toISOString() }
}

/** A block for people and programs. */
export function publicBlock ({ principal, seconds, until, level }: Block): object {
  return { principal, seconds, until: new Date(until).toISOString(), level }
}
