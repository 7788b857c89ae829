import { once } from 'node:events'
import { Agent, request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { chmodSync, renameSync, watch, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { connect } from 'node:tls'
import Fastify from 'fastify'
import t from 'tap'
import { readTls, reloadTls } from '../../src/server/tls-files.ts'
import { issue, type Issued } from '../helpers/certificates.ts'
import { logLines } from '../helpers/log-lines.ts'

const keyOf = ({ privateKey }: Issued): string => String(privateKey.export({ type: 'pkcs8', format: 'pem' }))

t.test('a renewed certificate is taken for new connections, and none is dropped', async (t) => {
  const folder = t.testdir({ key: {}, certificate: {} })
  const files = { keyFile: path.join(folder, 'key', 'key.pem'), certificateFile: path.join(folder, 'certificate', 'cert.pem') }
  const [first, second] = [issue({ subject: 'localhost' }), issue({ subject: 'localhost' })]
  const write = (file: string, text: string): void => {
    writeFileSync(`${file}.new`, text, { mode: 0o600 })
    renameSync(`${file}.new`, file)
  }
  write(files.keyFile, keyOf(first))
  write(files.certificateFile, first.certificate.toString())

  const { stream, messages, said } = logLines()
  const app = Fastify({ https: { ...await readTls(files) }, logger: { stream, level: 'info' } })
  t.teardown(() => app.close())
  reloadTls(app, files)
  app.get('/', async () => 'here')
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as { port: number }
  const fingerprint = async (): Promise<string> => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { fingerprint256 } = socket.getPeerCertificate()
    socket.destroy()
    return fingerprint256
  }
  const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
  t.teardown(() => { agent.destroy() })
  const ask = async (): Promise<[number | undefined, unknown]> => {
    const client = request({ port, host: '127.0.0.1', agent })
    client.end()
    const [response] = await once(client, 'response') as [IncomingMessage]
    const { socket } = response
    response.resume()
    await once(response, 'end')
    return [response.statusCode, socket]
  }
  const [, socket] = await ask()
  t.equal(await fingerprint(), first.certificate.fingerprint256)

  const refused = said('the certificate stays as it was')
  write(files.certificateFile, second.certificate.toString())
  await refused
  t.equal(await fingerprint(), first.certificate.fingerprint256, 'half of a pair is not taken')

  const reloaded = said('certificate reloaded')
  write(files.keyFile, keyOf(second))
  await reloaded
  t.equal(await fingerprint(), second.certificate.fingerprint256)
  const [status, same] = await ask()
  t.equal(status, 200)
  t.equal(same, socket, 'the connection from before answers still')

  const watcher = watch(path.dirname(files.keyFile))
  writeFileSync(path.join(path.dirname(files.keyFile), 'other'), '')
  await once(watcher, 'change')
  watcher.close()
  await setImmediate()
  await app.close()
  t.equal(messages.filter((message) => message === 'certificate reloaded').length, 1, 'what changes beside them changes nothing')
})

t.test('what is no pair, or no secret, is refused by name', async (t) => {
  const [one, other] = [issue({ subject: 'localhost' }), issue({ subject: 'localhost' })]
  const folder = t.testdir({ 'key.pem': keyOf(one), 'cert.pem': other.certificate.toString() })
  const files = { keyFile: path.join(folder, 'key.pem'), certificateFile: path.join(folder, 'cert.pem') }
  chmodSync(files.keyFile, 0o644)
  await t.rejects(readTls(files), { code: 'FMG_ERR_FILE', message: /key\.pem holds a secret but others may read it/ })
  chmodSync(files.keyFile, 0o600)
  await t.rejects(readTls(files), { code: 'FMG_ERR_FILE', message: /are no pair$/ })
  await t.rejects(readTls({ ...files, certificateFile: path.join(folder, 'gone.pem') }), { code: 'FMG_ERR_FILE', message: /cannot read .*gone\.pem/ })
})

t.test('a server without TLS has nothing to reload', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  t.doesNotThrow(() => { reloadTls(app, { keyFile: '/gone/key.pem', certificateFile: '/gone/cert.pem' }) })
})
