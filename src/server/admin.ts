import type { FastifyInstance } from 'fastify'
import { listApiKeys } from '../authn/key-record.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { fixed, resource } from '../plugins/resource.ts'
import { adminLimits } from './admin-limits.ts'
import type { OperatorLimits } from './open-limits.ts'

/** What operators look at and change. */
export interface AdminParts {
  readonly keys: KeyStore
  readonly limits: OperatorLimits
}

/** What an operator may ask over HTTP: the list of keys, without anything secret, and who is blocked or has other limits. */
export async function adminRoutes (app: FastifyInstance, { keys, limits }: AdminParts): Promise<void> {
  app.get('/keys', { config: { access: { action: 'read', resource: resource('key', fixed('all')) } } }, async () => ({
    keys: await listApiKeys(keys)
  }))
  await app.register(async (scope) => { await adminLimits(scope, limits) }, { prefix: '/limits' })
}
