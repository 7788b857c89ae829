import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { reactionNames, type Reaction } from '../audit/watch/reactions.ts'
import type { Alert } from '../audit/watch/alert.ts'
import { guardError } from '../errors.ts'
import { fixed, resource } from '../plugins/resource.ts'

type Named = FastifyRequest<{ Params: { subject: string }, Querystring: { action?: unknown } }>

/** What an operator may ask about anomalies over HTTP: the last alerts, what is done about whom, and that it end. Identities are the log's pseudonyms. */
export async function adminAnomalies (app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', async (_request, reply) => { void reply.header('cache-control', 'no-store') })

  app.get('/', may('read'), async () => ({ alerts: app.anomalies.alerts().map(publicAlert), reactions: app.anomalies.list().map(publicReaction) }))

  app.delete('/:subject', may('lift'), async (request: Named, reply) => {
    const { params: { subject }, query: { action: wanted }, principal } = request
    const action = reactionNames.find((name) => name === wanted)
    if (wanted !== undefined && action === undefined) throw guardError('FMG_ERR_REQUEST_INVALID', { detail: `action is one of ${reactionNames.join(', ')}`, reason: 'anomaly-invalid' })
    const lifted = await app.anomalies.lift(subject, principal?.id, action)
    return await answer(reply, lifted, { subject, lifted })
  })
}

function may (action: string): { readonly config: { readonly access: { readonly action: string, readonly resource: ReturnType<typeof resource> } } } {
  return { config: { access: { action, resource: resource('anomaly', fixed('all')) } } }
}

async function answer (reply: FastifyReply, isDone: boolean, body: object): Promise<FastifyReply> {
  return await reply.code(isDone ? 200 : 404).send(body)
}

function publicAlert (alert: Alert): object {
  return { ...alert, time: new Date(alert.time).toISOString() }
}

function publicReaction (reaction: Reaction): object {
  return { ...reaction, from: new Date(reaction.from).toISOString(), until: new Date(reaction.until).toISOString() }
}
