// A server whose one route takes credentials of one kind. Arguments: folder of the fixture; `api-key`, or an algorithm of tokens and how many may be remembered.
import { createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import Fastify from 'fastify'
import { apiKey, authenticate, fileKeyStore, jwt, readPepper, type Authenticator } from 'fastify-model-guard'
import { infer, route, serve } from '../http/inference.ts'
import { audience, issuer } from '../measure/callers.ts'

const [folder = '', kind = '', maxCached = '1000'] = process.argv.slice(2)
const file = (name: string): string => path.join(folder, name)

const app = Fastify()
await app.register(authenticate, {
  authenticators: [kind === 'api-key' ? await apiKeys() : await tokens(kind === 'RS256' ? 'RS256' : 'ES256')],
  // All thousand callers come from one address here, and each is a stranger once.
  edge: { max: 100_000 }
})
app.post(route, { config: { access: 'authenticated' } }, async () => infer())
await serve(app)

async function apiKeys (): Promise<Authenticator> {
  const pepper = await readPepper(file('pepper'))
  const store = await fileKeyStore({ file: file('keys.json'), pepper })
  app.addHook('onClose', async () => { await store.close() })
  return apiKey({ store, pepper })
}

async function tokens (algorithm: 'RS256' | 'ES256'): Promise<Authenticator> {
  const jwk = createPublicKey(await readFile(file(`${algorithm}.pub`))).export({ format: 'jwk' })
  const grants = { orgs: ['acme'] }
  return jwt({
    issuers: [{ issuer, audiences: [audience], algorithms: [algorithm], jwks: { keys: [{ ...jwk, kid: 'one' }] }, claims: { org: 'org' }, grants, tier: 'standard' }],
    maxCached: Number(maxCached)
  })
}
