import Fastify, { type FastifyInstance, type FastifyServerOptions, type LightMyRequestResponse as Response } from 'fastify'
import type { Test } from 'tap'
import { modelGuard, type ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { policyDecisionPoint, type PolicyDecisionPointOptions } from '../../src/plugins/policy-decision-point.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardOptions, policy } from './guard.ts'

/** Enforcement points may ask; nobody may anything else. */
export const guardText = `
version: 1
roles: { pep: { permissions: [policy:evaluate], org: '*' } }
`

/** Headers of an enforcement point. */
export const asPep = (): Readonly<Record<string, string>> => asPrincipal({ id: 'pep', type: 'service', roles: ['pep'] }).headers

export interface TestDecisionPoint {
  readonly app: FastifyInstance
  /** Asks an endpoint as an enforcement point. */
  readonly ask: (endpoint: string, body: unknown, headers?: Readonly<Record<string, string>>) => Promise<Response>
}

/** A guarded server that answers for this policy. */
export async function decisionPointFor (t: Test, text: string, more: Partial<PolicyDecisionPointOptions> = {}, guard: Partial<ModelGuardOptions> = {}, server: FastifyServerOptions = {}): Promise<TestDecisionPoint> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ authorize: { policy: policy(guardText) }, ...guard }))
  await app.register(policyDecisionPoint, { policy: policy(text), ...more })
  return {
    app,
    ask: async (endpoint, body, headers = {}) => await app.inject({
      method: 'POST',
      url: `/access/v1/${endpoint}`,
      payload: typeof body === 'string' ? body : JSON.stringify(body),
      headers: { ...asPep(), 'content-type': 'application/json', ...headers }
    })
  }
}
