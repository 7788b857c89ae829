import type { FastifyRequest } from 'fastify'

const proven = Symbol('fastify-model-guard.proven')

type Proven = Readonly<Record<string, unknown>>

declare module 'fastify' {
  interface FastifyRequest {
    [proven]?: Proven
  }
}

/** What a request proved of itself besides who asks: members of the context that policies judge by, and of its record's detail. */
export function provenOf (request: FastifyRequest): Proven | undefined {
  return request[proven]
}

/**
 * Notes what a request proved.
 * @param facts the same for many requests: nothing that is new each time, and nothing secret.
 */
export function noteProven (request: FastifyRequest, name: string, facts: Proven): void {
  request[proven] = { ...request[proven], [name]: facts }
}
