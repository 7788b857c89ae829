import type { FastifyInstance, FastifyRequest } from 'fastify'
import { reactionNames, type Reaction } from '../audit/watch/reactions.ts'
import type { Alert } from '../audit/watch/alert.ts'
import { guardError } from '../errors.ts'
import { answerDone, may, storeNothing } from './admin-route.ts'

type Named = FastifyRequest<{ Params: { subject: string }, Querystring: { action?: unknown } }>

/** What an operator may ask about anomalies over HTTP: the last alerts, what is done about whom, and that it end. Identities are the log's pseudonyms. */
export async function adminAnomalies (app: FastifyInstance): Promise<void> {
  storeNothing(app)

  app.get('/', may('read', 'anomaly'), async () => ({ alerts: app.anomalies.alerts().map(publicAlert), reactions: app.anomalies.list().map(publicReaction) }))

  app.delete('/:subject', may('lift', 'anomaly'), async (request: Named, reply) => {
    const { params: { subject }, query: { action: wanted }, principal } = request
    const action = reactionNames.find((name) => name === wanted)
    if (wanted !== undefined && action === undefined) throw guardError('FMG_ERR_REQUEST_INVALID', { detail: `action is one of ${reactionNames.join(', ')}`, reason: 'anomaly-invalid' })
    const lifted = await app.anomalies.lift(subject, principal?.id, action)
    return await answerDone(reply, lifted, { subject, lifted })
  })
}

function publicAlert (alert: Alert): object {
  return { ...alert, time: new Date(alert.time).toISOString() }
}

function publicReaction (reaction: Reaction): object {
  return { ...reaction, from: new Date(reaction.from).toISOString(), until: new Date(reaction.until).toISOString() }
}
