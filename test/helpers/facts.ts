import type { RequestFacts } from '../../src/authn/request-facts.ts'

/** The facts of a plain request, with these changed. */
export function requestFacts (changed: Partial<RequestFacts> = {}): RequestFacts {
  return { method: 'POST', url: 'https://models.example/models/fraud/infer', address: '192.0.2.1', dpopProofs: [], certificate: null, initiator: { site: undefined, mode: undefined, origin: undefined }, ...changed }
}
