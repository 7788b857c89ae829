import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'
import t, { type Test } from 'tap'
import { attestationNonces } from '../../src/authn/attestation/attestation-nonces.ts'
import type { AttestationVerifier } from '../../src/authn/attestation/attestation-verifier.ts'
import { azureVerifier } from '../../src/authn/attestation/azure-verifier.ts'
import { earVerifier } from '../../src/authn/attestation/ear-verifier.ts'
import { nvidiaVerifier } from '../../src/authn/attestation/nvidia-verifier.ts'
import { attestedAt as now, nvidiaResult, testAppraiser } from '../helpers/attestation.ts'
import { issue } from '../helpers/certificates.ts'

const nonce = randomBytes(32).toString('hex')
const seconds = now / 1000
const ear = testAppraiser('ES256')
const nvidia = testAppraiser('ES384', 'https://nras.attestation.nvidia.com')
const azure = testAppraiser('RS256', 'https://shared.attest.azure.example')

async function refuses (t: Test, verifier: AttestationVerifier, text: string, reason: string, name = reason): Promise<void> {
  await t.rejects(verifier.verify(text, now), { code: 'FMG_ERR_ATTESTATION_INVALID', statusCode: 403, reason }, name)
}

const profile = 'tag:github.com,2023:veraison/ear'
const good = { eat_profile: profile, eat_nonce: nonce, submods: { cpu0: { 'ear.status': 'affirming' } } }

