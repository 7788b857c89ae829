import { once } from 'node:events'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t from 'tap'
import { clientCertificate } from '../../src/authn/client-certificate.ts'
import { expiryWatch, type Expiring } from '../../src/authn/expiry-watch.ts'
import { mtls, type MtlsOptions } from '../../src/authn/mtls.ts'
import { parseRevocationList, type RevocationList } from '../../src/authn/revocation-list.ts'
import { readAuthorityCertificate } from '../../src/authn/authority-certificate.ts'
import type { ClientCertificate } from '../../src/authn/request-facts.ts'
import type { Principal } from '../../src/principal.ts'
import { issue, namesOf, revoke, type CertificateOptions, type Issued, type RevocationListOptions } from '../helpers/certificates.ts'
import { requestFacts } from '../helpers/facts.ts'

const { digitalSignature, keyCertSign, cRLSign, keyEncipherment } = KeyUsageFlags
const forClients = '1.3.6.1.5.5.7.3.2'
const forServers = '1.3.6.1.5.5.7.3.1'
const now = Date.parse('2026-06-01T00:00:00Z')
const spiffeId = 'spiffe://prod.example/ns/ml/sa/scorer'

const authority = issue({ subject: 'clients of prod', isAuthority: true, usage: keyCertSign | cRLSign })
const other = issue({ subject: 'clients of test', isAuthority: true })
const identities = [
  { dnsName: 'Batch.Acme.Example', id: 'batch', org: 'acme', team: 'risk', tier: 'pro', attributes: { region: 'eu' } },
  { spiffeId: 'spiffe://prod.example/trainer', id: 'trainer', type: 'user' }
] as const
const listed = { certificate: authority.certificate, trustDomain: 'prod.example', identities }

/** A client's certificate of the authority above, as a connection presents it. */
function client (changed: Partial<CertificateOptions> = {}): ClientCertificate {
  return presented(issue({ subject: 'client', issuer: authority, usage: digitalSignature, purposes: [forClients, forServers], ...changed }))
}

function presented ({ certificate }: Issued): ClientCertificate {
  return clientCertificate(certificate.raw)
}

const workload = (...names: string[]): ClientCertificate => client({ names: namesOf(...names) })
const question = (certificate: ClientCertificate): [{ scheme: string, value: string }, ReturnType<typeof requestFacts>] =>
  [{ scheme: 'certificate', value: certificate.thumbprint }, requestFacts({ certificate })]

function authenticate (certificate: ClientCertificate, options: Partial<MtlsOptions> = {}): Principal | null {
  const answer = mtls({ authorities: [listed], clock: () => now, ...options }).authenticate(...question(certificate))
  if (answer instanceof Promise) throw new TypeError('it did not answer at once')
  return answer
}

function listOf (from: Issued, options: RevocationListOptions): RevocationList {
  return parseRevocationList(revoke(from, options), readAuthorityCertificate(from.certificate, 'authority'))
}

const refusedFor = (reason: string) => ({ code: 'FMG_ERR_CREDENTIAL_INVALID', reason })

t.test('a certificate becomes the principal of the name in it', async (t) => {
  const byDnsName = workload('other.example', 'batch.acme.example')
  t.match(authenticate(byDnsName), {
    id: 'batch',
    type: 'service',
    org: 'acme',
    team: 'risk',
    tier: 'pro',
    roles: [],
    scopes: [],
    attributes: { region: 'eu' },
    credential: { method: 'mtls', id: Buffer.from(byDnsName.thumbprint, 'base64url').toString('hex'), boundTo: byDnsName.thumbprint, expiresAt: Date.parse('2030-01-01T00:00:00Z') }
  })
  t.match(authenticate(workload('BATCH.acme.example')), { id: 'batch' }, 'DNS names have no case')
  t.match(authenticate(workload('spiffe://prod.example/trainer')), { id: 'trainer', type: 'user', tier: 'standard' })
  t.match(authenticate(workload(spiffeId)), { id: spiffeId, type: 'service', tier: 'standard', roles: [] }, 'a workload of the trust domain that is not listed')
  t.match(authenticate(workload(spiffeId, 'host.example')), { id: spiffeId })

  const pinned = client()
  const fingerprint = Buffer.from(pinned.thumbprint, 'base64url').toString('hex').toUpperCase().replace(/(..)(?=.)/g, '$1:')
  const byFingerprint = { authorities: [{ certificate: authority.certificate.toString(), identities: [{ fingerprint, id: 'pinned' }] }] }
  t.match(authenticate(pinned, byFingerprint), { id: 'pinned' })
  t.throws(() => authenticate(client(), byFingerprint), refusedFor('certificate-unknown'), 'another with the same names')
})

