import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, GeneralName, KeyUsageFlags } from '@peculiar/asn1-x509'
import t from 'tap'
import { encodeForSigning, keyHint } from '../../src/model/bundle.ts'
import type { SignerConstraints, Trust } from '../../src/model/trust.ts'
import { verifyStatement } from '../../src/model/verify-statement.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { issue, namesOf, type Issued } from '../helpers/certificates.ts'
import { digest, payload } from '../helpers/small-statement.ts'

const now = Date.parse('2026-06-01T00:00:00Z')

async function signed (privateKey: KeyObject, verificationMaterial: object, message: Uint8Array = encodeForSigning(payload)): Promise<Buffer> {
  const sig = Buffer.from(await localSigner(privateKey).sign(message)).toString('base64')
  return Buffer.from(JSON.stringify({
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial,
    dsseEnvelope: { payload: payload.toString('base64'), payloadType: 'application/vnd.in-toto+json', signatures: [{ sig }] }
  }))
}

async function signedBy ({ privateKey }: Issued, ...chain: readonly Issued[]): Promise<Buffer> {
  return await signed(privateKey, chainOf(...chain))
}

function chainOf (...chain: readonly Issued[]): object {
  return { x509CertificateChain: { certificates: chain.map(({ certificate }) => ({ rawBytes: certificate.raw.toString('base64') })) } }
}

function trusting (...authorities: readonly Issued[]): Trust {
  return { keys: [], authorities: authorities.map(({ certificate }) => certificate), clock: () => now }
}

const untrusted = (reason: string): { code: string, reason: string } => ({ code: 'FMG_ERR_SIGNER_UNTRUSTED', reason })
const badSignature = { code: 'FMG_ERR_SIGNATURE_INVALID', reason: 'signature' }

const ours = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const theirs = generateKeyPairSync('ed25519')

t.test('a signature by a trusted key is accepted, by its hint or without it', async (t) => {
  const trust: Trust = { keys: [theirs.publicKey, ours.publicKey], authorities: [] }
  const hint = keyHint(ours.publicKey)
  const rawBytes = Buffer.from(ours.publicKey.export({ type: 'spki', format: 'pem' })).toString('base64')
  for (const publicKey of [{ hint }, { rawBytes }, { hint: 'our signing key' }]) {
    const { signer, statement } = await verifyStatement(await signed(ours.privateKey, { publicKey }), trust, 'x')
    t.same(signer, { method: 'key', hint })
    t.same(statement.files, [{ name: 'a', parts: [{ start: 0, digest }] }])
  }
})

t.test('a valid signature by an unknown key is untrusted, even when the key comes along', async (t) => {
  const rawBytes = Buffer.from(theirs.publicKey.export({ type: 'spki', format: 'pem' })).toString('base64')
  for (const publicKey of [{ hint: keyHint(theirs.publicKey) }, { rawBytes }]) {
    const bytes = await signed(theirs.privateKey, { publicKey })
    await t.rejects(verifyStatement(bytes, { keys: [ours.publicKey], authorities: [] }, 'x'), untrusted('unknown-key'))
    await t.rejects(verifyStatement(bytes, { keys: [], authorities: [] }, 'x'), untrusted('unknown-key'))
    t.ok(await verifyStatement(bytes, { keys: [theirs.publicKey], authorities: [] }, 'x'))
  }
})

t.test('a signature that the named key did not make is refused', async (t) => {
  const trust: Trust = { keys: [ours.publicKey, theirs.publicKey], authorities: [] }
  const publicKey = { hint: keyHint(ours.publicKey) }
  await t.rejects(verifyStatement(Buffer.from(''), trust, 'x'), { code: 'FMG_ERR_BUNDLE_INVALID' })
  const byAnother = await signed(theirs.privateKey, { publicKey })
  await t.rejects(verifyStatement(byAnother, trust, 'x'), badSignature, 'not even when another trusted key did')
  const overPayload = await signed(ours.privateKey, { publicKey }, payload)
  await t.rejects(verifyStatement(overPayload, trust, 'x'), badSignature, 'the payload alone is not what is signed')
  const oldEncoding = await signed(ours.privateKey, { publicKey }, Buffer.concat([Buffer.from(`DSSEV1 28 application/vnd.in-toto+json ${payload.length} `), payload]))
  await t.rejects(verifyStatement(oldEncoding, trust, 'x'), badSignature, 'nor is the encoding of a version with a mistake in it')
})

