// A server with a model of its own, here a function: keys, policy, limits and log around it.
//   node dist/examples/own-model.js [folder] [port]
import { existsSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import {
  apiKey, createApiKey, createSigningKey, ensurePepper, fileKeyStore, loadPolicy, memoryLimiter, model, modelGuard, param, readPepper, signerFromFile
} from 'fastify-model-guard'
import { openIdentities, openLog } from 'fastify-model-guard/audit'

const [folder = 'data', port = '3000'] = process.argv.slice(2)
const inFolder = (name: string): string => path.join(folder, name)

await ensurePepper(inFolder('pepper'))
const pepper = await readPepper(inFolder('pepper'))
const store = await fileKeyStore({ file: inFolder('keys.json'), pepper })
if (!existsSync(inFolder('log-key.pem'))) await createSigningKey(inFolder('log-key.pem'), 'log')
const identities = await openIdentities({ file: inFolder('identities.jsonl') })

const policy = loadPolicy(`
version: 1
roles:
  analyst: { permissions: [model:predict] }
`, { source: 'own-model.ts' })

const app = Fastify()
await app.register(modelGuard, {
  authenticate: { authenticators: [apiKey({ store, pepper })] },
  authorize: { policy },
  rateLimit: { limiter: memoryLimiter({}), tiers: { standard: { windows: [{ name: 'minute', quota: 60, windowSeconds: 60 }] } }, defaultTier: 'standard' },
  audit: { identities, log: await openLog({ directory: inFolder('audit'), origin: 'example.org/own-model', signer: await signerFromFile(inFolder('log-key.pem')), identities }) }
})

// The policy knows a model by its attributes; a role reaches the models of its holder's own org.
const attributes = (): Record<string, unknown> => ({ org: 'acme' })
app.post<{ Body: { x: number } }>('/models/:model/predict', {
  config: { access: { action: 'predict', resource: model(param('model'), { attributes }) } },
  schema: { body: { type: 'object', required: ['x'], properties: { x: { type: 'number' } } } }
}, async (request) => {
  request.audit?.set({ model_version: '1' })
  return { y: request.body.x * 2 }
})

const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', org: 'acme', roles: ['analyst'], tier: 'standard' } })
const url = await app.listen({ port: Number(port) })
console.log(`curl ${url}/models/double/predict -H 'x-api-key: ${key}' -H 'content-type: application/json' -d '{"x":21}'`)
process.once('SIGTERM', () => { void app.close() })
