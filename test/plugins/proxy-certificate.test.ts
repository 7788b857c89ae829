import { KeyUsageFlags } from '@peculiar/asn1-x509'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import type { ForwardedForm } from '../../src/authn/forwarded-certificate.ts'
import { mtls } from '../../src/authn/mtls.ts'
import type { RequestFacts } from '../../src/authn/request-facts.ts'
import { mutualTls } from '../../src/plugins/mutual-tls.ts'
import type { ProxyCertificateOptions } from '../../src/plugins/proxy-certificate.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { namesOf } from '../helpers/certificates.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'
import { ask, asPem, connectTls, issueNow, listen, server } from '../helpers/tls.ts'

const authority = issueNow({ subject: 'clients', isAuthority: true })
const issueClient = (name: string): ReturnType<typeof issueNow> => issueNow({ subject: name, issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf(`${name}.example`) })
const client = issueClient('client')
const proxy = issueClient('proxy')
const identities = [{ dnsName: 'client.example', id: 'the client' }, { dnsName: 'proxy.example', id: 'the proxy' }]
const escaped = encodeURIComponent(client.certificate.toString())
const written: Readonly<Record<ForwardedForm, readonly [header: string, value: string]>> = {
  rfc9440: ['client-cert', `:${client.certificate.raw.toString('base64')}:`],
  xfcc: ['x-forwarded-client-cert', `By=spiffe://a/b;Cert="${escaped}"`],
  nginx: ['ssl-client-cert', escaped]
}
const forms = Object.keys(written) as ForwardedForm[]

interface Guarded {
  readonly app: FastifyInstance & { reached: number }
  readonly reasons: unknown[]
  readonly seen: RequestFacts['certificate'][]
}

async function serve (t: Test, proxyCertificate?: ProxyCertificateOptions, options: object = {}): Promise<Guarded> {
  const seen: RequestFacts['certificate'][] = []
  const reasons: unknown[] = []
  const inner = mtls({ authorities: [{ certificate: authority.certificate, identities }] })
  const watching: Authenticator = {
    ...inner,
    recall (presented, facts) {
      seen.push(facts.certificate)
      return inner.recall?.(presented, facts) ?? null
    }
  }
  const authenticators = [watching, testAuthenticator()]
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators, edge: { max: 1000 }, ...(proxyCertificate === undefined ? {} : { proxyCertificate }) } }), options)
  app.addHook('onError', async (_request, _reply, error) => { reasons.push(Reflect.get(error, 'reason')) })
  return { app, reasons, seen }
}

const from = ['10.0.0.0/8', 'fd00::/8', '192.0.2.7']

t.test('a certificate from a configured proxy is who is asking', async (t) => {
  for (const form of forms) {
    const { app, seen } = await serve(t, { from, form })
    const [header, value] = written[form]
    for (const remoteAddress of ['10.1.2.3', '::ffff:10.1.2.3', 'fd00::1', '192.0.2.7']) {
      const answer = await app.inject({ url: '/known', remoteAddress, headers: { [header]: value } })
      t.match(answer, { statusCode: 200, body: 'the client' }, `${form} from ${remoteAddress}`)
    }
    t.ok(seen[0])
    t.equal(new Set(seen).size, 1, 'worked out once')
    t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3' }), { statusCode: 401 }, 'no header, no certificate')
  }
  const { app } = await serve(t, { from, form: 'nginx', header: 'X-Client-Cert' })
  t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { 'x-client-cert': escaped } }), { statusCode: 200 })
  t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { 'ssl-client-cert': escaped } }), { statusCode: 401 })
})

t.test('from anyone else the header is refused, whatever else the request says of itself', async (t) => {
  for (const form of forms) {
    const { app, reasons, seen } = await serve(t, { from, form }, { trustProxy: true })
    const [header, value] = written[form]
    for (const remoteAddress of ['192.0.2.8', '11.0.0.1', '::1', '127.0.0.1']) {
      const headers = { [header]: value, 'x-forwarded-for': '10.1.2.3', ...asPrincipal({ id: 'ann' }).headers }
      const answer = await app.inject({ url: '/known', remoteAddress, headers })
      t.match(answer, { statusCode: 400, body: /FMG_ERR_REQUEST_INVALID/ })
      t.match(await app.inject({ url: '/known', remoteAddress, headers: asPrincipal({ id: 'ann' }).headers }), { statusCode: 200, body: 'ann' })
    }
    t.same(reasons, Array<string>(4).fill('certificate-header-from-stranger'))
    t.same(seen, Array<null>(4).fill(null))
  }
})

