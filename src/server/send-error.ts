import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { isGuardError } from '../errors.ts'

/** Answers in the protocol's error form, `{ "error": text }`, with the code beside it. What nobody foresaw is logged, not told. */
export function sendError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const status = error.statusCode ?? 500
  if (status >= 500) request.log.error({ err: error }, 'request failed')
  const isForeseen = status < 500 || isGuardError(error)
  void reply.code(status).headers(isGuardError(error) ? { ...error.headers } : {}).send(isForeseen ? { error: error.message, code: error.code } : { error: 'internal error', code: 'INTERNAL' })
}
