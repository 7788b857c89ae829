import { createHash, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import t, { type Test } from 'tap'
import { keyHint } from '../../src/model/bundle.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { readTrustFile, type TrustFile } from '../../src/model/trust-file.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { issue } from '../helpers/certificates.ts'
import { manifestOf, signedModel, writeFiles } from '../helpers/models.ts'
import { sigstore } from '../helpers/sigstore.ts'

const ours = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const authority = issue({ subject: 'authority', isAuthority: true, usage: KeyUsageFlags.keyCertSign })
const ann = issue({ subject: 'ann', issuer: authority, usage: KeyUsageFlags.digitalSignature })
const { trustedRoot } = sigstore()
const pem = (certificate: X509Certificate): string => certificate.toString()
const rsaPem = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'pem' }).toString()
const keyPem = ours.publicKey.export({ type: 'spki', format: 'pem' }).toString()

/** Reads a trust file that stands beside a key, an authority and a root. */
async function read (t: Test, text: string): Promise<TrustFile> {
  const folder = t.testdir({
    keys: { 'ours.pub': keyPem, private: ours.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 'rsa.pub': rsaPem },
    'ca.pem': pem(authority.certificate),
    'root.json': trustedRoot,
    'trust.yaml': text
  })
  return await readTrustFile(path.join(folder, 'trust.yaml'))
}

const whole = `
version: 1
signers:
  - name: training pipeline
    key: keys/ours.pub
    models: ['fraud-*', churn]
    mayClaim: { environment: [staging] }
  - authority: ca.pem
    subject: { CN: ann }
    names: ['DNS:*.acme.example']
    models: ['*']
  - identity: https://github.com/acme/models/.github/workflows/release.yml@refs/heads/main
    issuer: https://token.actions.githubusercontent.com
    trustedRoot: root.json
    models: ['*']
    mayClaim: { org: [acme] }
revoked:
  keys: [${'AB'.repeat(32)}]
  certificates: ['${authority.certificate.fingerprint256}']
  serials: [{ authority: '${authority.certificate.fingerprint256}', serial: '0A:1b' }]
  identities: [{ identity: bob@acme.example, issuer: 'https://login.acme.example' }]
floor: { fraud-eu: '1.3.0' }
judgeValidityAt: leaf-not-before
`

t.test('a trust file says who may sign which models', async (t) => {
  const { id, trust, floor } = await read(t, whole)
  t.equal(id, `sha256:${createHash('sha256').update(whole).digest('hex')}`)
  t.same(floor, { 'fraud-eu': '1.3.0' })
  const [key] = trust.keys
  const [signers] = trust.authorities
  if (key === undefined || !('key' in key) || signers === undefined || !('certificate' in signers)) throw new Error('one of each')
  t.equal(keyHint(key.key), keyHint(ours.publicKey))
  t.same(key.mayClaim, { environment: ['staging'], name: ['fraud-*', 'churn'] })
  t.equal(signers.certificate.fingerprint256, authority.certificate.fingerprint256)
  t.same([signers.subject, signers.names, signers.mayClaim], [{ CN: 'ann' }, ['DNS:*.acme.example'], {}])
  t.match(trust.identities, [{ identity: /release\.yml@refs/, issuer: 'https://token.actions.githubusercontent.com', mayClaim: { org: ['acme'] } }])
  t.same(trust.identities?.[0]?.trustedRoot, trustedRoot)
  t.match(trust.revoked, { keys: ['AB'.repeat(32)], serials: [{ serial: '0A:1b' }], identities: [{ identity: 'bob@acme.example' }] })
  t.equal(trust.judgeValidityAt, 'leaf-not-before')
  const least = await read(t, '{"version": 1, "signers": [{ "authority": "ca.pem", "models": [] }]}')
  t.same(least.trust.revoked, { keys: [], certificates: [], serials: [], identities: [] })
  t.notOk('judgeValidityAt' in least.trust, 'certificates must be valid now')
  t.same(least.trust.authorities[0], { certificate: new X509Certificate(pem(authority.certificate)), mayClaim: { name: [] } })
})

