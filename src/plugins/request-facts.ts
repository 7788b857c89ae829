import type { FastifyRequest } from 'fastify'
import type { ClientCertificate, RequestFacts, RequestInitiator } from '../authn/request-facts.ts'

/** The facts of a Fastify request. Address and URL follow the server's `trustProxy`. @param provenKey where tokens stand in the body. */
export function factsOf (request: FastifyRequest, certificate: ClientCertificate | null, provenKey?: string | null): RequestFacts {
  return new FactsOfRequest(request, certificate, provenKey)
}

// A class, for what is read is worked out by its prototype: an object is made for every request.
class FactsOfRequest implements RequestFacts {
  readonly #request: FastifyRequest
  readonly certificate: ClientCertificate | null
  readonly provenKey: string | null | undefined

  constructor (request: FastifyRequest, certificate: ClientCertificate | null, provenKey: string | null | undefined) {
    this.#request = request
    this.certificate = certificate
    this.provenKey = provenKey
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

  get initiator (): RequestInitiator {
    return initiatorOf(this.#request)
  }

  get dpopProofs (): readonly string[] {
    const { rawHeaders } = this.#request.raw
    return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'dpop')
  }
}

/** Two lines of one of these headers are joined by Node, and are then none of the words that count. */
export function initiatorOf ({ headers }: FastifyRequest): RequestInitiator {
  return { site: headers['sec-fetch-site']?.toString(), mode: headers['sec-fetch-mode']?.toString(), origin: headers.origin }
}