t.test('a name counts only from the authority that may give it', async (t) => {
  const both = [listed, { certificate: new Uint8Array(other.certificate.raw), trustDomain: 'test.example' }]
  const foreign = (...names: string[]): ClientCertificate => client({ issuer: other, names: namesOf(...names) })
  t.match(authenticate(foreign('spiffe://test.example/scorer'), { authorities: both }), { id: 'spiffe://test.example/scorer' })
  t.throws(() => authenticate(foreign(spiffeId), { authorities: both }), refusedFor('spiffe-id-of-other-trust-domain'))
  t.throws(() => authenticate(foreign('batch.acme.example'), { authorities: both }), refusedFor('certificate-unknown'))
  t.throws(() => authenticate(foreign(spiffeId)), refusedFor('certificate-of-unknown-authority'))
  // Names its issuer right, but is signed by another key.
  const forged = issue({ subject: 'client', issuer: { ...authority, privateKey: other.privateKey }, names: namesOf(spiffeId), usage: digitalSignature })
  t.throws(() => authenticate(presented(forged)), refusedFor('certificate-of-unknown-authority'))
  // Signed by its key, but in another name.
  const renamed = issue({ subject: 'client', issuer: { ...other, privateKey: authority.privateKey }, names: namesOf(spiffeId), usage: digitalSignature })
  t.throws(() => authenticate(presented(renamed)), refusedFor('certificate-of-unknown-authority'))
  t.throws(() => authenticate(presented(authority)), refusedFor('certificate-of-authority'), 'an authority names others')
})

t.test('a SPIFFE ID is taken only from a certificate that is an X509-SVID', async (t) => {
  const withoutDomain = { authorities: [{ certificate: authority.certificate }] }
  t.throws(() => authenticate(workload(spiffeId), withoutDomain), refusedFor('certificate-unknown'), 'an authority without a trust domain')
  t.throws(() => authenticate(workload(spiffeId, 'https://x.example/')), refusedFor('spiffe-id-not-alone'))
  t.throws(() => authenticate(workload('https://x.example/', spiffeId)), refusedFor('spiffe-id-not-alone'))
  t.throws(() => authenticate(workload('spiffe://prod.example')), refusedFor('spiffe-id-malformed'), 'the trust domain itself')
  t.throws(() => authenticate(workload('SPIFFE://prod.example/x')), refusedFor('spiffe-id-malformed'))
  t.throws(() => authenticate(workload('https://prod.example/x')), refusedFor('certificate-unknown'))
  t.throws(() => authenticate(client({ names: namesOf(spiffeId), isUsageCritical: false })), refusedFor('certificate-usage'))
  const plain = issue({ subject: 'client', issuer: authority, names: namesOf(spiffeId) })
  t.throws(() => authenticate(presented(plain)), refusedFor('certificate-usage'), 'no key usage')
})

t.test('a certificate that is not for clients is refused', async (t) => {
  const names = namesOf('batch.acme.example')
  for (const [changed, reason] of [
    [{ isAuthority: true }, 'certificate-of-authority'],
    [{ usage: digitalSignature | keyCertSign }, 'certificate-of-authority'],
    [{ usage: digitalSignature | cRLSign }, 'certificate-of-authority'],
    [{ usage: keyEncipherment }, 'certificate-usage'],
    [{ purposes: [forServers] }, 'certificate-usage']
  ] as const) t.throws(() => authenticate(client({ names, ...changed })), refusedFor(reason), JSON.stringify(changed))
  const plain = issue({ subject: 'client', issuer: authority, names })
  t.match(authenticate(presented(plain)), { id: 'batch' }, 'one that says nothing of its use')
})

