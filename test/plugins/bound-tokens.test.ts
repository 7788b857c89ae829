import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer, request as send, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { TLSSocket } from 'node:tls'
import { text } from 'node:stream/consumers'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import type { FastifyInstance } from 'fastify'
import Provider, { type ClientMetadata, type Configuration } from 'oidc-provider'
import t, { type Test } from 'tap'
import { introspection } from '../../src/authn/introspection.ts'
import { jwt } from '../../src/authn/jwt.ts'
import type { Fetch } from '../../src/bounded-fetch.ts'
import { mutualTls } from '../../src/plugins/mutual-tls.ts'
import type { Issued } from '../helpers/certificates.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'
import { memberOf, textOf } from '../helpers/json.ts'
import { ask, asPem, connectTls, issueNow, listen, server, serverAuthority } from '../helpers/tls.ts'

const audience = 'https://models.example'
const authority = issueNow({ subject: 'clients', isAuthority: true })
const ca = serverAuthority.certificate.toString()

function client (subject: string): Issued {
  return issueNow({ subject, issuer: authority, usage: KeyUsageFlags.digitalSignature, privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey })
}

const [holder, other] = [client('holder'), client('other')]

/** How clients show the provider who they are (RFC 8705 section 2): by a name that an authority vouches for, or by the certificate itself. */
const methods: Readonly<Record<'tls_client_auth' | 'self_signed_tls_client_auth', Partial<ClientMetadata>>> = {
  tls_client_auth: { tls_client_auth_subject_dn: 'CN=holder' },
  self_signed_tls_client_auth: { jwks: { keys: [{ ...holder.certificate.publicKey.export({ format: 'jwk' }), kid: 'holder', x5c: [holder.certificate.raw.toString('base64')] }] } }
}

function certificateOf (socket: unknown): TLSSocket['getPeerX509Certificate'] extends () => infer C ? C : never {
  return socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
}

function configuration (format: 'jwt' | 'opaque'): Configuration {
  const resourceServer = { scope: 'predict', audience, accessTokenTTL: 300, accessTokenFormat: format, jwt: { sign: { alg: 'ES256' as const } } }
  const common = (): ClientMetadata => ({ client_id: '', id_token_signed_response_alg: 'ES256', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] })
  return {
    clients: [
      ...Object.entries(methods).map(([method, more]) => ({ ...common(), client_id: method, token_endpoint_auth_method: method as 'tls_client_auth', tls_client_certificate_bound_access_tokens: true, ...more })),
      { ...common(), client_id: 'server', client_secret: 'secret', grant_types: [] }
    ],
    clientAuthMethods: ['client_secret_basic', 'tls_client_auth', 'self_signed_tls_client_auth'],
    jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'ES256' }] },
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: { enabled: true, defaultResource: () => audience, getResourceServerInfo: () => resourceServer },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        selfSignedTlsClientAuth: true,
        tlsClientAuth: true,
        getCertificate: (ctx) => certificateOf(ctx.socket)?.toString(),
        certificateAuthorized: (ctx) => ctx.socket instanceof TLSSocket && ctx.socket.authorized,
        certificateSubjectMatches: (ctx, _property, expected) => certificateOf(ctx.socket)?.subject === expected
      }
    }
  }
}

/** A provider on a TLS socket of its own. */
async function startProvider (t: Test, format: 'jwt' | 'opaque'): Promise<string> {
  const listener = createServer({ ...asPem(server), ca: authority.certificate.toString(), requestCert: true, rejectUnauthorized: false })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => {
    listener.closeAllConnections()
    listener.close()
  })
  const issuer = `https://localhost:${(listener.address() as AddressInfo).port}`
  const answer = new Provider(issuer, configuration(format)).callback()
  listener.on('request', (request, response) => { void answer(request, response) })
  return issuer
}