t.test('where no proxy is configured no header is a certificate', async (t) => {
  const { app } = await serve(t)
  for (const form of forms) {
    const [header, value] = written[form]
    t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { [header]: value } }), { statusCode: 401, body: /FMG_ERR_CREDENTIAL_MISSING/ })
  }
})

t.test('a proxy writes one certificate, in its own form', async (t) => {
  for (const form of forms) {
    const { app, reasons } = await serve(t, { from, form })
    const [header, value] = written[form]
    const twice = await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { [header]: [value, value] } })
    t.match(twice, { statusCode: 400, body: /FMG_ERR_REQUEST_INVALID/ })
    const withKey = await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { [header]: [value, value], ...asPrincipal({ id: 'ann' }).headers } })
    t.match(withKey, { statusCode: 400 }, 'also beside another credential')
    t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { [header]: 'x' } }), { statusCode: 400 })
    t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { [header]: '' } }), { statusCode: 400 })
    t.same(reasons, ['certificate-header-twice', 'certificate-header-twice', 'certificate-header-malformed', 'certificate-header-malformed'])
    for (const other of forms.filter((name) => name !== form)) {
      const [unread, foreign] = written[other]
      t.match(await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { [unread]: foreign } }), { statusCode: 401 }, `${other} is not read`)
    }
  }
})

t.test('a proxy that verified nothing is no way in: the authority\'s signature is checked here', async (t) => {
  const stranger = issueNow({ subject: 'clients', isAuthority: true })
  const forged = issueNow({ subject: 'client', issuer: stranger, usage: KeyUsageFlags.digitalSignature, names: namesOf('client.example') })
  const { app, reasons } = await serve(t, { from, form: 'nginx' })
  const answer = await app.inject({ url: '/known', remoteAddress: '10.1.2.3', headers: { 'ssl-client-cert': encodeURIComponent(forged.certificate.toString()) } })
  t.match(answer, { statusCode: 401 })
  t.same(reasons, ['certificate-of-unknown-authority'])
})

t.test('refusals of the header are counted at the edge like any other', async (t) => {
  const authenticators = [testAuthenticator()]
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators, edge: { max: 1 }, proxyCertificate: { from, form: 'nginx' } } }))
  const headers = { 'ssl-client-cert': escaped }
  t.match(await app.inject({ url: '/known', headers }), { statusCode: 400 })
  t.match(await app.inject({ url: '/known', headers }), { statusCode: 429 })
})

t.test('the proxy\'s own certificate is never its clients\'', async (t) => {
  const { key, cert } = asPem(server)
  const https = mutualTls({ key, certificate: cert, clientAuthorities: [authority.certificate] })
  const behind = await serve(t, { from: ['127.0.0.1'], form: 'rfc9440' }, { https })
  const direct = await serve(t, { from, form: 'rfc9440' }, { https })
  const ports = [await listen(behind.app), await listen(direct.app)] as const
  const header = written.rfc9440.join(': ')

  const throughProxy = await connectTls(ports[0], asPem(proxy))
  t.match(await ask(throughProxy, '/known'), { status: 401 })
  t.same(await ask(throughProxy, '/known', [header]), { status: 200, body: 'the client' })
  t.match(await ask(throughProxy, '/known'), { status: 401 })
  const notAProxy = await connectTls(ports[1], asPem(proxy))
  t.same(await ask(notAProxy, '/known'), { status: 200, body: 'the proxy' })
  t.match(await ask(notAProxy, '/known', [header]), { status: 400 })
  throughProxy.destroy()
  notAProxy.destroy()
})

t.test('options that could not be meant stop the boot', async (t) => {
  for (const [options, message] of [
    [{}, /proxyCertificate\.from must be a list/],
    [{ from: [], form: 'xfcc' }, /from must be a list of at least one address or network/],
    [{ from: ['10.0.0.0/33'], form: 'xfcc' }, /from must be a list of at least one address or network/],
    [{ from, form: 'haproxy' }, /form must be one of rfc9440, xfcc, nginx/],
    [{ from, form: 'nginx', header: 'a b' }, /header must be the name of a header/],
    [{ from, form: 'xfcc', header: 'x' }, /header must be left out: the form xfcc has its own/],
    [{ from, form: 'xfcc', trust: 1 }, /trust is not an option/]
  ] as const) await t.rejects(serve(t, options as never), { code: 'FMG_ERR_OPTION_INVALID', message })
})
