import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import type { Authenticator } from '../../src/authn/authenticator.ts'
import { clientCertificate } from '../../src/authn/client-certificate.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { jwt } from '../../src/authn/jwt.ts'
import type { JwtIssuerOptions } from '../../src/authn/jwt-issuer.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { mtls } from '../../src/authn/mtls.ts'
import type { PresentedCredential } from '../../src/authn/presented-credential.ts'
import type { RequestFacts } from '../../src/authn/request-facts.ts'
import type { RevocationList } from '../../src/authn/revocation-list.ts'
import type { Source } from '../../src/authn/source.ts'
import type { Principal } from '../../src/principal.ts'
import { issue, namesOf } from '../helpers/certificates.ts'
import { requestFacts } from '../helpers/facts.ts'
import { nowSeconds, testIssuer } from '../helpers/tokens.ts'

const start = nowSeconds * 1000
const dayMs = 86_400_000

/** A principal of another’s making. */
const stranger: Principal = { id: 'ann', type: 'user', tier: 'standard', roles: [], scopes: [], attributes: {}, credential: { method: 'mtls', id: 'x' } }

/** What a token that is made from this credential hangs on. */
async function sourceOf (authenticator: Authenticator, presented: PresentedCredential, facts: RequestFacts = requestFacts()): Promise<Source> {
  const principal = await authenticator.authenticate(presented, facts)
  const from = principal === null ? null : authenticator.sourceOf?.(principal)
  if (!from) throw new Error('no source')
  return from.source
}

async function storeOf (t: Test, pepper: Uint8Array): Promise<KeyStore> {
  const store = await fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper })
  t.teardown(() => store.close())
  return store
}

t.test('an API key stands for what was made from it, in its time, and for nothing else', async (t) => {
  const pepper = randomBytes(32)
  const store = await storeOf(t, pepper)
  const time = { now: start }
  const keys = apiKey({ store, pepper, clock: () => time.now, maxLifetimeDays: 30 })
  const { key } = await createApiKey(store, pepper, { principal: { id: 'ann', tier: 'standard' } }, { now: start })
  const source = await sourceOf(keys, { scheme: 'x-api-key', value: key })
  const vouches = (changed: Partial<Source> = {}): boolean | undefined => keys.vouches?.({ ...source, ...changed }, requestFacts())
  t.ok(vouches())
  for (const other of [{ method: 'jwt' as const }, { id: 'nobodynobody' }, { state: undefined }, { state: 'x' }]) t.notOk(vouches(other), JSON.stringify(other))
  time.now = start + 30 * dayMs - 1
  t.ok(vouches())
  time.now++
  t.notOk(vouches(), 'no longer than the operator lets a key live')
  t.equal(keys.sourceOf?.(stranger), null)
})

t.test('an issuer’s token stands for what was made from it, for as long as the issuer may say the same', async (t) => {
  const home = testIssuer()
  const time = { now: start }
  const open = (changed: Partial<JwtIssuerOptions> = {}): Authenticator => jwt({
    issuers: [{ issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'], jwks: { keys: [home.jwk] }, tier: 'standard', ...changed }],
    clock: () => time.now
  })
  const tokens = open()
  const source = await sourceOf(tokens, { scheme: 'bearer', value: home.token() })
  t.match(source, { method: 'jwt', id: 'token-1', issuer: home.issuer, subject: 'ann', issuedAt: start - 10_000, expiresAt: start + 290_000 })
  const vouches = (changed: Partial<Source> = {}, by = tokens): boolean | undefined => by.vouches?.({ ...source, ...changed }, requestFacts())
  t.ok(vouches())
  for (const other of [{ method: 'api-key' as const }, { issuer: 'https://partner.example' }, { issuer: 'https://partner.example', state: undefined }, { state: 'x' }, { issuer: undefined }]) t.notOk(vouches(other), JSON.stringify(other))
  t.ok(vouches({}, open()), 'another node')
  for (const changed of [{ tier: 'trial' }, { grants: { roles: ['analyst'] } }, { audiences: ['https://models.example', 'x'] }, { claims: { org: 'org' } }, { limitByScopes: true }]) t.notOk(vouches({}, open(changed)), JSON.stringify(changed))
  time.now = start + 290_000
  t.notOk(vouches())
})

t.test('a certificate stands for what was made from it on connections that show it, until it is taken back or is another’s', async (t) => {
  const authority = issue({ subject: 'clients', isAuthority: true })
  const certificate = (): ReturnType<typeof clientCertificate> => clientCertificate(issue({ subject: 'client', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf('batch.acme.example') }).certificate.raw)
  const time = { now: Date.parse('2027-01-01T00:00:00Z') }
  const revoked = new Set<string>()
  const open = (changed: object = {}): Authenticator => mtls({
    clock: () => time.now,
    authorities: [{ certificate: authority.certificate, revocationList: list, identities: [{ dnsName: 'batch.acme.example', id: 'batch', org: 'acme', ...changed }] }]
  })
  const list: RevocationList = {
    authority: authority.certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    thisUpdate: 0,
    nextUpdate: Infinity,
    isRevoked: () => revoked.size > 0
  }
  const mine = certificate()
  const certificates = open()
  const facts = requestFacts({ certificate: mine })
  const source = await sourceOf(certificates, { scheme: 'certificate', value: mine.thumbprint }, facts)
  const vouches = (changed: Partial<Source> = {}, at: RequestFacts = facts, by = certificates): boolean | undefined => by.vouches?.({ ...source, ...changed }, at)
  t.ok(vouches())
  t.ok(vouches({}, facts, open()), 'another node, which has not seen it')
  t.equal(certificates.sourceOf?.(stranger), null)
  for (const other of [{ method: 'jwt' as const }, { id: 'f' }, { state: 'x' }]) t.notOk(vouches(other), JSON.stringify(other))
  t.notOk(vouches({}, requestFacts()), 'without a certificate')
  t.notOk(vouches({}, requestFacts({ certificate: certificate() })), 'with another of the same name')
  t.notOk(vouches({}, facts, open({ org: 'other' })), 'whose it is has changed')
  revoked.add('any')
  t.throws(() => vouches(), { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'certificate-revoked' })
  revoked.clear()
  time.now = Date.parse('2030-01-01T00:00:01Z')
  t.throws(() => vouches(), { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'certificate-expired' })
})
