// What it costs at least to know the bearer of a header without keeping the header: one hook, one SHA-256, one look-up. Nothing to protect a server with.
// Arguments: folder of the fixture, and its file of credentials.
import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import Fastify from 'fastify'
import { infer, route, serve } from '../http/inference.ts'

const [folder = '', credentials = ''] = process.argv.slice(2)
const digestOf = (credential: string): string => hash('sha256', credential, 'binary')
const known = new Set((await readFile(path.join(folder, credentials), 'utf8')).split('\n').map(digestOf))

const app = Fastify()
app.addHook('onRequest', function authenticate (request, reply, done) {
  if (known.has(digestOf(request.headers.authorization ?? 'nobody'))) done()
  else void reply.code(401).send()
})
app.post(route, async () => infer())
await serve(app)
