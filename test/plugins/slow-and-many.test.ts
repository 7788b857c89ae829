import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { startSession, type ModelSession } from '../../src/model/session.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import type { ModelVersion } from '../../src/plugins/model-handle.ts'
import { holdUntil } from '../../src/plugins/request-work.ts'
import { fixed, model } from '../../src/plugins/resource.ts'
import { slowModel } from '../helpers/onnx.ts'
import { headersOf, heldServer, slotOptions, type HeldServer } from '../helpers/slots.ts'
import { until } from '../helpers/until.ts'
import { servedModels } from '../helpers/served-models.ts'

const { authorization = '' } = headersOf('acme/ann')

async function listen (app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** A connection of ann's, after it sent this. */
async function send (t: Test, port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

function head (method: string, path: string, more = ''): string {
  return `${method} ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: ${authorization}\r\n${more}\r\n`
}

/** All that comes back until the connection is over. */
async function answerTo (t: Test, port: number, text: string): Promise<string> {
  const socket = await send(t, port, text)
  let answer = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => { answer += chunk })
  await once(socket, 'close')
  return answer
}

async function leave (app: FastifyInstance, socket: Socket): Promise<void> {
  const before = await connections(app)
  socket.destroy()
  while (await connections(app) === before) await new Promise(setImmediate)
}

async function connections (app: FastifyInstance): Promise<number> {
  return await new Promise((resolve) => { app.server.getConnections((_error, count) => { resolve(count) }) })
}

t.test('slow bodies hold no slot, however many there are', async (t) => {
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 1 } }))
  const port = await listen(server.app)
  const slow = []
  for (let index = 0; index < 20; index++) slow.push(await send(t, port, `${head('POST', '/models/acme-one', 'content-type: application/json\r\ncontent-length: 20\r\n')}{"a":`))
  const answer = answerTo(t, port, head('GET', '/me'))
  await server.reached(1)
  t.match(await answerTo(t, port, head('GET', '/me')), /^HTTP\/1\.1 429/, 'the slot is taken by the one that is whole')
  server.end()
  t.match(await answer, /^HTTP\/1\.1 200/)
  slow[0]?.write('"0123456789ab"}')
  await server.reached(1)
  t.match(await answerTo(t, port, head('GET', '/me')), /^HTTP\/1\.1 429/, 'and by a slow one from when it is')
})

t.test('who asks and leaves again and again frees no slot: the handler goes on until it answers', async (t) => {
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 2 } }))
  const port = await listen(server.app)
  for (let index = 1; index <= 2; index++) {
    const socket = await send(t, port, head('GET', '/me'))
    await server.reached(index)
    await leave(server.app, socket)
  }
  for (let index = 0; index < 20; index++) t.match(await answerTo(t, port, head('GET', '/me')), /^HTTP\/1\.1 429/)
  t.equal(server.running(), 2)
  server.end()
  const answer = answerTo(t, port, head('GET', '/me'))
  await server.reached(2)
  server.end()
  server.end()
  t.match(await answer, /^HTTP\/1\.1 200/)
})

/** A server of one model that takes its time, in a worker. */
async function slowServer (t: Test): Promise<{ readonly app: FastifyInstance, readonly session: ModelSession, readonly infer: string }> {
  const files = new Map([['model.onnx', new Uint8Array(slowModel(256, 60))]])
  const session = await startSession({ files, externalData: [], zero: async () => undefined }, { queueLimit: 8, timeoutMs: 60_000, threads: 1 })
  const handle = { id: 'slow', attributes: { org: 'acme' }, run: async (...asked: Parameters<ModelSession['run']>) => await session.run(...asked) } as unknown as ModelVersion
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await session.close()
  })
  app.decorate('models', servedModels({ find: () => handle, list: () => [handle] }))
  app.decorateRequest('model', null)
  await app.register(modelGuard, slotOptions({ concurrency: { 'principal-model': 2 } }))
  app.post('/slow', { config: { access: { action: 'predict', resource: model(fixed('slow')) } } }, async (request) => {
    const x = { datatype: 'FP32', shape: [256, 256], data: new Uint8Array(256 * 256 * 4) } as const
    // Not the signal: a handler that forgets it must not cost more.
    await request.model?.run({ x })
    return 'done'
  })
  return { app, session, infer: head('POST', '/slow', 'content-length: 0\r\n') }
}

t.test('a run that nobody waits for holds its slot until it has really ended', async (t) => {
  const { app, session, infer } = await slowServer(t)
  const port = await listen(app)
  const room = session.room
  for (let index = 1; index <= 2; index++) {
    const socket = await send(t, port, infer)
    await until(() => session.room === room - index)
    await leave(app, socket)
  }
  let refused = 0
  let answer = await answerTo(t, port, infer)
  while (answer.startsWith('HTTP/1.1 429')) {
    refused++
    t.ok(session.room >= room - 2, 'never more than two')
    answer = await answerTo(t, port, infer)
  }
  t.ok(refused > 0)
  t.match(answer, /^HTTP\/1\.1 200/)
})

/** A server whose one slot is held by what this route does. */
async function oneSlot (t: Test, route: (app: FastifyInstance) => void): Promise<{ readonly server: HeldServer, readonly port: number, readonly isFree: () => Promise<boolean> }> {
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 1 } }))
  route(server.app)
  const port = await listen(server.app)
  return {
    server,
    port,
    async isFree () {
      const answer = answerTo(t, port, head('GET', '/me'))
      let status = ''
      void answer.then((text) => { status = text.slice(9, 12) })
      await until(() => status !== '' || server.running() === 1)
      server.end()
      return (await answer).startsWith('HTTP/1.1 200')
    }
  }
}