t.test('a trust file that is wrong anywhere is refused, and where is told', async (t) => {
  const signer = (members: string): string => `version: 1\nsigners:\n  - { ${members} }\n`
  const with1 = (more: string): string => `version: 1\nsigners: []\n${more}\n`
  const cases: Readonly<Record<string, RegExp>> = {
    '': /trust\.yaml must be an object/,
    'version: 2\nsigners: []\n': /trust\.yaml\.version must be 1/,
    'signers: []\n': /trust\.yaml\.version must be 1, got nothing/,
    'version: 1\n': /trust\.yaml\.signers must be a list/,
    'version: 1\nsigners: []\nsigners: []\n': /trust\.yaml: Map keys must be unique at line 3/,
    'version: 1\nsigners: &a []\nrevoked: *a\n': /trust\.yaml: an alias/,
    [with1('revokd: {}')]: /trust\.yaml\.revokd is not an option; did you mean revoked/,
    [with1('revoked: { keys: [abc] }')]: /trust\.yaml\.revoked\.keys\[0\] must be the hint of a key/,
    [with1('revoked: { certificates: [abc] }')]: /certificates\[0\] must be a SHA-256 fingerprint/,
    [with1(`revoked: { serials: [{ authority: ${'ab'.repeat(32)}, serial: x }] }`)]: /serials\[0\]\.serial must be a serial number/,
    [with1('revoked: { serials: [{ serial: "01" }] }')]: /serials\[0\]\.authority/,
    [with1('revoked: { identities: [{ identity: bob }] }')]: /identities\[0\]\.issuer/,
    [with1('floor: { fraud: 1.3 }')]: /trust\.yaml\.floor\.fraud must be a version .*, got 1\.3/,
    [with1('judgeValidityAt: never')]: /judgeValidityAt must be one of now, leaf-not-before/,
    [signer('key: keys/ours.pub')]: /signers\[0\] must be an object with models, datasets or both/,
    [signer('key: keys/ours.pub, models: [""]')]: /signers\[0\]\.models\[0\]/,
    [signer('models: [a]')]: /signers\[0\] must be an object with exactly one of key, authority, identity/,
    [signer('key: keys/ours.pub, authority: ca.pem, models: [a]')]: /exactly one of/,
    [signer('key: keys/ours.pub, subject: { CN: ann }, models: [a]')]: /without subject and names/,
    [signer('key: keys/ours.pub, names: [DNS:ann], models: [a]')]: /without subject and names/,
    [signer('authority: ca.pem, names: [ann], models: [a]')]: /signers\[0\]\.names\[0\] must be a name with its kind/,
    [signer('key: keys/ours.pub, issuer: x, models: [a]')]: /without issuer and trustedRoot/,
    [signer('authority: ca.pem, trustedRoot: root.json, models: [a]')]: /without issuer and trustedRoot/,
    [signer('identity: ann, models: [a]')]: /with identity, issuer and trustedRoot/,
    [signer('identity: ann, issuer: x, models: [a]')]: /with identity, issuer and trustedRoot/,
    [signer('authority: ca.pem, subject: { cn: ann }, models: [a]')]: /signers\[0\]\.subject\.cn is not an option; did you mean/,
    [signer('key: keys/ours.pub, models: [a], mayClaim: { name: [b] }')]: /signers\[0\]\.mayClaim must be without name/,
    [signer('key: keys/ours.pub, models: [a], mayClaim: { org: acme }')]: /mayClaim\.org must be a list/,
    [signer('key: keys/rsa.pub, models: [a]')]: /signers\[0\]\.key must be a public key of Ed25519, P-256/
  }
  for (const [text, message] of Object.entries(cases)) await t.rejects(read(t, text), { code: 'FMG_ERR_OPTION_INVALID', message }, text)
  const files: Readonly<Record<string, RegExp>> = {
    [signer('key: keys/none, models: [a]')]: /cannot read .*keys\/none/,
    [signer('key: ca.pem.none, models: [a]')]: /cannot read/,
    [signer('key: trust.yaml, models: [a]')]: /trust\.yaml is not what was expected in PEM/,
    [signer('authority: keys/ours.pub, models: [a]')]: /ours\.pub is not what was expected in PEM/,
    [signer('key: keys/private, models: [a]')]: /keys\/private holds a private key, where a public one belongs/,
    [signer('identity: a, issuer: b, trustedRoot: none, models: [a]')]: /cannot read/
  }
  for (const [text, message] of Object.entries(files)) await t.rejects(read(t, text), { code: 'FMG_ERR_FILE', message }, text)
})

