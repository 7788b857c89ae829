import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { allowPlaintext } from '../../src/plugins/listener.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'

const ann = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })

async function listen (app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** Sends as much as the other side takes, and gives all that came back until the connection is over. */
async function talk (port: number, head: string, bodyBytes = 0): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.setEncoding('latin1').on('data', (text: string) => { answer += text })
  socket.on('error', () => {})
  socket.write(head)
  const chunk = Buffer.alloc(65_536, 0x20)
  for (let sent = 0; sent < bodyBytes && !socket.destroyed && socket.writable; sent += chunk.length) {
    if (!socket.write(chunk)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => undefined)
  }
  if (!socket.closed) await new Promise((resolve) => { socket.once('close', resolve) })
  return answer
}

t.test('a stranger who sends 50 MB is answered, and the connection closed, with less than 5 MB read', async (t) => {
  const app = await guardedApp(t, guardOptions(), { bodyLimit: 100_000_000 })
  const port = await listen(app)
  for (const framing of ['content-length: 52428800', 'transfer-encoding: chunked']) {
    const opened = once(app.server, 'connection') as Promise<[Socket]>
    const answer = talk(port, `POST /models/acme-1 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${framing}\r\n\r\n${framing.startsWith('t') ? '3200000\r\n' : ''}`, 52_428_800)
    const [socket] = await opened
    if (!socket.closed) await new Promise((resolve) => { socket.once('close', resolve) })
    t.ok(socket.bytesRead < 5_000_000, `${socket.bytesRead} bytes read`)
    t.match(await answer, /^HTTP\/1\.1 401 Unauthorized\r\n/)
    t.match(await answer, /connection: close/i)
  }
  t.equal(app.reached, 0)
})

t.test('a small upload of a stranger does not cost an honest client its connection', async (t) => {
  const app = await guardedApp(t, guardOptions())
  const port = await listen(app)
  const socket = connect(port, '127.0.0.1')
  let answers = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    answers += text
    if (answers.split('HTTP/1.1 ').length === 3) socket.end()
  })
  socket.write('POST /models/acme-1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}GET /open HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(socket, 'close')
  t.match(answers, /^HTTP\/1\.1 401[\s\S]*HTTP\/1\.1 200/)
})

t.test('over HTTP/2 a refused upload has no connection header, which is forbidden there', async (t) => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  // Fastify types a server for HTTP/2 apart; to a plugin it is the same.
  await app.register(modelGuard as never, guardOptions() as never)
  app.post('/x', { config: { access: 'authenticated' } }, async () => 'x')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const session = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  const stream = session.request({ ':method': 'POST', ':path': '/x', 'content-length': '52428800' })
  stream.on('error', () => {})
  const [headers] = await once(stream, 'response') as [Record<string, unknown>]
  t.equal(headers[':status'], 401)
  t.equal(headers['connection'], undefined)
  session.destroy()
})

t.test('two Authorization headers are refused, though Node would show but one', async (t) => {
  const app = await guardedApp(t, guardOptions())
  const port = await listen(app)
  const { authorization = '' } = ann.headers
  const head = (more: string): string => `GET /known HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: ${authorization}\r\n${more}\r\n`
  t.match(await talk(port, head('')), /^HTTP\/1\.1 200/)
  t.match(await talk(port, head('Authorization: Bearer other\r\n')), /^HTTP\/1\.1 401[\s\S]*error="invalid_request"/)
})

t.test('a listener that is neither loopback nor TLS is closed, unless told otherwise', async (t) => {
  const open = async (options: object, host: string): Promise<{ listening: boolean, logged: string }> => {
    let logged = ''
    const app = Fastify({ logger: { level: 'fatal', stream: { write: (line: string) => { logged += line } } } })
    await app.register(modelGuard, { ...guardOptions(), ...options })
    await app.listen({ port: 0, host })
    const { listening } = app.server
    await app.close()
    return { listening, logged }
  }
  t.match(await open({}, '127.0.0.1'), { listening: true, logged: '' })
  const local = Fastify()
  await local.register(modelGuard, guardOptions())
  // Not in the test's own folder: the path of a socket has about a hundred bytes at most.
  const folder = await mkdtemp(path.join(tmpdir(), 'guard-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await local.listen({ path: path.join(folder, 'socket') })
  t.ok(local.server.listening, 'a Unix socket is guarded by the file system')
  await local.close()
  t.match(await open({}, '0.0.0.0'), { listening: false, logged: /0\.0\.0\.0; use https, or allowPlaintext.*FMG_ERR_LISTENER_INSECURE/ })
  t.match(await open({ [allowPlaintext]: true }, '0.0.0.0'), { listening: true, logged: '' })
  t.match(await open({ allowPlaintext: false }, '127.0.0.1').catch((error: unknown) => error), { code: 'FMG_ERR_OPTION_INVALID' }, 'no string can set it')
})
