import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ModelHandle } from './model-handle.ts'
import { noteAnswers, workOf } from './request-work.ts'

/** Holds what is behind a handle until what it gives is called. */
export type Hold = () => () => void

const holds = new WeakMap<ModelHandle, Hold>()
const answering = Symbol('fastify-model-guard/reply')

type AnsweredRequest = FastifyRequest & { [answering]?: FastifyReply }

/** Has requests hold this handle. */
export function holdBy (handle: ModelHandle, hold: Hold): void {
  holds.set(handle, hold)
}

/** Makes it known when the requests of this scope are over. */
export function noteReplies (app: FastifyInstance): void {
  noteAnswers(app)
  app.addHook('onRequest', function noteReply (request: AnsweredRequest, reply, done) {
    request[answering] = reply
    done()
  })
}

/**
 * Keeps this model loaded until all of this request is over: from the decision on, for its body may still come. What was decided upon runs,
 * whatever was swapped meanwhile.
 */
export function holdModel (request: AnsweredRequest, handle: ModelHandle): void {
  const reply = request[answering]
  const hold = holds.get(handle)
  if (reply !== undefined && hold !== undefined) workOf(request).whenOver(reply, hold())
}
