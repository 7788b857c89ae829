import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import { coarseOf } from './coarse-outputs.ts'
import { judged } from './judgement.ts'
import { answerStream } from './stream-digest.ts'

/** Lets no answer about a model leave that was not made of coarse outputs. */
export function coarsenAnswers (app: FastifyInstance): void {
  app.addHook('onError', function noteError (request, _reply, _error, done) {
    const state = coarseOf(request)
    if (state !== undefined) state.isMade = true
    done()
  })

  app.addHook('onSend', function refuseFine (request, reply, payload: unknown, done) {
    if (mayLeave(request, reply)) {
      done(null, payload)
      return
    }
    answerStream(payload, reply)?.destroy()
    done(guardError('FMG_ERR_ACCESS_DENIED', { reason: 'answer-not-coarse' }))
  })
}

/** A model that this package does not run gives what nobody here can make coarse. */
function mayLeave (request: FastifyRequest, { statusCode }: FastifyReply): boolean {
  const state = coarseOf(request)
  if (state === undefined || state.isMade || statusCode >= 400) return true
  // What is said of a model is no answer of it.
  return request[judged]?.resource.type !== 'model' || request.method === 'GET' || request.method === 'HEAD'
}