t.test('names of several principals, or of nobody, are nobody', async (t) => {
  t.throws(() => authenticate(workload('batch.acme.example', 'spiffe://prod.example/trainer')), refusedFor('certificate-of-several'))
  t.match(authenticate(workload('batch.acme.example', 'batch.acme.example')), { id: 'batch' })
  for (const name of ['*.acme.example', 'acme.example', 'x.batch.acme.example', 'batch.acme.example.', 'batch.acme.example\u0000.evil.example']) {
    t.throws(() => authenticate(workload(name)), refusedFor('certificate-unknown'), name)
  }
  t.throws(() => authenticate(client({ subject: 'batch.acme.example' })), refusedFor('certificate-unknown'), 'the subject is no name')
  // As text for the eye, subjectAltName has shown these as two names.
  t.throws(() => authenticate(workload('x.example, DNS:batch.acme.example')), refusedFor('certificate-unknown'))
})

t.test('what is not one whole certificate is refused', async (t) => {
  const { certificate } = issue({ subject: 'client', issuer: authority, names: namesOf('batch.acme.example') })
  for (const der of [Buffer.alloc(0), Buffer.from('x'), Buffer.from(certificate.toString()), Buffer.concat([certificate.raw, Buffer.alloc(1)]), certificate.raw.subarray(1)]) {
    t.throws(() => authenticate(clientCertificate(der)), refusedFor('certificate-malformed'))
  }
  const names = namesOf('batch.acme.example')
  const single = issue({ subject: 'client', issuer: authority, names, unknownExtension: '1.2.3.4' })
  t.match(authenticate(presented(single)), { id: 'batch' })
  const twice = issue({ subject: 'client', issuer: authority, names, unknownExtension: ['1.2.3.4', '1.2.3.4'] })
  t.throws(() => authenticate(presented(twice)), refusedFor('certificate-malformed'), 'an extension that stands twice')
})

t.test('a certificate is good between its own dates and its authority\'s, on connections that are open already too', async (t) => {
  const notBefore = new Date('2026-03-01T00:00:00Z')
  const notAfter = new Date('2026-09-01T00:00:00Z')
  let time = now
  const young = issue({ subject: 'young', isAuthority: true, notBefore: new Date('2026-04-01T00:00:00Z'), notAfter: new Date('2026-08-01T00:00:00Z') })
  for (const [issuer, from, until, before, after] of [
    [authority, notBefore, notAfter, 'certificate-not-yet-valid', 'certificate-expired'],
    [young, new Date('2026-04-01T00:00:00Z'), new Date('2026-08-01T00:00:00Z'), 'authority-expired', 'authority-expired']
  ] as const) {
    const authenticator = mtls({ authorities: [{ certificate: issuer.certificate, trustDomain: 'prod.example' }], onExpiring: () => {}, clock: () => time })
    const asked = question(client({ issuer, names: namesOf(spiffeId), notBefore, notAfter }))
    t.equal(authenticator.recall?.(...asked), null, 'not seen before')
    const principal = authenticator.authenticate(...asked)
    for (const [at, reason] of [[+from - 1, before], [+from, null], [+until, null], [+until + 1, after]] as const) {
      time = at
      if (reason === null) {
        t.same(authenticator.recall?.(...asked), principal)
        t.same(authenticator.authenticate(...asked), principal)
      } else {
        t.equal(authenticator.recall?.(...asked), null)
        t.throws(() => authenticator.authenticate(...asked), refusedFor(reason))
      }
    }
    time = now
  }
})

