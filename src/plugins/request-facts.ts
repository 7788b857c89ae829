import type { FastifyRequest } from 'fastify'
import type { ClientCertificate, RequestFacts } from '../authn/request-facts.ts'

/** The facts of a Fastify request. Address and URL follow the server's `trustProxy`. */
export function factsOf (request: FastifyRequest): RequestFacts {
  return new FactsOfRequest(request)
}

// A class, for what is read is worked out by its prototype: an object is made for every request.
class FactsOfRequest implements RequestFacts {
  readonly #request: FastifyRequest

  constructor (request: FastifyRequest) {
    this.#request = request
  }

  get method (): string {
    return this.#request.method
  }

  get url (): string {
    const { protocol, host, originalUrl } = this.#request
    return `${protocol}://${host}${originalUrl}`
  }

  get address (): string {
    return this.#request.ip
  }

  get dpopProofs (): readonly string[] {
    const { rawHeaders } = this.#request.raw
    return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'dpop')
  }

  get certificate (): ClientCertificate | null {
    return null
  }
}
