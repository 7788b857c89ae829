import { once } from 'node:events'
import { writeFileSync, renameSync } from 'node:fs'
import path from 'node:path'
import type { TLSSocket } from 'node:tls'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import { defaultConfig, loadConfig, type ServerConfig } from '../../src/server/config.ts'
import { runServer, stopServer, type RunningServer } from '../../src/server/run-server.ts'
import { namesOf, revoke } from '../helpers/certificates.ts'
import { ask, asPem, connectTls, issueNow, server } from '../helpers/tls.ts'

const root = issueNow({ subject: 'root', isAuthority: true })
const authority = issueNow({ subject: 'clients', isAuthority: true, issuer: root, usage: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign })
const clientOf = (name: string, serial: Buffer): ReturnType<typeof issueNow> => issueNow({ subject: name, issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf(name), serial })
const scorer = clientOf('scorer.example', Buffer.from([1]))
const stranger = clientOf('stranger.example', Buffer.from([2]))
const policy = `
version: 1
roles: { operator: { permissions: ['key:read'], org: '*' } }
assignments: [{ principal: { id: scorer }, roles: [operator] }]
`

/** A configuration in files, as an operator writes it, with these lines more. */
async function configIn (t: Test, lines: readonly string[]): Promise<{ readonly config: ServerConfig, readonly folder: string }> {
  const { key, cert } = asPem(server)
  const folder = t.testdir({
    'server.pem': cert,
    'clients.pem': authority.certificate.toString(),
    'root.pem': root.certificate.toString(),
    'clients.crl': '',
    'policy.yaml': policy,
    'guard.yaml': ['listen: { port: 0, tls: { keyFile: server.key, certificateFile: server.pem } }', 'policy: policy.yaml', ...lines].join('\n')
  })
  writeFileSync(path.join(folder, 'server.key'), key, { mode: 0o600 })
  writeFileSync(path.join(folder, 'clients.crl'), revoke(authority))
  return { config: await loadConfig(path.join(folder, 'guard.yaml')), folder }
}

async function start (t: Test, config: ServerConfig): Promise<RunningServer> {
  const running = await runServer(config)
  t.teardown(() => stopServer(running.app))
  return running
}

const portOf = ({ url }: RunningServer): number => Number(new URL(url).port)
const authorities = 'authorities: [{ certificateFile: clients.pem, revocationListFile: clients.crl, identities: [{ dnsName: scorer.example, id: scorer }] }]'

t.test('a client proves by its certificate who it is, and one that is revoked is refused on the connection it has', async (t) => {
  const { config, folder } = await configIn(t, [`clientCertificates: { ${authorities}, aboveFiles: [root.pem] }`])
  const port = portOf(await start(t, config))
  const connect = async (...of: readonly ReturnType<typeof issueNow>[]): Promise<TLSSocket> => {
    const socket = await connectTls(port, of[0] === undefined ? {} : asPem(of[0]))
    t.teardown(() => socket.destroy())
    return socket
  }
  const known = await connect(scorer)
  t.equal((await ask(known, '/v2')).status, 200)
  t.equal((await ask(known, '/admin/keys')).status, 200, 'the policy assigns its role')
  t.equal((await ask(await connect(stranger), '/v2')).status, 401)
  t.equal((await ask(await connect(), '/v2')).status, 401)

  writeFileSync(path.join(folder, 'clients.new'), revoke(authority, { serials: [Buffer.from([1])], thisUpdate: new Date('2026-02-02T00:00:00Z') }))
  renameSync(path.join(folder, 'clients.new'), path.join(folder, 'clients.crl'))
  while ((await ask(known, '/v2')).status === 200);
  t.equal((await ask(known, '/v2')).status, 401)
})

t.test('behind a proxy the certificate stands in its header, and the listener asks for none', async (t) => {
  const { config } = await configIn(t, [`clientCertificates: { ${authorities}, proxy: { from: [127.0.0.1], form: rfc9440 } }`])
  const port = portOf(await start(t, config))
  const socket = await connectTls(port)
  t.teardown(() => socket.destroy())
  t.equal((await ask(socket, '/v2')).status, 401)
  t.equal((await ask(socket, '/v2', [`client-cert: :${scorer.certificate.raw.toString('base64')}:`])).status, 200)
  t.equal((await ask(socket, '/v2', [`client-cert: :${stranger.certificate.raw.toString('base64')}:`])).status, 401)
})

t.test('a revocation list that cannot be taken leaves the last one in force', async (t) => {
  const { config, folder } = await configIn(t, [`clientCertificates: { ${authorities}, aboveFiles: [root.pem] }`])
  const running = await start(t, config)
  const said = new Promise<string>((resolve) => {
    running.app.log.error = (_: unknown, message?: string) => { resolve(String(message)) }
  })
  writeFileSync(path.join(folder, 'clients.crl'), 'no list')
  t.equal(await said, 'the revocation list stays as it was')
  const socket = await connectTls(portOf(running), asPem(scorer))
  t.equal((await ask(socket, '/v2')).status, 200)
  socket.destroy()
  await once(socket, 'close')
})

t.test('a workload is known by its SPIFFE ID, and that its certificate ends soon is logged', async (t) => {
  const { config } = await configIn(t, ['clientCertificates: { authorities: [{ certificateFile: clients.pem, trustDomain: prod.example }], aboveFiles: [root.pem] }'])
  const running = await start(t, config)
  const warned: unknown[] = []
  running.app.log.warn = (what: unknown) => { warned.push(what) }
  const month = 30 * 86_400_000
  const old = issueNow({ subject: 'old', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf('spiffe://prod.example/scorer'), notBefore: new Date(Date.now() - month), notAfter: new Date(Date.now() + 60_000) })
  const socket = await connectTls(portOf(running), asPem(old))
  t.equal((await ask(socket, '/v2')).status, 200)
  t.match(warned, [{ kind: 'client-certificate' }])
  socket.destroy()
})

t.test('files that are not there stop the start, by name', async (t) => {
  const tls = { keyFile: '/gone.key', certificateFile: '/gone.pem' }
  const clientCertificates = { authorities: [{ certificateFile: '/gone/clients.pem', trustDomain: undefined, identities: [], revocationListFile: undefined }], aboveFiles: [], proxy: undefined }
  await t.rejects(runServer({ ...defaultConfig, data: t.testdir(), listen: { ...defaultConfig.listen, port: 0, tls }, clientCertificates }), { code: 'FMG_ERR_FILE', message: /cannot read \/gone\/clients\.pem/ })
})
