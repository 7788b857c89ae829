import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t from 'tap'
import { readAuthorityCertificate } from '../../src/authn/authority-certificate.ts'
import { fileRevocationList } from '../../src/authn/file-revocation-list.ts'
import { parseRevocationList } from '../../src/authn/revocation-list.ts'
import { issue, revoke, type RevocationListOptions } from '../helpers/certificates.ts'

const authority = issue({ subject: 'authority', isAuthority: true, usage: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign })
const facts = readAuthorityCertificate(authority.certificate, 'authority')
const pem = (der: Buffer): string => `-----BEGIN X509 CRL-----\n${der.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END X509 CRL-----\n`
const serial = Buffer.from('00c0ffee', 'hex')

t.test('a list says what was revoked, in PEM and in DER', async (t) => {
  const der = revoke(authority, { serials: [serial, Buffer.from([0])] })
  for (const bytes of [der, Buffer.from(pem(der)), Buffer.from(pem(der).replaceAll('\n', '\r\n'))]) {
    const list = parseRevocationList(bytes, facts)
    t.match(list, { authority: facts.fingerprint, thisUpdate: Date.parse('2026-01-02T00:00:00Z'), nextUpdate: Date.parse('2030-01-01T00:00:00Z') })
    t.ok(list.isRevoked('c0ffee'))
    t.ok(list.isRevoked('00'))
    t.notOk(list.isRevoked('c0ffef'))
  }
  t.notOk(parseRevocationList(revoke(authority), facts).isRevoked('c0ffee'), 'an empty list')
})

t.test('a list that is not a whole one of this authority is refused', async (t) => {
  const der = revoke(authority, { serials: [serial] })
  const changed = (options: RevocationListOptions): Buffer => revoke(authority, { serials: [serial], ...options })
  const tampered = Buffer.from(der)
  tampered[tampered.indexOf(serial) + 1] = 0xc1
  const withoutRight = issue({ subject: 'authority', isAuthority: true, usage: KeyUsageFlags.keyCertSign })
  for (const [bytes, message] of [
    [Buffer.from('x'), /malformed/],
    [Buffer.from(pem(der).replace('X509 CRL', 'CERTIFICATE')), /malformed/],
    [Buffer.from(pem(der).replace('M', 'M*')), /malformed/],
    [Buffer.from(pem(der).replace(/=*\n---/, 'A\n---')), /malformed/],
    [changed({ issuerName: 'other' }), /another authority/],
    [revoke({ ...authority, privateKey: generateKeyPairSync('ed25519').privateKey }), /not signed/],
    [tampered, /not signed/],
    [changed({ algorithm: '1.2.840.113549.1.1.11' }), /not signed/],
    [changed({ algorithm: '1.2.840.113549.1.1.4' }), /not signed/],
    [changed({ innerAlgorithm: '1.2.840.113549.1.1.11' }), /not signed/],
    [changed({ unknownExtension: '2.5.29.27' }), /partial or indirect/],
    [changed({ unknownExtension: '2.5.29.28' }), /partial or indirect/],
    [changed({ unknownEntryExtension: '2.5.29.29' }), /partial or indirect/],
    [changed({ nextUpdate: null }), /when the next one comes/]
  ] as const) t.throws(() => parseRevocationList(bytes, facts), { code: 'FMG_ERR_FILE', message })
  t.throws(() => parseRevocationList(revoke(withoutRight), readAuthorityCertificate(withoutRight.certificate, 'authority')), { message: /may not sign lists/ })
  t.ok(parseRevocationList(changed({ unknownExtension: '2.5.29.20' }), facts), 'a critical extension that is understood')
})

t.test('lists that OpenSSL made and signed with RSA and ECDSA are read', async (t) => {
  const folder = t.testdir({
    'openssl.cnf': '[ca]\ndefault_ca = it\n[it]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\ndefault_crl_days = 30\ncrl_extensions = extensions\n[extensions]\nauthorityKeyIdentifier = keyid\n[req]\ndistinguished_name = name\n[name]\n',
    'index.txt': 'R\t300101000000Z\t260101000000Z\tC0FFEE\tunknown\t/CN=client\n',
    number: '01\n'
  })
  const openssl = (...args: string[]): string => execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  for (const kind of [['rsa:2048'], ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']]) {
    const certificate = openssl('req', '-x509', '-config', 'openssl.cnf', '-newkey', ...kind, '-nodes', '-keyout', 'key.pem', '-subj', '/CN=authority/O=Acme', '-addext', 'basicConstraints=critical,CA:TRUE')
    await writeFile(path.join(folder, 'ca.pem'), certificate)
    const list = parseRevocationList(Buffer.from(openssl('ca', '-config', 'openssl.cnf', '-gencrl', '-cert', 'ca.pem', '-keyfile', 'key.pem')), readAuthorityCertificate(certificate, 'authority'))
    t.ok(list.isRevoked('c0ffee'))
    t.notOk(list.isRevoked('c0ffef'))
  }
})

t.test('a list in a file', async (t) => {
  const file = path.join(t.testdir(), 'clients.crl')
  const replace = async (bytes: Buffer | string): Promise<void> => {
    await writeFile(`${file}.new`, bytes)
    await rename(`${file}.new`, file)
  }
  const options = { file, authority: authority.certificate.toString() }

  await t.test('must be there, and be one', async (t) => {
    await t.rejects(fileRevocationList(options), { code: 'FMG_ERR_FILE', message: /cannot read/ })
    await replace('x')
    await t.rejects(fileRevocationList(options), { code: 'FMG_ERR_FILE', message: /malformed/ })
    await t.rejects(fileRevocationList({ ...options, url: 'x' } as never), { code: 'FMG_ERR_OPTION_INVALID', message: /url is not an option/ })
  })

  await t.test('is read again when it changes, and kept when the change cannot be taken', async (t) => {
    await replace(revoke(authority, { thisUpdate: new Date('2026-02-01T00:00:00Z') }))
    const errors: unknown[] = []
    const list = await fileRevocationList({ ...options, onError: (error) => { errors.push(error) } })
    t.equal(list.authority, facts.fingerprint)
    t.notOk(list.isRevoked('c0ffee'))
    await replace(revoke(authority, { serials: [serial], thisUpdate: new Date('2026-03-01T00:00:00Z'), nextUpdate: new Date('2026-04-01T00:00:00Z') }))
    await until(() => list.isRevoked('c0ffee'))
    t.match(list, { thisUpdate: Date.parse('2026-03-01T00:00:00Z'), nextUpdate: Date.parse('2026-04-01T00:00:00Z') })

    await replace(revoke(authority, { thisUpdate: new Date('2026-02-01T00:00:00Z') }))
    await until(() => errors.length === 1)
    t.match(errors, [{ code: 'FMG_ERR_FILE', message: /older than the one before/ }])
    t.ok(list.isRevoked('c0ffee'))
    await list.close()
  })

  await t.test('by default a process warning tells of what cannot be taken', async () => {
    await replace(revoke(authority))
    const list = await fileRevocationList(options)
    const warned = once(process, 'warning')
    await replace('x')
    t.match(await warned, [{ message: /malformed/ }])
    await list.close()
  })
})

/** Waits for what a watched folder brings, turn by turn of the event loop. */
async function until (holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => { setImmediate(resolve) })
}