t.test('a certificate that was taken back is refused at once, and all are when the list is too old', async (t) => {
  const serial = Buffer.from('00c0ffee', 'hex')
  let time = now
  let current = listOf(authority, { nextUpdate: new Date('2026-07-01T00:00:00Z') })
  const revocationList: RevocationList = {
    authority: current.authority,
    get thisUpdate () { return current.thisUpdate },
    get nextUpdate () { return current.nextUpdate },
    isRevoked: (wanted) => current.isRevoked(wanted)
  }
  const authenticator = mtls({ authorities: [{ ...listed, revocationList }], onExpiring: () => {}, clock: () => time })
  const asked = question(client({ names: namesOf(spiffeId), serial }))
  const beside = question(client({ names: namesOf(spiffeId), serial: Buffer.from('c0ffef', 'hex') }))
  const principal = authenticator.authenticate(...asked)
  t.equal(authenticator.recall?.(...asked), principal)

  current = listOf(authority, { serials: [serial], nextUpdate: new Date('2026-07-01T00:00:00Z') })
  t.equal(authenticator.recall?.(...asked), null)
  t.throws(() => authenticator.authenticate(...asked), refusedFor('certificate-revoked'))
  t.match(authenticator.authenticate(...beside), { id: spiffeId })

  time = Date.parse('2026-07-01T00:00:00Z')
  t.equal(authenticator.recall?.(...beside), null)
  t.throws(() => authenticator.authenticate(...beside), { code: 'FMG_ERR_ISSUER_UNAVAILABLE', reason: 'revocation-list-expired' })
  t.throws(() => authenticator.authenticate(...asked), refusedFor('certificate-revoked'), 'what it said last still holds')
})

t.test('whatever nears its end is told of once, and again after it was renewed', async (t) => {
  const told: string[] = []
  const onExpiring = ({ kind, expiresAt }: Expiring): void => { told.push(`${kind} ${new Date(expiresAt).toISOString().slice(0, 10)}`) }
  const issuer = issue({ subject: 'ending', isAuthority: true, notAfter: new Date('2026-06-14T00:00:00Z') })
  let revocationList = listOf(issuer, { thisUpdate: new Date('2026-05-25T00:00:00Z'), nextUpdate: new Date('2026-06-02T00:00:00Z') })
  const live: RevocationList = {
    ...revocationList,
    get thisUpdate () { return revocationList.thisUpdate },
    get nextUpdate () { return revocationList.nextUpdate }
  }
  const authenticator = mtls({ authorities: [{ certificate: issuer.certificate, trustDomain: 'prod.example', revocationList: live }], onExpiring, clock: () => now })
  const ending = (notBefore: string, notAfter: string): void => {
    void authenticator.authenticate(...question(client({ issuer, names: namesOf(spiffeId), notBefore: new Date(notBefore), notAfter: new Date(notAfter) })))
  }
  ending('2026-05-01T00:00:00Z', '2026-07-01T00:00:00Z')
  t.same(told, ['authority 2026-06-14', 'revocation-list 2026-06-02'])
  // An hour's certificate is told of in its last fifth alone.
  ending('2026-05-31T23:30:00Z', '2026-06-01T00:30:00Z')
  t.equal(told.length, 2)
  ending('2026-05-31T00:00:00Z', '2026-06-01T00:10:00Z')
  t.same(told.slice(2), ['client-certificate 2026-06-01'])
  revocationList = listOf(issuer, { thisUpdate: new Date('2026-05-26T00:00:00Z'), nextUpdate: new Date('2026-06-02T06:00:00Z') })
  ending('2026-05-01T00:00:00Z', '2026-07-01T00:00:00Z')
  t.same(told.slice(3), ['revocation-list 2026-06-02'])
})

t.test('how many were told of is remembered within bounds', async (t) => {
  let told = 0
  const watchExpiry = expiryWatch(() => { told++ })
  const tell = (id: number): void => { watchExpiry({ kind: 'client-certificate', id: String(id), expiresAt: now }, now - 1000, now) }
  for (let id = 0; id <= 10_000; id++) tell(id)
  t.equal(told, 10_001)
  tell(10_000)
  t.equal(told, 10_001)
  tell(0)
  t.equal(told, 10_002, 'the oldest were forgotten')
})

t.test('by default a process warning tells of it', async (t) => {
  const warned = once(process, 'warning')
  authenticate(client({ names: namesOf(spiffeId), notAfter: new Date('2026-06-02T00:00:00Z') }))
  t.match(await warned, [{ message: /^client-certificate [0-9a-f]{64} expires at 2026-06-02T00:00:00.000Z$/ }])
})

