import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import type { ModelHandle } from './model-handle.ts'
import { answerStream } from './stream-digest.ts'
import { reachesText, withoutMembers } from './without-members.ts'

interface Masking {
  readonly mask: readonly string[]
  /** What is about to leave was serialized here, without what is masked. */
  isApplied: boolean
  /** The masked handle gave outputs, of which a text or bytes can be made. */
  isRun: boolean
  /** What is about to leave says why there is no answer. */
  isError: boolean
}

const masked = new WeakMap<FastifyRequest, Masking>()

/**
 * Leaves these members out of the answer to this request, and out of what its model gives, where this package runs it. An answer in which
 * nobody here can find them (text, bytes, a stream) leaves only if it was made of such a model's outputs.
 */
export function maskAnswer (request: FastifyRequest, mask: readonly string[]): void {
  const masking = { mask, isApplied: false, isRun: false, isError: false }
  masked.set(request, masking)
  // Without the models plugin there is no such member at all.
  if (request.model) request.model = withoutOutputs(request.model, masking)
}

/** Has answers leave without what `maskAnswer` says. */
export function maskAnswers (app: FastifyInstance): void {
  app.addHook('preSerialization', function maskMembers (request, _reply, payload: unknown, done) {
    const masking = masked.get(request)
    if (masking !== undefined) masking.isApplied = true
    done(null, masking === undefined ? payload : withoutMembers(payload, masking.mask))
  })

  app.addHook('onError', function noteError (request, _reply, _error, done) {
    const masking = masked.get(request)
    if (masking !== undefined) masking.isError = true
    done()
  })

  app.addHook('onSend', function refuseUnmasked (request, reply, payload: unknown, done) {
    const masking = masked.get(request)
    if (masking === undefined || mayLeave(payload, reply, masking)) {
      // An error may still take the place of this answer, with another payload.
      if (masking !== undefined) masking.isApplied = false
      done(null, payload)
      return
    }
    masked.delete(request)
    answerStream(payload, reply)?.destroy()
    done(guardError('FMG_ERR_ACCESS_DENIED', { reason: 'answer-not-maskable' }))
  })
}

/** What was not serialized here came as text, bytes or a stream. */
function mayLeave (payload: unknown, { statusCode }: FastifyReply, { mask, isApplied, isRun, isError }: Masking): boolean {
  if (isApplied || payload === null || payload === undefined) return true
  if (typeof payload !== 'string') return isRun
  if (statusCode >= 400 && isError) return true
  return (isRun || statusCode >= 400) && !reachesText(payload, mask)
}

function withoutOutputs (handle: ModelHandle, masking: Masking): ModelHandle {
  const isShown = (name: string): boolean => !masking.mask.includes(name)
  return Object.freeze({
    ...handle,
    outputs: handle.outputs.filter(({ name }) => isShown(name)),
    get ready () { return handle.ready },
    run: async (...asked: Parameters<ModelHandle['run']>) => {
      const { outputs, ...rest } = await handle.run(...asked)
      masking.isRun = true
      return { ...rest, outputs: Object.fromEntries(Object.entries(outputs).filter(([name]) => isShown(name))) }
    }
  })
}
