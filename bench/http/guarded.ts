// A server of one's own behind the whole guard: API keys, policy file, limits, audit log.
// Arguments: folder of the fixture, folder of its own, `before-response` or `async`, URL of Redis or `memory`.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import Fastify from 'fastify'
import { apiKey, createSigningKey, fileKeyStore, loadPolicy, memoryLimiter, model, modelGuard, param, readPepper, redisLimiter, signerFromFile } from 'fastify-model-guard'
import { openIdentities, openLog } from 'fastify-model-guard/audit'
import { Redis } from 'ioredis'
import { infer, route, serve } from './inference.ts'

const [folder = '', own = '', durability = '', redisUrl = ''] = process.argv.slice(2)
const file = (name: string): string => path.join(folder, name)

const app = Fastify()
const pepper = await readPepper(file('pepper'))
const keys = await fileKeyStore({ file: file('keys.json'), pepper })
const redis = redisUrl === 'memory' ? undefined : new Redis(redisUrl)
await createSigningKey(path.join(own, 'log-key.pem'), 'log')
const identities = await openIdentities({ file: path.join(own, 'identities.jsonl') })
const log = await openLog({
  directory: path.join(own, 'audit'),
  origin: 'bench.example/log',
  signer: await signerFromFile(path.join(own, 'log-key.pem')),
  identities,
  durability: durability === 'async' ? 'async' : 'before-response'
})
app.addHook('onClose', async () => {
  await keys.close()
  redis?.disconnect()
})

await app.register(modelGuard, {
  audit: { log, identities },
  authenticate: {
    authenticators: [apiKey({ store: keys, pepper })],
    // All thousand callers come from one address here, and each is a stranger once.
    edge: { max: 100_000 }
  },
  rateLimit: {
    // Redis shares its core with the load: when that is late, the answer is to be late too, and not a refusal.
    limiter: redis === undefined ? memoryLimiter({}) : redisLimiter({ client: redis, timeoutMs: 1000 }),
    tiers: { standard: { windows: [{ name: 'minute', quota: 1_000_000, windowSeconds: 60 }] } },
    defaultTier: 'standard'
  },
  authorize: { policy: loadPolicy(await readFile(file('policy.yaml'), 'utf8'), { source: 'policy.yaml' }), context: () => ({ environment: 'production' }) }
})

const attributes = { org: 'acme', retired: false }
app.post(route, { config: { access: { action: 'predict', resource: model(param('model'), { attributes: () => attributes }) } } }, async () => infer())
await serve(app)
