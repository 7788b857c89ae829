import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { guardError } from '../../src/errors.ts'
import type { AuditOptions } from '../../src/plugins/audit.ts'
import { audit } from '../../src/plugins/audit.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { strangers } from '../../src/plugins/strangers.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, limits, recordsIn } from '../helpers/guard.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })

interface Recorded {
  readonly app: FastifyInstance
  readonly options: AuditOptions
  /** Closes the server and gives what it recorded of requests. */
  readonly records: () => Promise<Record<string, unknown>[]>
}

async function recorded (t: Test, routes: (app: FastifyInstance) => void, more: Parameters<typeof guardOptions>[0] = {}): Promise<Recorded> {
  const folder = t.testdir()
  const options = await auditIn(folder)
  const app = Fastify()
  await app.register(modelGuard, guardOptions({ audit: options, ...more }))
  routes(app)
  t.teardown(() => app.close())
  return {
    app,
    options,
    records: async () => {
      await app.close()
      return recordsIn(folder).filter(({ action }) => action !== 'facts')
    }
  }
}

const attributes = (id: string): Record<string, unknown> => ({ org: id.split('-')[0] })
const predict = { access: { action: 'predict', resource: model(param('model'), { attributes }) } }

t.test('every end of a request leaves its record', async (t) => {
  const { app, options, records } = await recorded(t, (app) => {
    app.post('/models/:model', { config: predict }, async (request) => {
      request.audit?.set({ model_version: '7', detail: { batch: 1 } })
      return { out: 1 }
    })
    app.get('/fails', { config: { access: 'authenticated' } }, async () => { throw new Error('a message that quotes the input') })
    app.get('/open', { config: { access: 'public' } }, async () => 'open')
    app.get('/probe', { config: { access: 'public', audit: 'none' } }, async () => 'alive')
    app.get('/probe/broken', { config: { access: 'public', audit: 'none' } }, async () => { throw new Error('broken') })
    app.get('/not-so-open', { config: { access: 'authenticated', audit: 'none' } }, async () => 'x')
  }, { rateLimit: limits(5) })
  await app.inject({ method: 'POST', url: '/models/acme-1', payload: { in: 1 }, ...ann })
  await app.inject({ method: 'POST', url: '/models/other-1', payload: { in: 1 }, ...ann })
  await app.inject({ method: 'POST', url: '/models/acme-1', payload: '{', headers: { ...ann.headers, 'content-type': 'application/json' } })
  await app.inject({ url: '/fails', ...ann })
  await app.inject({ url: '/none?secret=in-the-url', ...ann })
  await app.inject({ method: 'POST', url: '/models/acme-1', payload: { in: 1 }, ...ann })
  await app.inject('/open')
  await app.inject('/probe')
  t.equal((await app.inject('/probe/broken')).statusCode, 500)
  await app.inject({ url: '/not-so-open', ...asPrincipal({ id: 'bob' }) })
  const { pseudonym, digests } = options.identities.principal('ann')
  const all = await records()
  t.match(all, [
    {
      action: 'predict',
      status: 'success',
      http_status: 200,
      user_id: pseudonym,
      org: 'acme',
      model_id: 'acme-1',
      model_version: '7',
      detail: { batch: 1 },
      rule: 'role:analyst',
      decision: 'allow',
      resource_type: undefined,
      policy: /^sha256:[0-9a-f]{64}$/,
      credential_method: 'session',
      credential_id: /^c_/,
      facts: /^sha256:/,
      seq: 1,
      input_hash: digests.digest('input', '{"in":1}'),
      output_hash: digests.digest('output', '{"out":1}')
    },
    { action: 'predict', status: 'denied', http_status: 403, reason: 'no-match', decision: 'deny', model_id: 'other-1', output_hash: /^hmac-sha256:/ },
    { action: 'predict', status: 'error', http_status: 400, reason: /^fst-err-ctp/, input_hash: digests.digest('input', '{') },
    { action: 'get /fails', status: 'error', http_status: 500, reason: 'handler-failed' },
    { action: 'unknown-path', status: 'error', http_status: 404 },
    { action: 'predict', status: 'limited', http_status: 429, reason: 'quota-minute', decision: undefined },
    { action: 'get /open', status: 'success', http_status: 200 },
    { action: 'get /not-so-open', status: 'success', user_id: options.identities.pseudonymOf('bob') }
  ])
  t.equal(all.length, 8, 'a probe leaves none, and only a public route can be one')
  t.notMatch(JSON.stringify(all), /in-the-url|quotes the input|"ann"/)
  for (const { duration_ms: duration } of all) t.ok(typeof duration === 'number' && duration >= 0)
})

