import type { FastifyRequest } from 'fastify'

/** Id of the principal who asks. */
export function callerOf ({ principal }: FastifyRequest): string {
  // Judged routes have one; without one, nothing is approved.
  return principal?.id ?? ''
}
