// A guarded server in a process of its own, to be killed: everybody is ann, every answer names its request and comes after its record.
//   node log-child.js FOLDER
import { existsSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import { openIdentities } from '../../src/audit/identities.ts'
import { openLog } from '../../src/audit/log.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { freezePrincipal } from '../../src/principal.ts'
import { createSigningKey } from '../../src/secrets/create-keys.ts'
import { signerFromFile } from '../../src/secrets/key-file.ts'
import { policy } from './guard.ts'

const [folder = ''] = process.argv.slice(2)
const key = path.join(folder, 'log-key.pem')
if (!existsSync(key)) await createSigningKey(key, 'log')
const identities = await openIdentities({ file: path.join(folder, 'identities.jsonl') })
const log = await openLog({
  directory: path.join(folder, 'audit'), origin: 'test.example/log', signer: await signerFromFile(key), identities, durability: 'before-response', checkpointIntervalMs: 20
})
const ann = freezePrincipal({ id: 'ann', type: 'user', tier: 'standard', roles: [], scopes: [], attributes: {}, credential: { method: 'session', id: 's' } })

const app = Fastify()
await app.register(modelGuard, {
  audit: { log, identities }, authenticate: { authenticators: [{ recall: () => ann, authenticate: () => ann }] }, authorize: { policy: policy() }
})
app.post('/echo', { config: { access: 'authenticated' } }, async (request, reply) => {
  void reply.header('x-request-id', request.id)
  return request.body
})
console.log(JSON.stringify({ url: await app.listen({ port: 0, host: '127.0.0.1' }), verifierKey: log.verifierKey }))