t.test('strangers are counted, one line an address, reason and second', async (t) => {
  const { app, options, records } = await recorded(t, (app) => { app.get('/x', { config: { access: 'authenticated' } }, async () => 'x') },
    { authenticate: { ...guardOptions().authenticate, edge: { max: 25, windowSeconds: 60 } } })
  for (let index = 0; index < 20; index++) await app.inject('/x')
  for (let index = 0; index < 10; index++) await app.inject({ url: '/none', headers: { authorization: 'Bearer wrong' } })
  const address = options.identities.principal('').digests.digest('address', '127.0.0.0/24')
  t.match((await records()).sort((a, b) => Number(b['count']) - Number(a['count'])), [
    { action: 'authenticate', status: 'unauthenticated', reason: 'credential-missing', count: 20, detail: { address } },
    { status: 'unauthenticated', reason: 'credential-unknown-kind', count: 5 },
    { status: 'limited', reason: 'edge-limit', count: 5, http_status: 429 }
  ])
})

t.test('a public route that refuses by itself has a record of each refusal', async (t) => {
  const { app, records } = await recorded(t, (app) => {
    app.get('/login', { config: { access: 'public' } }, async (_request, reply) => await reply.code(401).send('who?'))
  })
  t.equal((await app.inject('/login')).statusCode, 401)
  const [record] = await records()
  t.match(record, { action: 'get /login', status: 'unauthenticated', http_status: 401 })
  t.notOk(record?.['count'])
})

t.test('what a handler refuses to nobody, in observe mode, is counted too', async (t) => {
  const { app, records } = await recorded(t, (app) => {
    app.get('/gone', { config: { access: 'authenticated' } }, async (_request, reply) => await reply.code(404).send('gone'))
  }, { mode: 'observe' })
  t.equal((await app.inject('/gone')).statusCode, 404)
  t.match(await records(), [{ status: 'error', reason: 'refused', count: 1, http_status: 404 }])
})

t.test('a flood of addresses is counted as one from a bound on', async (t) => {
  const folder = t.testdir()
  const { log, identities } = await auditIn(folder)
  const refused = strangers(log, identities)
  const refusal = { status: 'unauthenticated', httpStatus: 401, reason: 'credential-missing' } as const
  for (let index = 0; index < 1500; index++) refused.count({ ip: `10.${index >> 8}.${index & 255}.1`, id: `req-${index}` } as FastifyRequest, refusal)
  await refused.flush()
  await log.close()
  const counts = recordsIn(folder).map((record) => record['count'])
  t.equal(counts.length, 1001)
  t.equal(counts.at(-1), 500)
})

t.test('the tallies of strangers are written by themselves', async (t) => {
  const { app, options } = await recorded(t, (app) => { app.get('/x', { config: { access: 'authenticated' } }, async () => 'x') })
  const written = new Promise<void>((resolve) => {
    const append = options.log.append.bind(options.log)
    options.log.append = (record, done) => {
      append(record, done)
      resolve()
    }
  })
  // The timer alone keeps no process alive.
  const alive = setInterval(() => {}, 10_000)
  await app.inject('/x')
  await written
  clearInterval(alive)
})

