import type { FastifyReply } from 'fastify'

/**
 * Aborts when the client goes before it was answered. `request.signal` does not where the body was read: it waits for the close of a stream that has
 * closed by then (Fastify 5.12).
 */
export function clientSignal ({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController()
  raw.once('close', () => {
    if (!raw.writableEnded) controller.abort()
  })
  // It comes once.
  if (raw.destroyed) controller.abort()
  return controller.signal
}
