// A server whose one route takes client certificates, or anyone's. Arguments: folder of the fixture; `guarded` or `bare`.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import Fastify from 'fastify'
import { authenticate, mtls, mutualTls } from 'fastify-model-guard'
import { infer, route, serve } from '../http/inference.ts'

const [folder = '', kind = ''] = process.argv.slice(2)
const file = async (name: string): Promise<Buffer> => await readFile(path.join(folder, name))

const authority = await file('clients.pem')
const app = Fastify({ https: mutualTls({ key: await file('server.key'), certificate: await file('server.pem'), clientAuthorities: [authority] }) })
if (kind === 'guarded') await app.register(authenticate, { authenticators: [mtls({ authorities: [{ certificate: authority, identities: [{ dnsName: 'client.example', id: 'client' }] }] })] })
app.post(route, { config: { access: 'authenticated' } }, async () => infer())
await serve(app)
