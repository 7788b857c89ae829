import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { TLSSocket, type TlsOptions } from 'node:tls'
import Fastify, { type FastifyInstance } from 'fastify'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { fileRevocationList } from '../../src/authn/file-revocation-list.ts'
import { mtls, type MtlsOptions } from '../../src/authn/mtls.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { mutualTls, type MutualTlsOptions } from '../../src/plugins/mutual-tls.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { namesOf, revoke, type CertificateOptions, type Issued } from '../helpers/certificates.ts'
import { guardedApp, guardOptions, policy, policyText } from '../helpers/guard.ts'
import { ask, asPem, connectTls, issueNow, listen, server } from '../helpers/tls.ts'

const spiffeId = 'spiffe://prod.example/ns/ml/sa/scorer'
const authority = issueNow({ subject: 'clients', isAuthority: true })
const listed = { certificate: authority.certificate, trustDomain: 'prod.example', identities: [{ dnsName: 'batch.acme.example', id: 'batch', org: 'acme' }] }

function client (changed: Partial<CertificateOptions> = {}): Issued {
  return issueNow({ subject: 'client', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf(spiffeId), ...changed })
}

interface Guarded {
  readonly app: FastifyInstance & { reached: number }
  readonly port: number
  /** Why callers were refused. */
  readonly reasons: unknown[]
  /** How often a certificate had to be looked into. */
  readonly authenticated: () => number
}

async function serve (t: Test, tls: Partial<MutualTlsOptions> & Pick<TlsOptions, 'ticketKeys'> = {}, options: Partial<MtlsOptions> = {}, more: object = {}): Promise<Guarded> {
  const { key, cert } = asPem(server)
  const { ticketKeys, ...given } = tls
  const https = { ...mutualTls({ key, certificate: cert, clientAuthorities: [authority.certificate], ...given }), ticketKeys }
  const counted = counting(mtls({ authorities: [listed], ...options }))
  const text = `${policyText}\nassignments:\n  - principal: { id: batch }\n    roles: [analyst]\n`
  const guarded = guardOptions({ authenticate: { authenticators: [counted.authenticator, testAuthenticator()], ...more }, authorize: { policy: policy(text) } })
  const reasons: unknown[] = []
  const app = await guardedApp(t, guarded, { https } as object)
  app.addHook('onError', async (_request, _reply, error) => { reasons.push(Reflect.get(error, 'reason')) })
  return { app, port: await listen(app), reasons, authenticated: counted.count }
}

function counting (inner: Authenticator): { authenticator: Authenticator, count: () => number } {
  let count = 0
  return {
    authenticator: {
      recall: (presented, facts) => inner.recall?.(presented, facts) ?? null,
      authenticate (presented, facts) {
        count++
        return inner.authenticate(presented, facts)
      }
    },
    count: () => count
  }
}

t.test('the certificate of the connection is who is asking, and the policy says what for', async (t) => {
  const { app, port, reasons } = await serve(t)
  const scorer = await connectTls(port, asPem(client()))
  t.same(await ask(scorer, '/known'), { status: 200, body: spiffeId })
  const batch = await connectTls(port, asPem(client({ names: namesOf('batch.acme.example') })))
  t.same(await ask(batch, '/known'), { status: 200, body: 'batch' })
  t.match(await ask(scorer, '/models/acme-1'), { status: 403 })
  t.equal(app.reached, 0)
  t.match(await ask(batch, '/models/acme-1'), { status: 200 })
  t.equal(app.reached, 1)
  t.same(reasons, ['no-match'])
  scorer.destroy()
  batch.destroy()
})