t.test('a certificate that comes again by another connection is not read again, but judged again', async (t) => {
  let time = now
  const authenticator = mtls({ authorities: [listed], clock: () => time })
  const { der } = workload(spiffeId)
  const [first, second] = [question(clientCertificate(der)), question(clientCertificate(der))]
  const principal = authenticator.authenticate(...first)
  t.equal(authenticator.recall?.(...second), null)
  t.equal(authenticator.authenticate(...second), principal)
  t.equal(authenticator.recall?.(...second), principal)
  time = Date.parse('2031-01-01T00:00:00Z')
  t.throws(() => authenticator.authenticate(...question(clientCertificate(der))), refusedFor('certificate-expired'))
})

t.test('other credentials are left to others', async (t) => {
  const authenticator = mtls({ authorities: [listed], clock: () => now })
  const facts = requestFacts({ certificate: workload(spiffeId) })
  for (const { scheme, seen } of [{ scheme: 'bearer', seen: facts }, { scheme: 'certificate', seen: requestFacts() }]) {
    t.equal(authenticator.authenticate({ scheme, value: 'x' }, seen), null)
    t.equal(authenticator.recall?.({ scheme, value: 'x' }, seen), null)
  }
})

t.test('options that could not be meant stop the boot', async (t) => {
  const certificate = authority.certificate
  const withIdentity = (identity: object): object => ({ authorities: [{ certificate, trustDomain: 'prod.example', identities: [identity] }] })
  for (const [options, message] of [
    [{}, /mtls\.authorities must be a list/],
    [{ authorities: [] }, /at least one/],
    [{ authorities: [listed], crl: 'x' }, /mtls\.crl is not an option/],
    [{ authorities: [listed, { certificate }] }, /a key each/],
    [{ authorities: [{ certificate: 'x' }] }, /authorities\[0\]\.certificate must be a certificate in PEM or DER/],
    [{ authorities: [{ certificate: 1 }] }, /in PEM or DER, got 1/],
    [{ authorities: [{ certificate: issue({ subject: 'leaf' }).certificate }] }, /of an authority/],
    [{ authorities: [{ certificate, trustDomain: 'Prod' }] }, /trustDomain must be the name of a SPIFFE trust domain/],
    [{ authorities: [{ certificate, revocationList: listOf(other, {}) }] }, /revocationList must be of this authority/],
    [{ authorities: [{ certificate, identities: [{ spiffeId, id: 'x' }] }] }, /spiffeId must be of this authority's trustDomain/],
    [withIdentity({ spiffeId: 'spiffe://prod.example', id: 'x' }), /a SPIFFE ID with a path/],
    [withIdentity({ spiffeId: 'spiffe:x', id: 'x' }), /a SPIFFE ID with a path/],
    [withIdentity({ dnsName: '*.example', id: 'x' }), /without wildcards/],
    [withIdentity({ fingerprint: 'ab', id: 'x' }), /a SHA-256 fingerprint/],
    [withIdentity({ dnsName: 'a.example' }), /identities\[0\]\.id/],
    [withIdentity({ id: 'x' }), /exactly one of/],
    [withIdentity({ dnsName: 'a.example', spiffeId, id: 'x' }), /exactly one of/],
    [withIdentity({ dnsName: 'a.example', id: 'x', subject: 'CN=x' }), /subject is not an option/],
    [withIdentity({ dnsName: 'a.example', id: 'x', attributes: [] }), /attributes must be an object/],
    [{ authorities: [{ certificate, identities: [{ dnsName: 'a.example', id: 'x' }, { dnsName: 'A.example', id: 'y' }] }] }, /identities\[1\] must be of a name that no identity before it has/]
  ] as const) t.throws(() => mtls(options as never), { code: 'FMG_ERR_OPTION_INVALID', message })
})

t.test('the caller\'s objects stay as they were', async (t) => {
  const attributes = { tags: ['a'] }
  t.match(authenticate(workload('x.example'), { authorities: [{ certificate: authority.certificate, identities: [{ dnsName: 'x.example', id: 'x', attributes }] }] }), { attributes })
  attributes.tags.push('b')
  t.same(attributes.tags, ['a', 'b'])
})