t.test('a stream holds its slot until it is closed, by either side', async (t) => {
  const streams: Readable[] = []
  const { port, isFree } = await oneSlot(t, (app) => {
    app.get('/stream', { config: { access: 'authenticated' } }, async () => {
      const stream = new Readable({ read () { /* the test pushes */ } })
      streams.push(stream)
      stream.push('first')
      return stream
    })
  })
  const socket = await send(t, port, head('GET', '/stream'))
  await once(socket, 'data')
  t.notOk(await isFree())
  streams[0]?.push(null)
  await once(socket, 'close')
  t.ok(await isFree())
  const other = await send(t, port, head('GET', '/stream'))
  await once(other, 'data')
  t.notOk(await isFree())
  other.destroy()
  while (!await isFree()) await new Promise(setImmediate)
})

t.test('a hijacked reply holds its slot until it is closed', async (t) => {
  let end = (): void => undefined
  const { port, isFree } = await oneSlot(t, (app) => {
    app.get('/raw', { config: { access: 'authenticated' } }, (_request, reply) => {
      reply.hijack()
      reply.raw.write('first')
      end = () => { reply.raw.end() }
    })
  })
  const socket = await send(t, port, head('GET', '/raw'))
  await once(socket, 'data')
  t.notOk(await isFree())
  end()
  await once(socket, 'close')
  t.ok(await isFree())
  const other = await send(t, port, head('GET', '/raw'))
  await once(other, 'data')
  t.notOk(await isFree())
  other.destroy()
  while (!await isFree()) await new Promise(setImmediate)
})

t.test('a server with its own model says how long it goes on', async (t) => {
  let end = (): void => undefined
  const { port, isFree } = await oneSlot(t, (app) => {
    app.get('/job', { config: { access: 'authenticated' } }, async (request, reply) => {
      holdUntil(request, new Promise<void>((resolve) => { end = resolve }))
      return await reply.code(202).send('later')
    })
  })
  t.match(await answerTo(t, port, head('GET', '/job')), /^HTTP\/1\.1 202/)
  t.notOk(await isFree())
  end()
  await new Promise(setImmediate)
  t.ok(await isFree())
})

t.test('requests that fail, whichever way, free their slot', async (t) => {
  const { port, isFree } = await oneSlot(t, (app) => {
    app.get('/bug', { config: { access: 'authenticated' } }, async () => { throw new Error('no') })
    app.get('/late', { config: { access: 'authenticated' }, preHandler: async () => { throw new Error('no') } }, async () => 'never')
    app.get('/header', { config: { access: 'authenticated' } }, async (_request, reply) => await reply.header('x', 'a\nb').send('no'))
  })
  for (const path of ['/bug', '/late', '/header']) {
    t.match(await answerTo(t, port, head('GET', path)), /^HTTP\/1\.1 500/, path)
    while (!await isFree()) await new Promise(setImmediate)
  }
})

async function http2Server (t: Test): Promise<{ readonly server: HeldServer, readonly session: ClientHttp2Session, readonly ask: () => ReturnType<ClientHttp2Session['request']> }> {
  const server = await heldServer(t, slotOptions({ concurrency: { principal: 3 } }), { http2: true } as never)
  // A session that Node ended for its resets keeps its socket until Fastify's `http2SessionTimeout`.
  server.app.server.on('connection', (socket: Socket) => { t.teardown(() => { socket.destroy() }) })
  const session = connectHttp2(`http://127.0.0.1:${await listen(server.app)}`)
  session.on('error', () => {})
  t.teardown(() => { session.destroy() })
  const ask = (): ReturnType<ClientHttp2Session['request']> => {
    const stream = session.request({ ':path': '/me', authorization })
    stream.on('error', () => {})
    return stream
  }
  return { server, session, ask }
}

t.test('over HTTP/2 a stream that is reset frees no slot either', async (t) => {
  const { server, ask } = await http2Server(t)
  for (let index = 1; index <= 3; index++) {
    const stream = ask()
    await server.reached(index)
    stream.close(8)
    await once(stream, 'close')
  }
  for (let index = 0; index < 10; index++) {
    const stream = ask()
    const [headers] = await once(stream, 'response') as [Record<string, unknown>]
    t.equal(headers[':status'], 429)
  }
  t.equal(server.running(), 3)
  server.end()
  const stream = ask()
  await server.reached(3)
  server.end()
  server.end()
  server.end()
  const [headers] = await once(stream, 'response') as [Record<string, unknown>]
  t.equal(headers[':status'], 200)
})

t.test('rapid resets over HTTP/2 end their connection, and never have more at work than there are slots', async (t) => {
  const { server, session, ask } = await http2Server(t)
  let isGone = false
  session.once('close', () => { isGone = true })
  let asked = 0
  let most = 0
  // CVE-2023-44487: each stream is opened and given up at once.
  while (!session.destroyed && asked < 20_000) {
    asked++
    ask().close(8)
    if (asked % 50 === 0) await new Promise(setImmediate)
    most = Math.max(most, server.running())
  }
  await until(() => isGone)
  t.ok(asked < 20_000, `the connection was ended after ${asked} resets`)
  t.ok(most <= 3, `${most} at work`)
})
