// The same by @fastify/jwt. Arguments: folder of the fixture, algorithm, number of tokens it may remember.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import { infer, route, serve } from '../http/inference.ts'
import { audience, issuer } from '../measure/callers.ts'

const [folder = '', algorithm = '', cache = '0'] = process.argv.slice(2)
const publicKey = await readFile(path.join(folder, `${algorithm}.pub`))

const app = Fastify()
await app.register(jwt, {
  secret: { public: publicKey },
  verify: { algorithms: algorithm === 'RS256' ? ['RS256'] : ['ES256'], allowedIss: issuer, allowedAud: audience, cache: Number(cache) }
})
app.addHook('onRequest', async (request) => { await request.jwtVerify() })
app.post(route, async () => infer())
await serve(app)