t.test('who has no certificate, or one that nobody here issued, is answered 401', async (t) => {
  const { port, reasons } = await serve(t)
  const stranger = issueNow({ subject: 'strangers', isAuthority: true })
  const past = { notBefore: new Date(Date.now() - 7_200_000), notAfter: new Date(Date.now() - 3_600_000) }
  for (const options of [{}, asPem(client({ issuer: stranger })), asPem(client({ issuer: { ...authority, privateKey: stranger.privateKey } })), asPem(client(past))]) {
    const socket = await connectTls(port, options)
    t.match(await ask(socket, '/known'), { status: 401, body: /FMG_ERR_CREDENTIAL_MISSING/ })
    socket.destroy()
  }
  const nobody = await connectTls(port)
  t.match(await ask(nobody, '/open'), { status: 200 })
  nobody.destroy()
  const unknown = await connectTls(port, asPem(client({ names: namesOf('other.example') })))
  t.match(await ask(unknown, '/known'), { status: 401, body: /FMG_ERR_CREDENTIAL_INVALID/ })
  unknown.destroy()
  t.same(reasons, [...Array<string>(4).fill('credential-missing'), 'certificate-unknown'])
})

t.test('of a hierarchy that TLS trusts as a whole, only the authority that was named may say who is who', async (t) => {
  const root = issueNow({ subject: 'root', isAuthority: true })
  const lowest = issueNow({ subject: 'lowest', issuer: root, isAuthority: true })
  const beside = issueNow({ subject: 'beside', issuer: root, isAuthority: true })
  const { port, reasons } = await serve(t, { clientAuthorities: [lowest.certificate, root.certificate] }, { authorities: [{ ...listed, certificate: lowest.certificate }] })
  for (const [issuer, status] of [[lowest, 200], [beside, 401]] as const) {
    const { key, cert } = asPem(client({ issuer }))
    const socket = await connectTls(port, { key, cert: cert + asPem(issuer).cert })
    t.match(await ask(socket, '/known'), { status })
    socket.destroy()
  }
  t.same(reasons, ['certificate-of-unknown-authority'])
})

t.test('a credential in a header stands before the certificate', async (t) => {
  const { port, authenticated } = await serve(t)
  const socket = await connectTls(port, asPem(client()))
  const { authorization = '' } = asPrincipal({ id: 'ann' }).headers
  t.same(await ask(socket, '/known', [`authorization: ${authorization}`]), { status: 200, body: 'ann' })
  t.match(await ask(socket, '/known', ['authorization: Bearer x']), { status: 401 })
  t.equal(authenticated(), 2, 'asked, and answered that it is not its kind')
  socket.destroy()
})

