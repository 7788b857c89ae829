import type { FastifyInstance } from 'fastify'
import { listApiKeys } from '../authn/key-record.ts'
import type { KeyStore } from '../authn/key-store.ts'
import type { AuditOptions } from '../plugins/audit.ts'
import { adminIdentities } from './admin-identities.ts'
import { adminAnomalies } from './admin-anomalies.ts'
import { adminLimits } from './admin-limits.ts'
import { adminModels } from './admin-models.ts'
import { may } from './admin-route.ts'
import type { ModelBook } from './model-book.ts'
import type { OperatorLimits } from './open-limits.ts'

/** What operators look at and change. */
export interface AdminParts {
  readonly keys: KeyStore
  readonly limits: OperatorLimits
  readonly audit: Pick<AuditOptions, 'log' | 'identities'>
  readonly models: ModelBook
}

/** What an operator may ask over HTTP: the list of keys, without anything secret, who is blocked or has other limits, which versions of models serve, and that a person be forgotten. */
export async function adminRoutes (app: FastifyInstance, { keys, limits, audit, models }: AdminParts): Promise<void> {
  app.get('/keys', may('read', 'key'), async () => ({
    keys: await listApiKeys(keys)
  }))
  await app.register(async (scope) => { await adminLimits(scope, limits) }, { prefix: '/limits' })
  await app.register(async (scope) => { await adminModels(scope, models) }, { prefix: '/models' })
  await app.register(adminAnomalies, { prefix: '/anomalies' })
  await app.register(async (scope) => { await adminIdentities(scope, audit) }, { prefix: '/identities' })
}
