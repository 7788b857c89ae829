import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import type { ForwardedForm } from '../../src/authn/forwarded-certificate.ts'
import { jwt } from '../../src/authn/jwt.ts'
import { mtls } from '../../src/authn/mtls.ts'
import { namesOf, type Issued } from '../helpers/certificates.ts'
import { guardedApp, guardOptions } from '../helpers/guard.ts'
import { ask, asPem, connectTls, issueNow, listen, server, type Answer } from '../helpers/tls.ts'
import { nowSeconds, testIssuer } from '../helpers/tokens.ts'

const skip = spawnSync('nginx', ['-v']).status === 0 ? false : 'nginx is not installed'
const spiffeId = 'spiffe://prod.example/ns/ml/sa/scorer'
const authority = issueNow({ subject: 'clients', isAuthority: true })
const client = issueNow({ subject: 'client', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf(spiffeId) })
const home = testIssuer()
const issuer = { issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, jwks: { keys: [home.jwk] }, tier: 'standard' }
const forms = ['rfc9440', 'xfcc', 'nginx'] as const
const headers: Readonly<Record<ForwardedForm, string>> = { rfc9440: 'Client-Cert', xfcc: 'X-Forwarded-Client-Cert', nginx: 'SSL-Client-Cert' }

// nginx has no variable with a certificate in one line: the lines of its PEM are put together again, as many as a small one has.
const lines = Array.from({ length: 20 }, (_, index) => `line${index}`)
const maps = `
  map $ssl_client_raw_cert $rfc9440 {
    default "";
    "~^-----BEGIN CERTIFICATE-----\\n${lines.map((name) => `(?<${name}>[A-Za-z0-9+/=]*)\\n?`).join('')}-----END" ":${lines.map((name) => `$${name}`).join('')}:";
  }
  map $ssl_client_escaped_cert $xfcc {
    default 'Subject="$ssl_client_s_dn";Cert="$ssl_client_escaped_cert"';
    "" "";
  }
  map $ssl_client_escaped_cert $nginx {
    default $ssl_client_escaped_cert;
  }`

/** The certificate goes to each form's own server; nginx comes from another address than everyone else. */
function serverBlock (form: ForwardedForm, verification: string, port: number): string {
  return `
  server {
    listen unix:${form}-${verification}.sock ssl;
    ssl_verify_client ${verification};
    location / {
      proxy_pass http://127.0.0.1:${port};
      proxy_bind 127.0.0.2;
      proxy_set_header ${headers[form]} $${form};
    }
  }`
}

function configuration (ports: Readonly<Record<ForwardedForm, number>>): string {
  return `daemon off; master_process off; pid nginx.pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  ssl_protocols TLSv1.3; ssl_certificate server.pem; ssl_certificate_key server.key; ssl_client_certificate clients.pem;
  ${maps}
  ${forms.flatMap((form) => ['optional', 'optional_no_ca'].map((verification) => serverBlock(form, verification, ports[form]))).join('')}
}`
}

interface Front {
  /** Asks `/known` through nginx. */
  ask (form: ForwardedForm, certificate?: Issued, lines?: readonly string[], verification?: 'optional' | 'optional_no_ca'): Promise<Answer>
}

async function startNginx (t: Test, ports: Readonly<Record<ForwardedForm, number>>): Promise<Front> {
  // Not in the test's own folder: the path of a socket has about a hundred bytes at most.
  const folder = await mkdtemp(path.join(tmpdir(), 'nginx-'))
  const { key, cert } = asPem(server)
  for (const [name, text] of [['server.key', key], ['server.pem', cert], ['clients.pem', asPem(authority).cert], ['nginx.conf', configuration(ports).replaceAll('unix:', `unix:${folder}/`)]] as const) {
    await writeFile(path.join(folder, name), text, { mode: 0o600 })
  }
  const child = spawn('nginx', ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => { log += text })
  t.teardown(async () => {
    if (child.exitCode === null && child.kill()) await once(child, 'close')
    await rm(folder, { recursive: true })
  })
  const socketOf = (form: ForwardedForm, verification = 'optional'): string => path.join(folder, `${form}-${verification}.sock`)
  await untilOpen(socketOf('nginx'), child, () => log)
  return {
    async ask (form, certificate, lines = [], verification = 'optional') {
      const socket = await connectTls(0, { path: socketOf(form, verification), ...(certificate === undefined ? {} : asPem(certificate)) })
      const answer = await ask(socket, '/known', lines)
      socket.destroy()
      return answer
    }
  }
}