t.test('an older TLS than 1.3 must be asked for', async (t) => {
  const strict = await serve(t)
  await t.rejects(connectTls(strict.port, { ...asPem(client()), maxVersion: 'TLSv1.2' }), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' })
  const lax = await serve(t, { minVersion: 'TLSv1.2' })
  const socket = await connectTls(lax.port, { ...asPem(client()), maxVersion: 'TLSv1.2' })
  t.same(await ask(socket, '/known'), { status: 200, body: spiffeId })
  socket.destroy()
  t.throws(() => mutualTls({ key: 'x', certificate: 1, clientAuthorities: [] } as never), { code: 'FMG_ERR_OPTION_INVALID', message: /certificate must be PEM/ })
})

t.test('who is asking is worked out once a connection', async (t) => {
  const read = Reflect.get(TLSSocket.prototype, 'getPeerX509Certificate')
  let reads = 0
  TLSSocket.prototype.getPeerX509Certificate = function (this: TLSSocket) {
    reads++
    return read.call(this)
  }
  t.teardown(() => { TLSSocket.prototype.getPeerX509Certificate = read })
  const { port, authenticated } = await serve(t)
  for (const connection of [1, 2]) {
    const socket = await connectTls(port, asPem(client()))
    for (let request = 0; request < 5; request++) t.match(await ask(socket, '/known'), { status: 200 })
    t.equal(reads, connection)
    t.equal(authenticated(), connection)
    socket.destroy()
  }

  await t.test('in HTTP/2 too, whose streams each have a socket of their own', async (t) => {
    reads = 0
    const { key, cert } = asPem(server)
    const app = Fastify({ http2: true, https: mutualTls({ key, certificate: cert, clientAuthorities: [authority.certificate] }) })
    t.teardown(() => app.close())
    const counted = counting(mtls({ authorities: [listed] }))
    // Fastify types a server for HTTP/2 apart; to a plugin it is the same.
    await app.register(modelGuard as never, guardOptions({ authenticate: { authenticators: [counted.authenticator] } }) as never)
    app.get('/known', { config: { access: 'authenticated' } }, async (request) => request.principal?.id)
    const port = await listen(app as never)
    const socket = await connectTls(port, { ...asPem(client()), ALPNProtocols: ['h2'] })
    const session = connectHttp2('https://localhost', { createConnection: () => socket })
    for (let request = 0; request < 3; request++) {
      const stream = session.request({ ':path': '/known' })
      const [headers] = await once(stream, 'response') as [Record<string, unknown>]
      t.equal(headers[':status'], 200)
      stream.resume()
      await once(stream, 'close')
    }
    t.equal(reads, 1)
    t.equal(counted.count(), 1)
    session.destroy()
  })
})

t.test('whoever was revoked is refused from the next request on, resumed sessions included', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    await t.test(version, async (t) => {
      const file = path.join(t.testdir(), 'clients.crl')
      const replace = async (serials: Buffer[]): Promise<void> => {
        await writeFile(`${file}.new`, revoke(authority, { serials }))
        await rename(`${file}.new`, file)
      }
      await replace([])
      const revocationList = await fileRevocationList({ file, authority: authority.certificate })
      // As every member of a cluster has them: a session that one of them made is taken by all.
      const tls = { ticketKeys: randomBytes(48), minVersion: 'TLSv1.2' as const }
      const options = { authorities: [{ ...listed, revocationList }] }
      const one = await serve(t, tls, options)
      const another = await serve(t, tls, options)
      const serial = randomBytes(8)
      serial[0] = 1
      const certificate = { ...asPem(client({ serial })), maxVersion: version }
      const open = await connectTls(one.port, certificate)
      const ticket = once(open, 'session') as Promise<[Buffer]>
      t.match(await ask(open, '/known'), { status: 200, body: spiffeId })
      // TLS 1.2 hands the ticket over within the handshake.
      const session = version === 'TLSv1.2' ? open.getSession() : (await ticket)[0]

      const resumed = await connectTls(another.port, { ...certificate, ...(session === undefined ? {} : { session }) })
      t.ok(resumed.isSessionReused())
      t.match(await ask(resumed, '/known'), { status: 200, body: spiffeId }, 'resumed with a server that never saw the whole handshake')

      await replace([serial])
      while (!revocationList.isRevoked(serial.toString('hex'))) await new Promise((resolve) => { setImmediate(resolve) })
      const again = await connectTls(another.port, { ...certificate, ...(session === undefined ? {} : { session }) })
      t.ok(again.isSessionReused())
      for (const socket of [open, resumed, again]) {
        t.match(await ask(socket, '/known'), { status: 401, body: /FMG_ERR_CREDENTIAL_INVALID/ })
        socket.destroy()
      }
      const other = await connectTls(one.port, { ...asPem(client()), maxVersion: version })
      t.match(await ask(other, '/known'), { status: 200 }, 'another of the same name')
      other.destroy()
      t.same(one.reasons, ['certificate-revoked'])
      t.same(another.reasons, ['certificate-revoked', 'certificate-revoked'])
      await revocationList.close()
    })
  }
})

t.test('an expired list lets nobody in, and is no fault of the caller\'s', async (t) => {
  const file = path.join(t.testdir(), 'clients.crl')
  await writeFile(file, revoke(authority, { nextUpdate: new Date(Date.now() - 1000) }))
  const revocationList = await fileRevocationList({ file, authority: authority.certificate })
  const { port } = await serve(t, {}, { authorities: [{ ...listed, revocationList }] })
  const socket = await connectTls(port, asPem(client()))
  t.match(await ask(socket, '/known'), { status: 503, body: /FMG_ERR_ISSUER_UNAVAILABLE/ })
  socket.destroy()
  await revocationList.close()
})