/** Asks over TLS, with a certificate where one is given. */
async function over (url: string, options: RequestOptions, body = ''): Promise<{ readonly status: number, readonly body: string }> {
  const asked = send(url, { ca, agent: false, ...options })
  asked.end(body)
  const [response] = await once(asked, 'response') as [IncomingMessage]
  return { status: Number(response.statusCode), body: await text(response) }
}

const fetchOverTls: Fetch = async (url, { method, headers, body }) => {
  const answer = await over(url, { method, headers: Object.fromEntries(new Headers(headers)) }, typeof body === 'string' ? body : '')
  return new Response(answer.body, { status: answer.status })
}

async function takeToken (issuer: string, method: string): Promise<string> {
  const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: method, scope: 'predict', resource: audience })
  const { body } = await over(`${issuer}/token`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, ...asPem(holder) }, form.toString())
  return textOf(memberOf(JSON.parse(body), 'access_token'))
}

async function serve (t: Test, issuer: string): Promise<{ readonly app: FastifyInstance, readonly port: number, readonly reasons: unknown[] }> {
  const clientSecret = { read: async () => Buffer.from('secret') }
  const authenticators = [
    jwt({ issuers: [{ issuer, audiences: [audience], algorithms: ['ES256'], tier: 'standard' }], fetch: fetchOverTls }),
    introspection({ issuer, endpoint: `${issuer}/token/introspection`, audiences: [audience], clientId: 'server', clientSecret, tier: 'standard', fetch: fetchOverTls })
  ]
  const { key, cert } = asPem(server)
  // Fixed, as where many processes share them: sessions are resumed whatever happens to the server.
  const https = { ...mutualTls({ key, certificate: cert, clientAuthorities: [authority.certificate] }), ticketKeys: randomBytes(48) }
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators } }), { https } as object)
  const reasons: unknown[] = []
  app.addHook('onError', async (_request, _reply, error) => { reasons.push(Reflect.get(error, 'reason')) })
  return { app, port: await listen(app), reasons }
}

for (const format of ['jwt', 'opaque'] as const) {
  t.test(`a token (${format}) that a provider bound to a certificate is good with it, and with no other`, async (t) => {
    const issuer = await startProvider(t, format)
    const { port, reasons } = await serve(t, issuer)
    for (const method of Object.keys(methods)) {
      const token = await takeToken(issuer, method)
      const bearer = [`authorization: Bearer ${token}`]
      for (const time of ['verified', 'remembered']) {
        const socket = await connectTls(port, asPem(holder))
        t.same(await ask(socket, '/known', bearer), { status: 200, body: `${issuer}|${method}` }, time)
        t.same(await ask(socket, '/known', bearer), { status: 200, body: `${issuer}|${method}` }, `${time}, on the same connection`)
        socket.destroy()
      }
      reasons.length = 0
      const stranger = issueNow({ subject: 'strangers', isAuthority: true })
      const forged = issueNow({ subject: 'holder', issuer: stranger, privateKey: holder.privateKey })
      for (const options of [asPem(other), {}, asPem(forged)]) {
        const socket = await connectTls(port, options)
        t.match(await ask(socket, '/known', bearer), { status: 401, body: /FMG_ERR_CREDENTIAL_INVALID/ })
        socket.destroy()
      }
      t.same(reasons, Array(3).fill('jwt-certificate'))
    }
  })
}

t.test('on a resumed session the certificate is still the one that counts', async (t) => {
  const issuer = await startProvider(t, 'jwt')
  const { port } = await serve(t, issuer)
  const bearer = [`authorization: Bearer ${await takeToken(issuer, 'tls_client_auth')}`]
  for (const [certificate, status] of [[holder, 200], [other, 401]] as const) {
    const first = await connectTls(port, asPem(certificate))
    const ticket = once(first, 'session')
    t.match(await ask(first, '/known', bearer), { status })
    const [session] = await ticket as [Buffer]
    first.destroy()
    // Without the key: what resumes is the session, and the certificate that it was opened with.
    const resumed = await connectTls(port, { session })
    t.ok(resumed.isSessionReused())
    t.match(await ask(resumed, '/known', bearer), { status })
    resumed.destroy()
  }
})
