// A server whose one route takes a credential of this package. Arguments: folder of the fixture, `api-key`.
import path from 'node:path'
import Fastify from 'fastify'
import { apiKey, authenticate, fileKeyStore, readPepper } from 'fastify-model-guard'
import { infer, route, serve } from '../http/inference.ts'

const [folder = ''] = process.argv.slice(2)
const file = (name: string): string => path.join(folder, name)

const app = Fastify()
const keys = await fileKeyStore({ file: file('keys.json') })
app.addHook('onClose', async () => { await keys.close() })
await app.register(authenticate, {
  authenticators: [apiKey({ store: keys, pepper: await readPepper(file('pepper')) })],
  // All thousand callers come from one address here, and each is a stranger once.
  edge: { max: 100_000 }
})
app.post(route, { config: { access: 'authenticated' } }, async () => infer())
await serve(app)
