import type { FastifyInstance } from 'fastify'
import { listApiKeys } from '../authn/key-record.ts'
import type { KeyStore } from '../authn/key-store.ts'
import type { AuditOptions } from '../plugins/audit.ts'
import { adminIdentities } from './admin-identities.ts'
import { adminAnomalies } from './admin-anomalies.ts'
import { adminLimits } from './admin-limits.ts'
import { may } from './admin-route.ts'
import type { OperatorLimits } from './open-limits.ts'

/** What operators look at and change. */
export interface AdminParts {
  readonly keys: KeyStore
  readonly limits: OperatorLimits
  readonly audit: Pick<AuditOptions, 'log' | 'identities'>
}

/** What an operator may ask over HTTP: the list of keys, without anything secret, who is blocked or has other limits, and that a person be forgotten. */
export async function adminRoutes (app: FastifyInstance, { keys, limits, audit }: AdminParts): Promise<void> {
  app.get('/keys', may('read', 'key'), async () => ({
    keys: await listApiKeys(keys)
  }))
  await app.register(async (scope) => { await adminLimits(scope, limits) }, { prefix: '/limits' })
  await app.register(adminAnomalies, { prefix: '/anomalies' })
  await app.register(async (scope) => { await adminIdentities(scope, audit) }, { prefix: '/identities' })
}
