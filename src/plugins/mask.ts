import type { FastifyInstance, FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import type { ModelHandle } from './models.ts'
import { answerStream } from './stream-digest.ts'

const masked = new WeakMap<FastifyRequest, readonly string[]>()

/**
 * Leaves these members out of the answer to this request, and out of what its model gives, where this package runs it. An answer in which
 * nobody here can find them (text, bytes, a stream) leaves only if it was made of such a model's outputs.
 */
export function maskAnswer (request: FastifyRequest, mask: readonly string[]): void {
  masked.set(request, mask)
  // Without the models plugin there is no such member at all.
  if (request.model) request.model = withoutOutputs(request.model, mask)
}

/** Has answers leave without what `maskAnswer` says. */
export function maskAnswers (app: FastifyInstance): void {
  app.addHook('preSerialization', function maskMembers (request, _reply, payload: unknown, done) {
    const mask = masked.get(request)
    masked.delete(request)
    done(null, mask === undefined ? payload : withoutMembers(payload, mask.map((name) => name.split('.'))))
  })

  // What was not serialized here came as text, bytes or a stream.
  app.addHook('onSend', function refuseUnmasked (request, reply, payload: unknown, done) {
    if (!masked.has(request) || request.model || reply.statusCode >= 400 || payload === null || payload === undefined) {
      done(null, payload)
      return
    }
    masked.delete(request)
    answerStream(payload, reply)?.destroy()
    done(guardError('FMG_ERR_ACCESS_DENIED', { reason: 'answer-not-maskable' }))
  })
}

function withoutOutputs (handle: ModelHandle, mask: readonly string[]): ModelHandle {
  const isShown = (name: string): boolean => !mask.includes(name)
  return Object.freeze({
    ...handle,
    outputs: handle.outputs.filter(({ name }) => isShown(name)),
    get ready () { return handle.ready },
    run: async (...asked: Parameters<ModelHandle['run']>) => {
      const { outputs, ...rest } = await handle.run(...asked)
      return { ...rest, outputs: Object.fromEntries(Object.entries(outputs).filter(([name]) => isShown(name))) }
    }
  })
}

/** A copy without what these paths lead to. A path goes through lists; what it does not reach is left as it is. */
function withoutMembers (value: unknown, paths: readonly (readonly string[])[]): unknown {
  const given = hasToJson(value) ? value.toJSON() : value
  if (Array.isArray(given)) return given.map((item) => withoutMembers(item, paths))
  if (typeof given !== 'object' || given === null) return given
  const ended = new Set(paths.flatMap(([name, ...others]) => name !== undefined && others.length === 0 ? [name] : []))
  const kept = Object.entries(given).filter(([name]) => !ended.has(name))
  return Object.fromEntries(kept.map(([name, member]) => {
    const inside = paths.flatMap(([first, ...others]) => first === name ? [others] : [])
    return [name, inside.length === 0 ? member : withoutMembers(member, inside)]
  }))
}

function hasToJson (value: unknown): value is { toJSON: () => unknown } {
  return typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function'
}
