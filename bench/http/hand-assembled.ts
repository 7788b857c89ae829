// The stack one would put together from well-known packages: JWT, rate limit in Redis, RBAC, and a log line with digests.
// Arguments: folder of the fixture, URL of Redis.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import { newEnforcer } from 'casbin'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { infer, route, serve } from './inference.ts'

declare module '@fastify/jwt' {
  interface FastifyJWT {
    user: { sub: string }
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    inputHash: string
  }
}

const [folder = '', redisUrl = ''] = process.argv.slice(2)
const file = (name: string): string => path.join(folder, name)
const sha256 = (data: string): string => createHash('sha256').update(data).digest('hex')

const app = Fastify()
const enforcer = await newEnforcer(file('rbac.conf'), file('rbac.csv'))
const auditLog = pino(pino.destination({ dest: file('hand-assembled.log'), sync: false }))
const redis = new Redis(redisUrl)
app.addHook('onClose', async () => { redis.disconnect() })

await app.register(jwt, { secret: { public: await readFile(file('jwt.pub')) }, verify: { algorithms: ['RS256'] } })
await app.register(rateLimit, { max: 1_000_000, timeWindow: 60_000, redis, keyGenerator: ({ user }) => user.sub })

const parseJson = app.getDefaultJsonParser('error', 'error')
app.decorateRequest('inputHash', '')
app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
  request.inputHash = sha256(body)
  return parseJson(request, body, done)
})

app.addHook('onRequest', async (request) => { await request.jwtVerify() })
app.addHook('preHandler', async (request, reply) => {
  const { sub } = request.user
  const { model } = request.params as { model: string }
  if (!await enforcer.enforce(sub, model, 'predict')) return await reply.code(403).send({ error: 'access denied' })
})
app.addHook('onSend', async (request, reply, payload) => {
  const { sub } = request.user
  const { model } = request.params as { model: string }
  auditLog.info({ user_id: sub, model_id: model, action: 'predict', status: reply.statusCode, request_id: request.id, input_hash: request.inputHash, output_hash: sha256(String(payload)) })
  return payload
})

app.post(route, async () => infer())
await serve(app)