t.test('a result counts when it is signed by the appraiser that was named, and in its time', async (t) => {
  const verifier = earVerifier({ issuer: ear.issuer, jwks: ear.jwks })
  t.strictSame(await verifier.verify(await ear.sign(good), now), { nonces: [nonce], facts: { profile, status: 'affirming', submods: ['cpu0'] } })
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  for (const [token, reason] of [
    [await ear.sign(good, { key: other }), 'jws-signature'],
    [await ear.sign(good, { kid: 'k2' }), 'token-key'],
    [await testAppraiser('RS256').sign(good), 'token-key'],
    [await ear.sign({ ...good, iss: 'https://other.example' }), 'token-issuer'],
    [await ear.sign({ ...good, exp: seconds - 5 }), 'token-expired'],
    [await ear.sign({ ...good, exp: undefined }), 'token-expired'],
    [await ear.sign({ ...good, nbf: seconds + 6 }), 'token-not-yet'],
    [`${(await ear.sign(good)).slice(0, -8)}AAAAAAAA`, 'jws-signature'],
    ['', 'jws-malformed'],
    ['a.b', 'jws-malformed'],
    ['e30.e30.AAAA', 'jws-header-malformed']
  ] as const) await refuses(t, verifier, token, reason)
  for (const times of [{ exp: seconds - 4 }, { nbf: seconds + 5 }]) t.ok(await verifier.verify(await ear.sign({ ...good, ...times }), now))
  const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify({ ...good, iss: ear.issuer, exp: seconds + 9 })).toString('base64url')}.AAAA`
  await refuses(t, verifier, unsigned, 'token-key')
})

t.test('claims that parsers read in two ways are none', async (t) => {
  const { CompactSign } = await import('jose')
  const text = `{"iss":"${ear.issuer}","exp":${seconds + 9},"eat_profile":"a","eat_profile":"${profile}"}`
  const token = await new CompactSign(Buffer.from(text)).setProtectedHeader({ alg: 'ES256', kid: 'k1' }).sign(ear.privateKey)
  await refuses(t, earVerifier({ issuer: ear.issuer, jwks: ear.jwks }), token, 'token-claims')
})

t.test('the keys of an appraiser are fetched, and without them nothing is known', async (t) => {
  const asked: string[] = []
  const fetching = (answer: unknown) => async (url: string) => {
    asked.push(url)
    return await Promise.resolve(Response.json(answer))
  }
  const from = (answer: unknown): AttestationVerifier => earVerifier({ issuer: ear.issuer, jwksUrl: 'https://appraiser.example/keys', fetch: fetching(answer) })
  const verifier = from(ear.jwks)
  t.ok(await verifier.verify(await ear.sign(good), now))
  t.ok(await verifier.verify(await ear.sign(good), now))
  t.strictSame(asked, ['https://appraiser.example/keys'])
  for (const answer of [{}, { keys: 'none' }, []]) await t.rejects(from(answer).verify(await ear.sign(good), now), { code: 'FMG_ERR_ISSUER_UNAVAILABLE', statusCode: 503 })
  await refuses(t, from({ keys: [] }), await ear.sign(good), 'token-key')
})

t.test('the status of a result is that of its worst part, by the words of its profile', async (t) => {
  const verifier = earVerifier({ issuer: ear.issuer, jwks: ear.jwks })
  const statusOf = async (claims: object): Promise<unknown> => (await verifier.verify(await ear.sign({ ...good, ...claims }), now)).facts.status
  const parts = (...statuses: unknown[]): object => ({ submods: Object.fromEntries(statuses.map((status, index) => [`part${index}`, { 'ear.status': status }])) })
  for (const [statuses, worst] of [[['affirming', 2], 'affirming'], [[2, 'none'], 'none'], [[2, 0], 'none'], [[32, 2], 'warning'], [['warning', 'none'], 'warning'], [['affirming', 96, 32], 'contraindicated'], [['contraindicated'], 'contraindicated']] as const) {
    t.equal(await statusOf(parts(...statuses)), worst, JSON.stringify(statuses))
  }
  t.equal(await statusOf({ eat_profile: 'tag:github.com,2024:confidential-containers/Trustee' }), 'affirming')
  const draft = 'tag:ietf.org,2026:rats/ear#03'
  t.equal(await statusOf({ eat_profile: draft, submods: { cpu0: { ear_status: 2 } } }), 'affirming')
  for (const [claims, reason] of [
    [{ eat_profile: draft }, 'ear-status'],
    [{ submods: { cpu0: { ear_status: 2 } } }, 'ear-status'],
    [{ eat_profile: 'tag:other' }, 'ear-profile'],
    [{ eat_profile: undefined }, 'ear-profile'],
    [{ submods: {} }, 'ear-submods'],
    [{ submods: undefined }, 'ear-submods'],
    [parts('affirming', 'good'), 'ear-status'],
    [parts('affirming', 3), 'ear-status'],
    [{ submods: { cpu0: 'affirming' } }, 'ear-status']
  ] as const) await refuses(t, verifier, await ear.sign({ ...good, ...claims }), reason, JSON.stringify(claims))
  await refuses(t, earVerifier({ issuer: ear.issuer, jwks: ear.jwks, profiles: [draft] }), await ear.sign(good), 'ear-profile')
})

t.test('every nonce of a result counts, and the key that its evidence spoke of is told', async (t) => {
  const verifier = earVerifier({ issuer: ear.issuer, jwks: ear.jwks })
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' })
  const part = (data: object): object => ({ 'ear.status': 2, 'ear.veraison.annotated-evidence': { runtime_data_claims: data } })
  const verify = async (claims: object) => await verifier.verify(await ear.sign({ ...good, ...claims }), now)
  t.match(await verify({ eat_nonce: undefined, submods: { cpu0: part({ nonce, 'tee-pubkey': key }) } }), { nonces: [nonce], facts: { key: await calculateJwkThumbprint(key, 'sha256') } })
  t.strictSame((await verify({ eat_nonce: ['a', nonce], submods: { cpu0: part({ nonce: 5 }), cpu1: part({ nonce: 'b' }) } })).nonces, ['a', nonce, '', 'b'])
  t.strictSame((await verify({ eat_nonce: undefined })).nonces, [])
  t.equal((await verify({ submods: { cpu0: part({ 'tee-pubkey': key }), cpu1: part({ 'tee-pubkey': key }) } })).facts.key, undefined, 'neither of two')
  await refuses(t, verifier, await ear.sign({ ...good, submods: { cpu0: part({ 'tee-pubkey': { kty: 'EC' } }) } }), 'ear-key')
})

t.test('devices of NVIDIA are good when all that was appraised is', async (t) => {
  const verifier = nvidiaVerifier({ jwks: nvidia.jwks })
  t.strictSame(await verifier.verify(await nvidiaResult(nvidia, nonce, { devices: { 'GPU-1': { hwmodel: 5, eat_nonce: nonce.toUpperCase() } } }), now), {
    nonces: [nonce, nonce, nonce],
    facts: { devices: 2, models: ['GH100 A01 GSP BROM', 'unknown'], drivers: ['590.12'], firmware: ['96.00.A5.00.01'] }
  })
  t.strictSame((await verifier.verify(await nvidiaResult(nvidia, nonce, { overall: { eat_nonce: undefined } }), now)).nonces, ['', nonce])
  t.ok(await verifier.verify(await nvidiaResult(nvidia, nonce, { devices: { 'GPU-0': { 'x-nvidia-attestation-warning': undefined } } }), now))
  t.ok(await verifier.verify(await nvidiaResult(nvidia, nonce, { hash: 'SHA256' }), now))
  await refuses(t, verifier, await nvidiaResult(nvidia, nonce, { hash: 'MD5' }), 'nvidia-submods')
  const chain = { 'x-nvidia-cert-status': 'valid', 'x-nvidia-cert-ocsp-status': 'good' }
  for (const [claims, reason] of [
    [{ measres: 'fail' }, 'nvidia-device'],
    [{ secboot: false }, 'nvidia-device'],
    [{ dbgstat: 'enabled' }, 'nvidia-device'],
    [{ 'x-nvidia-gpu-arch-check': false }, 'nvidia-check'],
    [{ 'x-nvidia-gpu-arch-check': null, 'x-nvidia-gpu-attestation-report-nonce-match': null }, 'nvidia-check'],
    [{ 'x-nvidia-gpu-driver-rim-cert-chain': { ...chain, 'x-nvidia-cert-status': 'expired' } }, 'nvidia-check'],
    [{ 'x-nvidia-gpu-driver-rim-cert-chain': { ...chain, 'x-nvidia-cert-ocsp-status': 'revoked' } }, 'nvidia-check'],
    [{ 'x-nvidia-gpu-driver-rim-cert-chain': { ...chain, 'x-nvidia-cert-ocsp-nonce-matches': false } }, 'nvidia-check'],
    [{ 'x-nvidia-attestation-warning': 'RIM expires soon' }, 'nvidia-warning'],
    [{ iss: 'https://other.example' }, 'token-issuer'],
    [{ exp: seconds - 60 }, 'token-expired']
  ] as const) await refuses(t, verifier, await nvidiaResult(nvidia, nonce, { devices: { 'GPU-1': claims } }), reason, JSON.stringify(claims))
  for (const [overall, reason] of [
    [{ 'x-nvidia-overall-att-result': false }, 'nvidia-result'],
    [{ 'x-nvidia-overall-att-result': 'true' }, 'nvidia-result'],
    [{ 'x-nvidia-ver': '2.0' }, 'nvidia-version'],
    [{ submods: undefined }, 'nvidia-submods'],
    [{ submods: { 'GPU-0': ['DIGEST', ['SHA-256', '00']] } }, 'nvidia-submods'],
    [{ submods: { 'GPU-0': 'DIGEST' } }, 'nvidia-submods'],
    [{ iss: 'https://other.example' }, 'token-issuer']
  ] as const) await refuses(t, verifier, await nvidiaResult(nvidia, nonce, { overall }), reason, JSON.stringify(overall))
})

t.test('a device that is added, taken away, put in the place of another, or signed by somebody else is seen', async (t) => {
  const verifier = nvidiaVerifier({ jwks: nvidia.jwks })
  const stranger = testAppraiser('ES384', nvidia.issuer)
  const other = await nvidia.sign({})
  for (const [change, reason] of [
    [([first, devices]) => [first, { ...devices, 'GPU-1': devices['GPU-0'] }], 'nvidia-submods'],
    [([first, devices]) => [first, { 'GPU-1': devices['GPU-0'] }], 'nvidia-submods'],
    [([first]) => [first, { 'GPU-0': other }], 'nvidia-submods'],
    [([first]) => [first, {}], 'nvidia-bundle'],
    [([first]) => [first, { 'GPU-0': 5 }], 'nvidia-bundle'],
    [([first]) => [first], 'nvidia-bundle'],
    [([[, token], devices]) => [['EAT', token], devices], 'nvidia-bundle'],
    [([, devices]) => [['JWT'], devices], 'nvidia-bundle'],
    [() => null, 'nvidia-bundle']
  ] satisfies (readonly [NonNullable<NonNullable<Parameters<typeof nvidiaResult>[2]>['change']>, string])[]) await refuses(t, verifier, await nvidiaResult(nvidia, nonce, { change }), reason)
  await refuses(t, verifier, 'nothing', 'nvidia-bundle')
  await refuses(t, verifier, await nvidiaResult(stranger, nonce), 'jws-signature')
})

const snp = { 'x-ms-attestation-type': 'sevsnpvm', 'x-ms-compliance-status': 'azure-compliant-cvm', 'x-ms-sevsnpvm-is-debuggable': false, 'x-ms-sevsnpvm-launchmeasurement': 'ab12' }
const azureVm = { 'x-ms-attestation-type': 'azurevm', 'x-ms-isolation-tee': snp, 'x-ms-policy-hash': 'cd34', 'x-ms-runtime': { 'client-payload': { nonce: Buffer.from(nonce).toString('base64') } } }

t.test('a confidential machine of Azure is good when it complies and is closed to debuggers', async (t) => {
  const verifier = azureVerifier({ issuer: azure.issuer, jwks: azure.jwks })
  t.strictSame(await verifier.verify(await azure.sign(azureVm), now), { nonces: [nonce], facts: { tee: 'sevsnpvm', measurement: 'ab12', policy: 'cd34' } })
  t.strictSame(await verifier.verify(await azure.sign({ ...snp, nonce }), now), { nonces: [nonce], facts: { tee: 'sevsnpvm', measurement: 'ab12' } })
  t.match(await verifier.verify(await azure.sign({ 'x-ms-attestation-type': 'sgx', 'x-ms-sgx-is-debuggable': false, 'x-ms-sgx-mrenclave': 'ef', nonce: 5 }), now), { nonces: [''], facts: { tee: 'sgx', measurement: 'ef' } })
  t.match(await verifier.verify(await azure.sign({ 'x-ms-attestation-type': 'tdxvm', 'x-ms-compliance-status': 'azure-compliant-cvm', tdx_td_attributes_debug: false }), now), { nonces: [], facts: { tee: 'tdxvm' } })
  for (const [claims, reason] of [
    [{ ...snp, 'x-ms-sevsnpvm-is-debuggable': true }, 'azure-debuggable'],
    [{ ...snp, 'x-ms-sevsnpvm-is-debuggable': undefined }, 'azure-debuggable'],
    [{ ...snp, 'x-ms-compliance-status': 'none' }, 'azure-compliance'],
    [{ ...snp, 'x-ms-attestation-type': 'azurevm' }, 'azure-type'],
    [{ ...azureVm, 'x-ms-isolation-tee': { ...snp, 'x-ms-sevsnpvm-is-debuggable': true }, ...{ 'x-ms-sevsnpvm-is-debuggable': false } }, 'azure-debuggable'],
    [{ 'x-ms-attestation-type': 'sgx', 'x-ms-sgx-is-debuggable': true }, 'azure-debuggable'],
    [{ ...azureVm, iss: 'https://other.attest.azure.example' }, 'token-issuer']
  ] as const) await refuses(t, verifier, await azure.sign(claims), reason, JSON.stringify(claims))
  await refuses(t, azureVerifier({ issuer: azure.issuer, jwks: azure.jwks, tees: ['sgx'] }), await azure.sign(azureVm), 'azure-type')
})

t.test('keys that are published as certificates alone are read, and where each service publishes them is known', async (t) => {
  const asked: string[] = []
  const signing = issue({ subject: 'appraiser', issuer: issue({ subject: 'authority', isAuthority: true }), privateKey: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey })
  const fetch = (keys: unknown) => async (url: string) => {
    asked.push(url)
    return await Promise.resolve(Response.json({ keys }))
  }
  const x5c = [signing.certificate.raw.toString('base64')]
  const verifier = azureVerifier({ issuer: azure.issuer, fetch: fetch([{ kty: 'RSA', kid: 'k1', x5c }, { kty: 'RSA', kid: 'k2', x5c: ['AA'] }, null]) })
  t.ok(await verifier.verify(await azure.sign(azureVm, { key: signing.privateKey }), now))
  await refuses(t, verifier, await azure.sign(azureVm, { key: signing.privateKey, kid: 'k2' }), 'token-key')
  for (const [appraiser, make, claims] of [[azure, azureVerifier, azureVm], [ear, earVerifier, good]] as const) {
    const both = make({ issuer: appraiser.issuer, jwks: { keys: appraiser.jwks.keys.map((key) => ({ ...key, x5c })) } })
    t.ok(await both.verify(await appraiser.sign(claims), now), 'a key that stands there itself is the one')
  }
  t.ok(await nvidiaVerifier({ fetch: fetch(nvidia.jwks.keys) }).verify(await nvidiaResult(nvidia, nonce), now))
  t.strictSame(asked, [`${azure.issuer}/certs`, 'https://nras.attestation.nvidia.com/.well-known/jwks.json'])
})

t.test('options that do not fit are refused', async (t) => {
  for (const [make, message] of [
    [() => earVerifier({ issuer: ear.issuer }), /earVerifier must be given one of jwks and jwksUrl/],
    [() => earVerifier({ issuer: ear.issuer, jwks: ear.jwks, jwksUrl: 'https://a.example' }), /earVerifier must be given one of jwks and jwksUrl/],
    [() => earVerifier({ issuer: 'http://a.example', jwks: ear.jwks }), /issuer must be an https URL/],
    [() => earVerifier({ issuer: ear.issuer, jwks: { keys: [] } }), /jwks must be a JWK Set/],
    [() => earVerifier({ issuer: ear.issuer, jwks: ear.jwks, algorithms: ['HS256'] }), /algorithms\[0\] must be one of/],
    [() => earVerifier({ issuer: ear.issuer, jwks: ear.jwks, profiles: [] }), /profiles must be a list of at least one/],
    [() => azureVerifier({ issuer: ear.issuer, jwks: ear.jwks }), /jwks must be a JWK Set/],
    [() => nvidiaVerifier({ jwks: ear.jwks }), /jwks must be a JWK Set/]
  ] as const) t.throws(make, { code: 'FMG_ERR_OPTION_INVALID', message })
})

t.test('a nonce is of this server, of one principal, and ends', async (t) => {
  const secret = randomBytes(32)
  const nonces = attestationNonces({ secret, lifetimeSeconds: 60 })
  const one = nonces.issue('ann', now)
  t.match(one, /^[0-9a-f]{64}$/)
  t.not(nonces.issue('ann', now), one)
  t.equal(nonces.remaining(one, 'ann', now), 60_000)
  t.equal(attestationNonces({ secret, lifetimeSeconds: 60 }).remaining(one, 'ann', now + 1), 59_999, 'another node knows it')
  t.equal(nonces.remaining(one, 'ann', now + 60_000), 0)
  t.equal(nonces.remaining(one, 'bob', now), 0)
  t.equal(attestationNonces({ secret: undefined, lifetimeSeconds: 60 }).remaining(one, 'ann', now), 0)
  for (const other of ['', 'zz', one.toUpperCase(), one.slice(2), `${one}00`, `f${one.slice(1)}`, '0'.repeat(64)]) t.equal(nonces.remaining(other, 'ann', now), 0, other)
})