t.test('several entries for a signer stand side by side, each for its models', async (t) => {
  const folder = t.testdir({
    'ours.pub': keyPem,
    'trust.yaml': `
version: 1
signers:
  - { key: ours.pub, models: ['fraud-*'], mayClaim: { environment: [production] } }
  - { key: ours.pub, models: ['*'], mayClaim: { environment: [staging] } }
`
  })
  const { trust } = await readTrustFile(path.join(folder, 'trust.yaml'))
  const taken = async (name: string, environment: string): Promise<unknown> => {
    const model = path.join(folder, `${name}-${environment}`)
    await mkdir(model)
    await writeFiles(model, { 'model.json': manifestOf({ name, environment }) })
    await signModel({ directory: model, signer: localSigner(ours.privateKey) })
    return await verifyModel({ model, trust })
  }
  t.ok(await taken('fraud-eu', 'production'))
  t.ok(await taken('fraud-eu', 'staging'))
  t.ok(await taken('churn', 'staging'))
  await t.rejects(taken('churn', 'production'), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims', message: /may not claim this name, or this environment/ })
})

t.test('who is revoked in a trust file is refused though it trusts him', async (t) => {
  const folder = t.testdir({ 'ours.pub': keyPem, 'ca.pem': pem(authority.certificate) })
  const trustOf = async (revoked: string): Promise<TrustFile['trust']> => {
    await writeFile(path.join(folder, 'trust.yaml'), `version: 1\nsigners: [{ key: ours.pub, models: ['*'] }, { authority: ca.pem, models: ['*'] }]\nrevoked: ${revoked}\n`)
    return (await readTrustFile(path.join(folder, 'trust.yaml'))).trust
  }
  const byKey = await signedModel(path.join(folder, 'by-key'))
  await signModel({ directory: byKey, signer: localSigner(ours.privateKey) })
  const byCertificate = await signedModel(path.join(folder, 'by-certificate'))
  await signModel({ directory: byCertificate, signer: localSigner(ann.privateKey), certificates: [ann.certificate] })
  for (const model of [byKey, byCertificate]) t.ok(await verifyModel({ model, trust: await trustOf('{}') }))
  const revoked = { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-revoked' }
  await t.rejects(verifyModel({ model: byKey, trust: await trustOf(`{ keys: [${keyHint(createPublicKey(keyPem))}] }`) }), revoked)
  await t.rejects(verifyModel({ model: byCertificate, trust: await trustOf(`{ certificates: ['${ann.certificate.fingerprint256}'] }`) }), revoked)
  t.ok(await verifyModel({ model: byKey, trust: await trustOf(`{ certificates: ['${ann.certificate.fingerprint256}'] }`) }))
})

t.test('a hook sees the signed manifest of a plaintext model, and may refuse it', async (t) => {
  const model = await signedModel(path.join(t.testdir(), 'model'))
  await signModel({ directory: model, signer: localSigner(ours.privateKey) })
  const trust = { keys: [ours.publicKey], authorities: [] }
  const seen: unknown[] = []
  await verifyModel({ model, trust, admit: ({ version }, { method }) => { seen.push(version, method) } })
  t.same(seen, ['1.2.0', 'key'])
  await t.rejects(verifyModel({ model, trust, admit: () => { throw new Error('too old') } }), { message: 'too old' })
  const bare = await writeFiles(path.join(t.testdir(), 'bare'), { a: 'x' })
  await signModel({ directory: bare, signer: localSigner(ours.privateKey) })
  const limited = { key: ours.publicKey, mayClaim: { environment: ['staging'] } }
  t.ok(await verifyModel({ model: bare, trust: { keys: [limited, ours.publicKey], authorities: [] } }), 'one entry that limits nothing is enough')
  await t.rejects(verifyModel({ model: bare, trust: { keys: [limited, limited], authorities: [] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims' })
  await t.rejects(verifyModel({ model: bare, trust, admit: () => undefined }), { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims' })
})