t.test('an abort leaves its record, whenever it comes', async (t) => {
  let handling = (): void => {}
  const reached = new Promise<void>((resolve) => { handling = resolve })
  let uploading = (): void => {}
  const begun = new Promise<void>((resolve) => { uploading = resolve })
  const { app, records } = await recorded(t, (app) => {
    app.addHook('preParsing', async (request) => { if (request.url.endsWith('acme-2')) uploading() })
    app.post('/models/:model', { config: predict }, async (request) => {
      handling()
      await once(request.signal, 'abort')
      return 'too late'
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const sockets: Socket[] = []
  app.server.on('connection', (socket: Socket) => { sockets.push(socket) })
  const client = httpRequest({ port, method: 'POST', path: '/models/acme-1', headers: { ...ann.headers, 'content-type': 'application/json' } })
  client.on('error', () => {})
  client.end('{}')
  await reached
  client.destroy()

  const upload = httpRequest({ port, method: 'POST', path: '/models/acme-2', headers: { ...ann.headers, 'content-type': 'application/json', 'content-length': 100 } })
  upload.on('error', () => {})
  upload.write('{"half":')
  await begun
  upload.destroy()
  for (const socket of sockets) if (!socket.closed) await new Promise((resolve) => { socket.once('close', resolve) })
  const all = await records()
  for (const model of ['acme-1', 'acme-2']) {
    t.match(all.filter(({ model_id: id }) => id === model).at(-1), { status: 'aborted', action: 'predict' })
  }
})

t.test('a stream has a begin record before its first byte and an end record with its digest', async (t) => {
  const { app, options, records } = await recorded(t, (app) => {
    app.get('/node', { config: { access: 'authenticated' } }, async () => Readable.from(['a', 'b', Buffer.from('c')]))
    app.get('/web', { config: { access: 'authenticated' } }, async () => new ReadableStream({ start (c) { c.enqueue(new TextEncoder().encode('abc')); c.close() } }))
    app.get('/response', { config: { access: 'authenticated' } }, async () => new Response(new Blob(['abc']).stream(), { status: 202, headers: { 'x-own': '1' } }))
    app.get('/bare', { config: { access: 'authenticated' } }, async () => new Response(null, { status: 204 }))
  })
  const { digests } = options.identities.principal('ann')
  for (const url of ['/node', '/web', '/response']) {
    const response = await app.inject({ url, ...ann })
    t.equal(response.body, 'abc')
    t.equal(response.statusCode, url === '/response' ? 202 : 200)
    t.equal(response.headers['x-own'], url === '/response' ? '1' : undefined)
  }
  t.equal((await app.inject({ url: '/bare', ...ann })).statusCode, 204)
  const all = await records()
  t.equal(all.length, 7)
  for (const index of [0, 2, 4]) {
    t.notOk(all[index]?.['output_hash'])
    t.match(all[index + 1], { amends: all[index]?.['seq'], status: 'success', output_hash: digests.digest('output', 'abc') })
  }
})

t.test('a body that is cut off by its size is answered, and does no harm', async (t) => {
  const { app, records } = await recorded(t, (app) => {
    app.post('/models/:model', { config: predict, bodyLimit: 100_000 }, async () => 'x')
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const body = new ReadableStream({ start (controller) { for (let n = 0; n < 8; n++) controller.enqueue(Buffer.alloc(60_000, 0x20)); controller.close() } })
  const response = await fetch(`${url}/models/acme-1`, { method: 'POST', headers: { ...ann.headers, 'content-type': 'application/json' }, body, duplex: 'half' })
  t.equal(response.status, 413)
  t.match(await records(), [{ status: 'error', http_status: 413, reason: 'fst-err-ctp-body-too-large' }])
})

t.test('an answer that Fastify cannot send is 500, in both durabilities, and its record amended', async (t) => {
  for (const durability of ['before-response', 'async'] as const) {
    const folder = t.testdir()
    const app = Fastify()
    await app.register(modelGuard, guardOptions({ audit: await auditIn(folder, durability) }))
    app.get('/header', { config: { access: 'authenticated' } }, async (_request, reply) => { void reply.header('x-name', '中'); return 'x' })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    t.equal((await fetch(`${url}/header`, { headers: ann.headers })).status, 500)
    await app.close()
    t.match(recordsIn(folder).filter(({ action }) => action !== 'facts'), [{ http_status: 200 }, { status: 'error', http_status: 500, amends: 1 }])
  }
})

t.test('it is so where no other hook of this package comes after', async (t) => {
  const folder = t.testdir()
  const app = Fastify()
  await app.register(audit, await auditIn(folder))
  app.get('/header', async (_request, reply) => { void reply.header('x-name', '中'); return 'x' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.equal((await fetch(`${url}/header`)).status, 500)
  await app.close()
  t.match(recordsIn(folder), [{ http_status: 200 }, { status: 'error', http_status: 500, amends: 0 }])
})

t.test('a hook that changes the answer later leaves an amending record', async (t) => {
  const { app, records } = await recorded(t, (app) => {
    app.addHook('onSend', async (_request, reply) => { reply.raw.once('finish', () => {}); void reply.code(418) })
    app.get('/x', { config: { access: 'authenticated' } }, async () => 'x')
  })
  t.equal((await app.inject({ url: '/x', ...ann })).statusCode, 418)
  t.match(await records(), [{ status: 'success', http_status: 200 }, { status: 'error', http_status: 418, amends: 1 }])
})

t.test('a hijacked answer is recorded when it is over', async (t) => {
  const { app, records } = await recorded(t, (app) => {
    app.get('/x', { config: { access: 'authenticated' } }, (_request, reply) => {
      reply.hijack()
      reply.raw.end('mine')
    })
  })
  t.equal((await app.inject({ url: '/x', ...ann })).body, 'mine')
  t.match(await records(), [{ action: 'get /x', http_status: 200 }])
})

t.test('no answer leaves without its record', async (t) => {
  const { app, options } = await recorded(t, (app) => {
    app.get('/x', { config: { access: 'authenticated' } }, async () => 'the answer')
    app.get('/open', { config: { access: 'public', audit: 'none' } }, async () => 'open')
  })
  await app.ready()
  options.log.append = (_record, done) => { done(guardError('FMG_ERR_AUDIT_UNAVAILABLE'), -1) }
  const response = await app.inject({ url: '/x', ...ann })
  t.equal(response.statusCode, 503)
  t.equal(response.headers['retry-after'], '5')
  t.match(response.json(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  t.notMatch(response.body, 'the answer')
  t.equal((await app.inject('/open')).statusCode, 200)
})

t.test('audit alone records requests of nobody', async (t) => {
  const folder = t.testdir()
  const app = Fastify()
  await app.register(audit, await auditIn(folder))
  app.get('/x', async () => 'x')
  t.equal((await app.inject('/x')).body, 'x')
  await app.close()
  const [record] = recordsIn(folder)
  t.match(record, { action: 'get /x', status: 'success' })
  t.notOk(record?.['user_id'] ?? record?.['input_hash'] ?? record?.['output_hash'])
})

t.test('observe mode decides and records the same, and refuses nothing', async (t) => {
  const { app, records } = await recorded(t, (app) => { app.post('/models/:model', { config: predict }, async () => 'x') }, { mode: 'observe', rateLimit: limits(1) })
  const ask = async (headers: Readonly<Record<string, string>> = {}): Promise<number> =>
    (await app.inject({ method: 'POST', url: '/models/acme-1', payload: {}, headers })).statusCode
  t.equal(await ask(), 200)
  t.equal(await ask({ authorization: 'Bearer wrong' }), 200)
  t.equal(await ask(ann.headers), 200)
  t.equal(await ask(ann.headers), 200)
  t.equal(await ask(asPrincipal({ id: 'eve' }).headers), 200)
  t.match(await records(), [
    { status: 'success', reason: 'observed-credential-missing' },
    { status: 'success', reason: 'observed-credential-unknown-kind' },
    { status: 'success', rule: 'role:analyst', decision: 'allow' },
    { status: 'success', reason: 'observed-quota-minute' },
    { status: 'success', reason: 'observed-no-match', decision: 'deny' }
  ])
})