t.test('what was signed is read only after the signature holds', async (t) => {
  const bytes = (await signed(theirs.privateKey, { publicKey: { hint: 'x' } })).toString().replace(payload.toString('base64'), 'e30=')
  await t.rejects(verifyStatement(Buffer.from(bytes), { keys: [theirs.publicKey], authorities: [] }, 'x'), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
})

const root = issue({ subject: 'root', isAuthority: true, usage: KeyUsageFlags.keyCertSign })
const intermediate = issue({ subject: 'intermediate', issuer: root, isAuthority: true, usage: KeyUsageFlags.keyCertSign })
const leaf = issue({ subject: 'leaf', issuer: intermediate, usage: KeyUsageFlags.digitalSignature })

t.test('a certificate that leads up to a trusted authority is accepted', async (t) => {
  const { signer } = await verifyStatement(await signedBy(leaf, leaf, intermediate), trusting(root), 'x')
  t.same(signer, { method: 'certificate', fingerprint: leaf.certificate.fingerprint256, subject: 'CN=leaf', authority: root.certificate.fingerprint256 })
  t.ok(await verifyStatement(await signedBy(leaf, leaf, intermediate, root), trusting(root), 'x'), 'with the root in the chain')
  t.ok(await verifyStatement(await signedBy(leaf, leaf, root, intermediate), trusting(root), 'x'), 'in any order after the first')
  t.ok(await verifyStatement(await signedBy(leaf, leaf), trusting(intermediate), 'x'), 'an intermediate may be what is trusted')
  const codeSigning = issue({ subject: 'code', issuer: root, purposes: ['1.3.6.1.5.5.7.3.3'] })
  t.ok(await verifyStatement(await signedBy(codeSigning, codeSigning), trusting(root), 'x'), 'for code signing')
  const anyPurpose = issue({ subject: 'any', issuer: root, usage: KeyUsageFlags.digitalSignature, purposes: ['2.5.29.37.0'] })
  t.ok(await verifyStatement(await signedBy(anyPurpose, anyPurpose), trusting(root), 'x'))
  const noUsage = issue({ subject: 'no usage', isAuthority: true })
  const below = issue({ subject: 'below', issuer: noUsage, usage: KeyUsageFlags.digitalSignature })
  t.ok(await verifyStatement(await signedBy(below, below), trusting(noUsage), 'x'), 'an authority need not have a key usage')
})

t.test('a certificate that leads nowhere is not', async (t) => {
  const stranger = issue({ subject: 'root', isAuthority: true, usage: KeyUsageFlags.keyCertSign })
  const rsa = issue({ subject: 'root', issuer: stranger, isAuthority: true, privateKey: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey })
  const notAuthority = issue({ subject: 'not an authority', issuer: root, usage: KeyUsageFlags.digitalSignature })
  const notForCertificates = issue({ subject: 'not for certificates', issuer: root, isAuthority: true, usage: KeyUsageFlags.digitalSignature })
  const noFlag = issue({ subject: 'neither flag nor usage', issuer: root })
  const forWebServers = issue({ subject: 'for web servers', issuer: root, isAuthority: true, purposes: ['1.3.6.1.5.5.7.3.1'] })
  const unknown = issue({ subject: 'unknown extension', issuer: root, isAuthority: true, unknownExtension: '1.2.3.4' })
  const namesake = issue({ subject: 'another name', isAuthority: true, privateKey: intermediate.privateKey })
  const expired = issue({ subject: 'expired', issuer: root, isAuthority: true, notAfter: new Date(now - 1000) })
  const future = issue({ subject: 'future', issuer: root, isAuthority: true, notBefore: new Date(now + 1000) })
  const under = (issuer: Issued): Issued => issue({ subject: 'leaf', issuer, usage: KeyUsageFlags.digitalSignature })
  const cases: Readonly<Record<string, readonly [Buffer, Trust]>> = {
    'no authority is trusted': [await signedBy(leaf, leaf, intermediate, root), trusting()],
    'a trusted key is no authority': [await signedBy(leaf, leaf, intermediate), { ...trusting(), keys: [leaf.certificate.publicKey] }],
    'another authority of the same name': [await signedBy(leaf, leaf, intermediate), trusting(stranger)],
    'an authority with a key of another kind': [await signedBy(leaf, leaf, intermediate), trusting(rsa)],
    'an authority with the same key and another name': [await signedBy(leaf, leaf), trusting(namesake)],
    'the intermediate is missing': [await signedBy(leaf, leaf), trusting(root)]
  }
  for (const [name, [bytes, trust]] of Object.entries(cases)) await t.rejects(verifyStatement(bytes, trust, 'x'), untrusted('certificate-chain'), name)
  for (const issuer of [notAuthority, notForCertificates, forWebServers, noFlag, unknown, expired, future]) {
    const bad = under(issuer)
    const bytes = await signedBy(bad, bad, issuer)
    await t.rejects(verifyStatement(bytes, trusting(root), 'x'), untrusted('certificate-chain'), issuer.certificate.subject)
    await t.rejects(verifyStatement(bytes, trusting(issuer), 'x'), untrusted('certificate-chain'), `${issuer.certificate.subject}, trusted`)
  }
})

t.test('a certificate that is signed weakly, or with a short key, proves nothing', async (t) => {
  const authorityWith = (modulusLength: number): Issued => issue({ subject: 'rsa', issuer: root, isAuthority: true, privateKey: generateKeyPairSync('rsa', { modulusLength }).privateKey })
  const [long, short] = [authorityWith(2048), authorityWith(1024)]
  const under = (issuer: Issued, rsaHash: 'sha1' | 'sha256'): Issued => issue({ subject: 'leaf', issuer, usage: KeyUsageFlags.digitalSignature, rsaHash })
  const [sound, old, weak] = [under(long, 'sha256'), under(long, 'sha1'), under(short, 'sha256')]
  t.ok(await verifyStatement(await signedBy(sound, sound, long), trusting(root), 'x'))
  await t.rejects(verifyStatement(await signedBy(old, old, long), trusting(root), 'x'), untrusted('certificate-chain'), 'SHA-1')
  await t.rejects(verifyStatement(await signedBy(weak, weak, short), trusting(root), 'x'), untrusted('certificate-chain'), '1024 bits')
})

t.test('a wrong certificate among the right ones is passed by', async (t) => {
  const expired = issue({ subject: 'intermediate', issuer: root, isAuthority: true, privateKey: intermediate.privateKey, notAfter: new Date(now - 1000) })
  t.ok(await verifyStatement(await signedBy(leaf, leaf, expired, intermediate), trusting(root), 'x'), 'one that has run out, and its successor')
  await t.rejects(verifyStatement(await signedBy(leaf, leaf, expired), trusting(root), 'x'), untrusted('certificate-chain'))
  await t.rejects(verifyStatement(await signedBy(leaf, intermediate, leaf), trusting(root), 'x'), badSignature, 'the signer\'s must come first')
})

t.test('an authority\'s signers are told apart by subject and names', async (t) => {
  const attributes = [['2.5.4.10', 'Acme'], ['2.5.4.11', 'ML'], ['2.5.4.65', 'nick']] as const
  const ann = issue({ subject: 'ann', issuer: root, usage: KeyUsageFlags.digitalSignature, attributes, names: namesOf('spiffe://acme.example/ml/ann', 'ann.acme.example') })
  const bytes = await signedBy(ann, ann)
  const meant = async (constraints: SignerConstraints, signature = bytes): Promise<unknown> =>
    await verifyStatement(signature, { keys: [], authorities: [{ certificate: root.certificate, mayClaim: {}, ...constraints }], clock: () => now }, 'x')
  const right: readonly SignerConstraints[] = [
    {}, { subject: {} }, { subject: { CN: 'ann' } }, { subject: { O: 'Acme', OU: 'ML' } }, { subject: { O: 'A*' } },
    { names: ['URI:spiffe://acme.example/ml/*'] }, { names: ['DNS:other', 'DNS:ann.acme.example'] }, { subject: { CN: 'ann' }, names: ['DNS:*.acme.example'] }
  ]
  const wrong: readonly SignerConstraints[] = [
    { subject: { CN: 'an' } }, { subject: { CN: 'Ann' } }, { subject: { O: 'Acme', OU: 'Ops' } }, { subject: { C: '*' } }, { subject: { O: 'ann' } },
    { names: [] }, { names: ['URI:spiffe://acme.example/ml'] }, { names: ['DNS:acme.example'] }, { subject: { CN: 'bob' }, names: ['DNS:ann.acme.example'] },
    { names: ['URI:ann.acme.example'] }, { names: ['email:*'] }
  ]
  for (const constraints of right) t.ok(await meant(constraints), JSON.stringify(constraints))
  for (const constraints of wrong) await t.rejects(meant(constraints), untrusted('certificate-subject'), JSON.stringify(constraints))
  const mail = issue({ subject: 'mail', issuer: root, usage: KeyUsageFlags.digitalSignature, names: [new GeneralName({ rfc822Name: 'ann@acme.example' })] })
  t.ok(await meant({ names: ['email:*@acme.example'] }, await signedBy(mail, mail)))
  const elsewhere = { keys: [], authorities: [{ certificate: root.certificate, subject: { CN: 'bob' }, mayClaim: {} }, { certificate: intermediate.certificate, mayClaim: {} }], clock: () => now }
  await t.rejects(verifyStatement(bytes, elsewhere, 'x'), untrusted('certificate-subject'), 'an entry of another authority is none')
  const two = issue({ subject: 'ann', issuer: root, usage: KeyUsageFlags.digitalSignature, attributes: [['2.5.4.3', 'bob']] })
  await t.rejects(meant({ subject: { CN: 'ann' } }, await signedBy(two, two)), untrusted('certificate-subject'), 'of two common names none counts')
  await t.rejects(meant({ subject: { cn: 'ann' } }), { code: 'FMG_ERR_OPTION_INVALID', message: /trust\.authorities\[0\]\.subject\.cn is not an option/ })
  const bare = issue({ subject: 'bare', issuer: root, usage: KeyUsageFlags.digitalSignature, names: [new GeneralName({ iPAddress: '10.0.0.1' })] })
  await t.rejects(meant({ names: ['URI:*', 'DNS:*', 'email:*'] }, await signedBy(bare, bare)), untrusted('certificate-subject'))
})

t.test('what several entries allow a signer stands side by side', async (t) => {
  const claims = [{ name: ['a'] }, { name: ['b'] }]
  const keys = claims.map((mayClaim) => ({ key: ours.publicKey, mayClaim }))
  const byKey = await signed(ours.privateKey, { publicKey: { hint: keyHint(ours.publicKey) } })
  t.same((await verifyStatement(byKey, { keys: [{ key: theirs.publicKey, mayClaim: { name: ['c'] } }, ...keys], authorities: [] }, 'x')).mayClaim, claims)
  const byCertificate = await signedBy(leaf, leaf, intermediate)
  const authorities = [...claims.map((mayClaim) => ({ certificate: root.certificate, mayClaim })), { certificate: root.certificate, subject: { CN: 'bob' }, mayClaim: {} }]
  t.same((await verifyStatement(byCertificate, { keys: [], authorities, clock: () => now }, 'x')).mayClaim, claims)
})

t.test('a revoked signer is refused whoever trusts him, and says so', async (t) => {
  const hint = keyHint(ours.publicKey)
  const keys: Trust = { keys: [ours.publicKey, theirs.publicKey], authorities: [] }
  const byKey = await signed(ours.privateKey, { publicKey: { hint } })
  const lying = await signed(ours.privateKey, { publicKey: { hint: 'another' } })
  for (const bytes of [byKey, lying]) {
    for (const revoked of [hint, hint.toUpperCase()]) await t.rejects(verifyStatement(bytes, { ...keys, revoked: { keys: [revoked] } }, 'x'), untrusted('signer-revoked'))
    t.ok(await verifyStatement(bytes, { ...keys, revoked: { keys: [keyHint(theirs.publicKey)], certificates: [hint], serials: [], identities: [] } }, 'x'))
  }
  const bytes = await signedBy(leaf, leaf, intermediate)
  for (const certificate of [leaf, intermediate, root].map((issued) => issued.certificate)) {
    for (const fingerprint of [certificate.fingerprint256, certificate.fingerprint256.replaceAll(':', '').toLowerCase()]) {
      await t.rejects(verifyStatement(bytes, { ...trusting(root), revoked: { certificates: [fingerprint] } }, 'x'), untrusted('signer-revoked'), certificate.subject)
    }
    await t.rejects(verifyStatement(bytes, { ...trusting(root), revoked: { keys: [keyHint(certificate.publicKey)] } }, 'x'), untrusted('signer-revoked'), `the key of ${certificate.subject}`)
  }
  const serial = leaf.certificate.serialNumber
  for (const written of [serial, serial.toLowerCase(), `00${serial}`, (serial.match(/../g) ?? []).join(':')]) {
    const serials = [{ authority: intermediate.certificate.fingerprint256, serial: written }]
    await t.rejects(verifyStatement(bytes, { ...trusting(root), revoked: { serials } }, 'x'), untrusted('signer-revoked'), written)
  }
  t.ok(await verifyStatement(bytes, { ...trusting(root), revoked: { serials: [{ authority: root.certificate.fingerprint256, serial }] } }, 'x'), 'the same number by another authority')
  t.ok(await verifyStatement(bytes, { ...trusting(root), revoked: { serials: [{ authority: intermediate.certificate.fingerprint256, serial: `${serial}00` }] } }, 'x'))
})

t.test('no more authorities stand below one than it allows', async (t) => {
  for (const [maxIntermediates, isAllowed] of [[0, false], [1, true]] as const) {
    const top = issue({ subject: 'top', isAuthority: true, maxIntermediates })
    const middle = issue({ subject: 'middle', issuer: top, isAuthority: true })
    const end = issue({ subject: 'end', issuer: middle, usage: KeyUsageFlags.digitalSignature })
    const bytes = await signedBy(end, end, middle)
    if (isAllowed) t.ok(await verifyStatement(bytes, trusting(top), 'x'))
    else await t.rejects(verifyStatement(bytes, trusting(top), 'x'), untrusted('certificate-chain'))
  }
})

t.test('a certificate that is not for signing is refused', async (t) => {
  const cases = {
    'key usage without signing': issue({ subject: 'a', issuer: root, usage: KeyUsageFlags.keyEncipherment }),
    'no usage at all': issue({ subject: 'b', issuer: root }),
    'code signing without signing': issue({ subject: 'e', issuer: root, usage: KeyUsageFlags.keyEncipherment, purposes: ['1.3.6.1.5.5.7.3.3'] }),
    'a web server\'s': issue({ subject: 'c', issuer: root, usage: KeyUsageFlags.digitalSignature, purposes: ['1.3.6.1.5.5.7.3.1'] })
  }
  for (const [name, bad] of Object.entries(cases)) {
    const bytes = await signedBy(bad, bad)
    await t.rejects(verifyStatement(bytes, trusting(root), 'x'), untrusted('certificate-usage'), name)
  }
  const odd = issue({ subject: 'd', issuer: root, usage: KeyUsageFlags.digitalSignature, unknownExtension: '1.2.3.4' })
  const bytes = await signedBy(odd, odd)
  await t.rejects(verifyStatement(bytes, trusting(root), 'x'), untrusted('certificate-extension'))
})

t.test('a certificate is valid now, or was when it began where that is asked for', async (t) => {
  const short = issue({ subject: 'short', issuer: root, usage: KeyUsageFlags.digitalSignature, notBefore: new Date('2026-02-01T00:00:00Z'), notAfter: new Date('2026-03-01T00:00:00Z') })
  const bytes = await signedBy(short, short)
  const at = (time: string): Trust => ({ ...trusting(root), clock: () => Date.parse(time) })
  for (const time of ['2026-02-01T00:00:00Z', '2026-02-15T00:00:00Z', '2026-03-01T00:00:00Z']) t.ok(await verifyStatement(bytes, at(time), 'x'), time)
  for (const time of ['2026-01-31T23:59:59Z', '2026-03-01T00:00:01Z', '2040-01-01T00:00:00Z']) {
    await t.rejects(verifyStatement(bytes, at(time), 'x'), untrusted('certificate-validity'), time)
    t.ok(await verifyStatement(bytes, { ...at(time), judgeValidityAt: 'leaf-not-before' }, 'x'))
  }
  const early = issue({ subject: 'early', issuer: root, usage: KeyUsageFlags.digitalSignature, notBefore: new Date('2020-01-01T00:00:00Z') })
  const before = await signedBy(early, early)
  await t.rejects(verifyStatement(before, { ...trusting(root), judgeValidityAt: 'leaf-not-before' }, 'x'), untrusted('certificate-chain'), 'its authority was not yet valid then')
  t.ok(await verifyStatement(await signedBy(leaf, leaf, intermediate), { keys: [], authorities: [root.certificate], judgeValidityAt: 'leaf-not-before' }, 'x'))
})

t.test('a signature that the certificate\'s key did not make is refused', async (t) => {
  const bytes = await signed(theirs.privateKey, chainOf(leaf, intermediate))
  await t.rejects(verifyStatement(bytes, trusting(root), 'x'), badSignature)
})

t.test('a chain that is long or malformed is refused', async (t) => {
  const long = await signedBy(leaf, leaf, ...Array.from({ length: 6 }, () => intermediate))
  await t.rejects(verifyStatement(long, trusting(root), 'x'), { code: 'FMG_ERR_BUNDLE_INVALID', message: /at most 6/ })
  const six = await signedBy(leaf, leaf, ...Array.from({ length: 5 }, () => intermediate))
  t.ok(await verifyStatement(six, trusting(root), 'x'))
  const parsed = AsnConvert.parse(leaf.certificate.raw, Certificate)
  parsed.tbsCertificate.extensions?.forEach((extension) => { extension.extnValue.buffer = new ArrayBuffer(3) })
  const malformed = { certificate: new X509Certificate(Buffer.from(AsnConvert.serialize(parsed))), privateKey: leaf.privateKey }
  const bytes = await signedBy(leaf, malformed)
  await t.rejects(verifyStatement(bytes, trusting(root), 'x'), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'certificate' })
})

