import cookie from '@fastify/cookie'
import jwt from '@fastify/jwt'
import fastifyRateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { auditIn, guardOptions, limits } from '../helpers/guard.ts'

type Register = (app: FastifyInstance) => Promise<void>

const own: Register = async (app) => {
  await app.register(jwt, { secret: 'a secret of the server\'s own' })
  await app.register(cookie, { secret: 'another secret of its own' })
  await app.register(fastifyRateLimit, { max: 3, timeWindow: 60_000 })
}

async function serverWith (t: Test, ...parts: readonly Register[]): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  for (const part of parts) await part(app)
  app.get('/token', { config: { access: 'public', rateLimit: false } }, async (_request, reply) => await reply.setCookie('own', '1', { signed: true }).send({ token: app.jwt.sign({ sub: 'own' }) }))
  app.get('/own', { config: { access: 'public' } }, async (request) => await request.jwtVerify())
  app.get('/guarded', { config: { access: 'authenticated', rateLimit: false } }, async (request) => request.principal?.id)
  return app
}

t.test('a server keeps its own tokens, cookies and limits beside the guard, whichever was registered first', async (t) => {
  const folder = t.testdir({ a: {}, b: {} })
  const guard = (name: string): Register => async (app) => {
    await app.register(modelGuard, guardOptions({
      authenticate: { authenticators: [testAuthenticator()], edge: { max: 2, windowSeconds: 60 } }, rateLimit: limits(100), audit: await auditIn(`${folder}/${name}`)
    }))
  }
  for (const app of [await serverWith(t, own, guard('a')), await serverWith(t, guard('b'), own)]) {
    const issued = await app.inject('/token')
    t.match(issued.headers['set-cookie'], /^own=1\./)
    const { token } = issued.json<{ token: string }>()
    const bearer = { headers: { authorization: `Bearer ${token}` } }
    const statuses: number[] = []
    for (let index = 0; index < 4; index++) statuses.push((await app.inject({ url: '/own', ...bearer })).statusCode)
    t.same(statuses, [200, 200, 200, 429], 'its own limit is its own')

    t.equal((await app.inject({ url: '/guarded', ...asPrincipal({ id: 'ann' }) })).body, 'ann')
    t.equal((await app.inject({ url: '/guarded', ...bearer })).statusCode, 401, 'its own token is no principal')
    t.equal((await app.inject({ url: '/guarded', ...bearer })).statusCode, 429, 'the guard\'s edge limit is the guard\'s')
  }
})