/** Knocks until somebody is there, or never will be. */
async function untilOpen (socket: string, child: ChildProcess, log: () => string): Promise<void> {
  while (child.exitCode === null) {
    const probe = connect(socket)
    const isOpen = await once(probe, 'connect').then(() => true, () => false)
    probe.destroy()
    if (isOpen) return
  }
  throw new Error(`nginx ended with status ${child.exitCode}:\n${log()}`)
}

t.test('behind nginx', { skip }, async (t) => {
  const reasons: unknown[] = []
  const portOf = async (form: ForwardedForm): Promise<number> => {
    const authenticators = [jwt({ issuers: [issuer], clock: () => nowSeconds * 1000 }), mtls({ authorities: [{ certificate: authority.certificate, trustDomain: 'prod.example' }] })]
    const app = await guardedApp(t, guardOptions({ authenticate: { authenticators, proxyCertificate: { from: ['127.0.0.2'], form } } }))
    app.addHook('onError', async (_request, _reply, error) => { reasons.push(Reflect.get(error, 'reason')) })
    return await listen(app)
  }
  const ports = { rfc9440: await portOf('rfc9440'), xfcc: await portOf('xfcc'), nginx: await portOf('nginx') }
  const front = await startNginx(t, ports)
  const spoofed: Readonly<Record<ForwardedForm, string>> = {
    rfc9440: `Client-Cert: :${client.certificate.raw.toString('base64')}:`,
    xfcc: `X-Forwarded-Client-Cert: Cert="${encodeURIComponent(client.certificate.toString())}"`,
    nginx: `SSL-Client-Cert: ${encodeURIComponent(client.certificate.toString())}`
  }

  for (const form of forms) {
    await t.test(`in the form ${form}`, async (t) => {
      t.same(await front.ask(form, client), { status: 200, body: spiffeId }, 'the certificate of the connection to nginx')
      t.match(await front.ask(form), { status: 401, body: /FMG_ERR_CREDENTIAL_MISSING/ }, 'none')
      t.match(await front.ask(form, undefined, [spoofed[form]]), { status: 401, body: /FMG_ERR_CREDENTIAL_MISSING/ }, 'one that a client only claims')
      const other = issueNow({ subject: 'other', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf('spiffe://prod.example/other') })
      t.match(await front.ask(form, other, [spoofed[form]]), { status: 200, body: 'spiffe://prod.example/other' }, 'one that a client claims beside its own')
    })

    await t.test(`in the form ${form}, a token that is bound to a certificate is good with it, and with no other`, async (t) => {
      const token = home.token({ cnf: { 'x5t#S256': hash('sha256', client.certificate.raw, 'base64url') } })
      const bearer = [`authorization: Bearer ${token}`]
      const other = issueNow({ subject: 'other', issuer: authority, usage: KeyUsageFlags.digitalSignature })
      for (const time of ['verified', 'remembered']) t.same(await front.ask(form, client, bearer), { status: 200, body: `${home.issuer}|ann` }, time)
      reasons.length = 0
      t.match(await front.ask(form, other, bearer), { status: 401 })
      t.match(await front.ask(form, undefined, bearer), { status: 401 })
      t.match(await front.ask(form, undefined, [...bearer, spoofed[form]]), { status: 401 }, 'nor with one that a client only claims')
      t.same(reasons, Array(3).fill('jwt-certificate'))
    })

    await t.test(`in the form ${form}, what nginx did not verify is refused here`, async (t) => {
      const stranger = issueNow({ subject: 'strangers', isAuthority: true })
      const forged = issueNow({ subject: 'client', issuer: stranger, usage: KeyUsageFlags.digitalSignature, names: namesOf(spiffeId) })
      t.match(await front.ask(form, forged), { status: 400, body: /nginx/ }, 'nginx itself')
      reasons.length = 0
      t.match(await front.ask(form, forged, [], 'optional_no_ca'), { status: 401, body: /FMG_ERR_CREDENTIAL_INVALID/ })
      t.same(reasons, ['certificate-of-unknown-authority'])
    })

    await t.test(`in the form ${form}, who passes nginx by is refused`, async (t) => {
      const answer = await fetch(`http://127.0.0.1:${ports[form]}/known`, { headers: [spoofed[form].split(': ')] })
      t.equal(answer.status, 400)
      t.equal(reasons.at(-1), 'certificate-header-from-stranger')
    })
  }
})