t.test('a keyless signature is by nobody where no identity is trusted', async (t) => {
  const bytes = await signed(leaf.privateKey, { certificate: { rawBytes: leaf.certificate.raw.toString('base64') }, tlogEntries: [{}] })
  await t.rejects(verifyStatement(bytes, trusting(root), 'x'), untrusted('unknown-identity'))
})

t.test('a trusted key that could never verify is the configuration\'s mistake', async (t) => {
  const bytes = await signed(ours.privateKey, { publicKey: { hint: 'x' } })
  for (const key of [ours.privateKey, generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey, generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey]) {
    await t.rejects(verifyStatement(bytes, { keys: [ours.publicKey, key], authorities: [] }, 'x'), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

t.test('a trust that does not say what it means is the configuration\'s mistake', async (t) => {
  const bytes = await signed(ours.privateKey, { publicKey: { hint: keyHint(ours.publicKey) } })
  const good: Trust = { keys: [ours.publicKey], authorities: [] }
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ ...good, revoke: { keys: [] } }, /trust\.revoke is not an option; did you mean revoked/],
    [{ ...good, revoked: { key: [] } }, /trust\.revoked\.key is not an option; did you mean keys/],
    [{ ...good, revoked: { keys: ['ab'] } }, /trust\.revoked\.keys\[0\] must be the hint of a key/],
    [{ ...good, revoked: { certificates: ['AB:CD'] } }, /trust\.revoked\.certificates\[0\]/],
    [{ ...good, identities: [{ identity: 'ann', issuer: 'x', mayClaim: {} }] }, /trust\.identities\[0\]\.trustedRoot must be bytes/],
    [{ ...good, identities: [{ identity: '', issuer: 'x', trustedRoot: Buffer.from('{}'), mayClaim: {} }] }, /trust\.identities\[0\]\.identity/],
    [{ ...good, keys: [{ key: ours.publicKey }] }, /trust\.keys\[0\]\.mayClaim/],
    [{ ...good, keys: [{ key: ours.privateKey, mayClaim: {} }] }, /trust\.keys\[0\]\.key must be a public key/],
    [{ ...good, keys: ['pem'] }, /trust\.keys\[0\]/],
    [{ ...good, authorities: [{ certificate: 'pem', mayClaim: {} }] }, /trust\.authorities\[0\]\.certificate must be a certificate/],
    [{ ...good, authorities: [{ certificate: root.certificate, names: ['ann'], mayClaim: {} }] }, /names\[0\] must be a name with its kind/],
    [{ ...good, judgeValidityAt: 'never' }, /judgeValidityAt/],
    [{ ...good, clock: 3 }, /trust\.clock must be a function/],
    [{ keys: [] }, /trust\.authorities must be a list/]
  ]
  for (const [trust, message] of cases) await t.rejects(verifyStatement(bytes, trust as Trust, 'x'), { code: 'FMG_ERR_OPTION_INVALID', message }, String(message))
  t.ok(await verifyStatement(bytes, good, 'x'))
})
