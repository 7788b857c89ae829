import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readName } from '../approval.ts'
import { object, optional } from '../options.ts'
import { appendChange } from '../plugins/audit-change.ts'
import type { AuditOptions } from '../plugins/audit.ts'
import { answerDone, may } from './admin-route.ts'
import { callerOf } from './caller.ts'
import { understood } from './understood.ts'

const readQuery = object({ requestedBy: optional(readName) })

/**
 * Forgets a person: nobody can say any more which rows of the log are theirs, nor whether an input was. What is judged names nobody, or the
 * name would stand in the log; the record of it says of which pseudonym nobody knows the owner now, and by whose pseudonyms that was asked and done.
 */
export async function adminIdentities (app: FastifyInstance, { log, identities }: Pick<AuditOptions, 'log' | 'identities'>): Promise<void> {
  app.delete('/:principal', may('forget', 'identity'), async (request: FastifyRequest<{ Params: { principal: string } }>, reply) => {
    const { params: { principal }, query } = request
    const caller = callerOf(request)
    const { requestedBy = caller } = await understood(async () => readQuery(query, 'query'))
    const pseudonym = identities.pseudonymOf(principal)
    if (pseudonym !== undefined) {
      // Before it is done: what could not be recorded is not done, and may be asked again.
      await appendChange(log, {
        timestamp: new Date().toISOString(),
        action: 'identity:forget',
        status: 'success',
        reason: 'operator',
        user_id: pseudonym,
        detail: { requested_by: identities.pseudonymOf(requestedBy), approved_by: identities.pseudonymOf(caller) },
        request_id: request.id
      })
    }
    const forgotten = await identities.forget(principal)
    return await answerDone(reply, forgotten, { principal, forgotten })
  })
}
