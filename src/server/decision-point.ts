import type { FastifyInstance } from 'fastify'
import { subjectPropertiesOf } from '../authz/authzen-message.ts'
import { authzen } from '../authz/authzen-policy.ts'
import type { Policy } from '../authz/policy.ts'
import { policyDecisionPoint } from '../plugins/policy-decision-point.ts'
import type { ServerConfig } from './config.ts'

/** The policy that asks the configured decision point. */
export function askedPolicy ({ token, rolesProperty, ...options }: NonNullable<ServerConfig['decisionPoint']>): Policy {
  return authzen({
    ...options,
    ...token !== undefined && { token },
    subjectProperties: (principal) => ({ ...subjectPropertiesOf(principal), [rolesProperty]: principal.roles })
  })
}

/** Answers for this server's own policy: after the guard, which judges who may ask. */
export async function offerDecisions (app: FastifyInstance, policy: Policy, { environment }: ServerConfig): Promise<void> {
  await app.register(policyDecisionPoint, { policy, context: () => ({ environment }) })
}
