import type { FastifyInstance } from 'fastify'
import { listApiKeys } from '../authn/key-record.ts'
import type { KeyStore } from '../authn/key-store.ts'
import { fixed, resource } from '../plugins/resource.ts'

/** What an operator may ask over HTTP: the list of keys, without anything secret. */
export async function adminRoutes (app: FastifyInstance, { keys }: { readonly keys: KeyStore }): Promise<void> {
  app.get('/keys', { config: { access: { action: 'read', resource: resource('key', fixed('all')) } } }, async () => ({
    keys: await listApiKeys(keys)
  }))
}
