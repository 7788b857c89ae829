import type { FastifyReply, FastifyRequest } from 'fastify'
import { guardError, isGuardError, type GuardError } from '../errors.ts'
import { oneOf, withDefault } from '../options.ts'

/** `enforce` refuses; `observe` decides and records the same, and lets everything pass. */
export type Mode = 'enforce' | 'observe'

/** Option `mode`, by default `enforce`. */
export const readMode = withDefault(oneOf<Mode>('enforce', 'observe'), 'enforce')

// Larger uploads of a refused caller are not read to the end; smaller ones are, so that honest connections live on.
const drainBytes = 65_536

const observed = new WeakMap<FastifyRequest, GuardError>()
const refusals = new WeakSet<Error>()

/** Whether this error ended a request before its handler was reached. */
export function isRefusal (error: Error): boolean {
  return refusals.has(error)
}

/** What would have ended this request, had the guard not been in observe mode. */
export function observedRefusal (request: FastifyRequest): GuardError | undefined {
  return observed.get(request)
}

/** Ends the request with this error, or in observe mode notes it and lets the request pass. */
export function refuse (error: unknown, mode: Mode, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
  const refusal = isGuardError(error) ? error : guardError('FMG_ERR_ACCESS_DENIED', { reason: 'check-failed', cause: error })
  if (mode === 'enforce') {
    refusals.add(refusal)
    if (isLargeUpload(request)) void reply.header('connection', 'close')
    // Set here too: an error handler of the server's own would not copy them from the error.
    if (refusal.headers !== undefined) void reply.headers(refusal.headers)
    done(refusal)
    return
  }
  if (!observed.has(request)) observed.set(request, refusal)
  request.log.warn({ code: refusal.code, reason: refusal.reason }, 'observe mode: would be refused')
  done()
}

function isLargeUpload ({ raw: { headers, httpVersionMajor } }: FastifyRequest): boolean {
  // RFC 9113 section 8.2.2: HTTP/2 has no connection header; its streams are reset one by one.
  if (httpVersionMajor !== 1) return false
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > drainBytes
}
