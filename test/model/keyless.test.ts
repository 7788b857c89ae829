import path from 'node:path'
import { GeneralName } from '@peculiar/asn1-x509'
import t from 'tap'
import { readBundle } from '../../src/model/bundle.ts'
import type { TrustedIdentity } from '../../src/model/trust.ts'
import { verifyStatement } from '../../src/model/verify-statement.ts'
import { run } from '../helpers/command.ts'
import { sigstore } from '../helpers/sigstore.ts'
import { payload } from '../helpers/small-statement.ts'

const { trustedRoot, signKeyless, authority } = sigstore()
const ann: TrustedIdentity = { identity: 'ann@acme.example', issuer: 'https://login.acme.example', trustedRoot, mayClaim: {} }
const untrusted = { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'unknown-identity' }
const invalid = { code: 'FMG_ERR_SIGNATURE_INVALID', reason: 'keyless' }

async function verify (bytes: Uint8Array, identities: readonly TrustedIdentity[] = [ann]): Promise<unknown> {
  return await verifyStatement(bytes, { keys: [], authorities: [], identities }, 'x')
}

interface Json { [name: string]: Json }

/** A bundle with a change to it. */
function changed (bytes: Uint8Array, change: (bundle: Json) => void): Buffer {
  const bundle = JSON.parse(Buffer.from(bytes).toString()) as Json
  change(bundle)
  return Buffer.from(JSON.stringify(bundle))
}

t.test('a keyless signature is by an identity and its issuer, both trusted', async (t) => {
  t.match(await verify(signKeyless(payload)), { signer: { method: 'keyless', identity: ann.identity, issuer: ann.issuer }, mayClaim: [{}], statement: { files: [{ name: 'a' }] } })
  const workflow = 'https://github.com/acme/models/.github/workflows/release.yml@refs/heads/main'
  t.match(await verify(signKeyless(payload, { identity: workflow }), [ann, { ...ann, identity: workflow }]), { signer: { identity: workflow } })
  const mayClaim = [{ name: ['a'] }, { name: ['b'] }]
  t.match(await verify(signKeyless(payload), mayClaim.map((claims) => ({ ...ann, mayClaim: claims }))), { mayClaim })
})

t.test('another identity, or the same one by another issuer, is not trusted', async (t) => {
  for (const identity of ['bob@acme.example', 'xann@acme.example', 'ann@acme.examples', 'ANN@acme.example', 'ann@acme-example']) await t.rejects(verify(signKeyless(payload, { identity })), untrusted, identity)
  for (const issuer of ['https://login.evil.example', 'https://login.acme.example/', 'https://login.acme.example.evil']) await t.rejects(verify(signKeyless(payload, { issuer })), untrusted, issuer)
  await t.rejects(verify(signKeyless(payload), []), untrusted)
  await t.rejects(verifyStatement(signKeyless(payload), { keys: [], authorities: [authority] }, 'x'), untrusted, 'an authority is trusted for its certificates, not for keyless ones')
  await t.rejects(verify(signKeyless(payload), [{ ...ann, identity: '.*' }]), untrusted, 'an identity is no pattern')
  await t.rejects(verify(signKeyless(payload, { identity: 'ann@acmeXexample' })), untrusted)
  const two = [new GeneralName({ rfc822Name: ann.identity }), new GeneralName({ rfc822Name: 'bob@acme.example' })]
  await t.rejects(verify(signKeyless(payload, { names: two })), untrusted, 'of two names none counts')
  await t.rejects(verify(signKeyless(payload, { names: [new GeneralName({ iPAddress: '10.0.0.1' })] })), untrusted)
})

t.test('what the trusted root does not vouch for is refused', async (t) => {
  await t.rejects(verify(sigstore().signKeyless(payload)), invalid, 'of another authority, with other logs')
  await t.rejects(verify(signKeyless(payload), [{ ...ann, trustedRoot: sigstore().trustedRoot }]), invalid)
  t.ok(await verify(signKeyless(payload), [{ ...ann, trustedRoot: sigstore().trustedRoot }, ann]), 'one of the roots will do')
  await t.rejects(verify(signKeyless(payload), [{ ...ann, trustedRoot: sigstore().trustedRoot }, { ...ann, issuer: 'https://other.example' }]), untrusted)
  await t.rejects(verify(signKeyless(payload, { withoutCertificateLog: true })), invalid, 'a certificate that no log has')
  await t.rejects(verify(signKeyless(payload, { integratedTime: 1_780_000_601 })), invalid, 'logged when the certificate had run out')
  await t.rejects(verify(signKeyless(payload, { integratedTime: 1_779_999_999 })), invalid, 'logged before it began')
  await t.rejects(verify(signKeyless(payload, { payloadInLog: Buffer.from('another') })), invalid, 'the log has another payload')
  const bytes = signKeyless(payload)
  const other = JSON.parse(signKeyless(payload).toString()) as Json
  const cases: Readonly<Record<string, (bundle: Json) => void>> = {
    'the payload of another': ({ dsseEnvelope }) => { Object.assign(dsseEnvelope ?? {}, { payload: Buffer.from('{}').toString('base64') }) },
    'the certificate of another signature': ({ verificationMaterial }) => { Object.assign(verificationMaterial ?? {}, { certificate: other.verificationMaterial?.certificate }) },
    'the entry of another signature': ({ verificationMaterial }) => { Object.assign(verificationMaterial ?? {}, { tlogEntries: other.verificationMaterial?.tlogEntries }) },
    'the same entry twice': ({ verificationMaterial }) => { Object.assign(verificationMaterial ?? {}, { tlogEntries: [verificationMaterial?.tlogEntries?.[0], verificationMaterial?.tlogEntries?.[0]] }) },
    'an entry without a promise of the log': ({ verificationMaterial }) => { delete verificationMaterial?.tlogEntries?.[0]?.inclusionPromise },
    'an entry without a proof': ({ verificationMaterial }) => { delete verificationMaterial?.tlogEntries?.[0]?.inclusionProof },
    'an entry that says little': ({ verificationMaterial }) => { Object.assign(verificationMaterial ?? {}, { tlogEntries: [{}] }) }
  }
  for (const [name, change] of Object.entries(cases)) await t.rejects(verify(changed(bytes, change)), invalid, name)
})

t.test('who signs keyless can be revoked, wholly or one signature', async (t) => {
  const bytes = signKeyless(payload)
  const { material } = readBundle(bytes, 'x')
  if (material.method !== 'keyless') throw new Error('keyless')
  const { identity, issuer } = ann
  const revoked = { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-revoked' }
  const trust = { keys: [], authorities: [], identities: [ann] }
  await t.rejects(verifyStatement(bytes, { ...trust, revoked: { identities: [{ identity, issuer }] } }, 'x'), revoked)
  await t.rejects(verifyStatement(bytes, { ...trust, revoked: { certificates: [material.certificate.fingerprint256] } }, 'x'), revoked)
  const others = [{ identity: 'bob@acme.example', issuer }, { identity, issuer: 'https://other.example' }]
  t.ok(await verifyStatement(bytes, { ...trust, revoked: { identities: others, serials: [{ authority: authority.fingerprint256, serial: '010203' }] } }, 'x'))
})

t.test('a trusted root that is none is the configuration\'s mistake', async (t) => {
  for (const root of ['', '{', '{"tlogs":[{}]}']) await t.rejects(verify(signKeyless(payload), [{ ...ann, trustedRoot: Buffer.from(root) }]), { code: 'FMG_ERR_OPTION_INVALID', message: /trusted_root\.json/ }, root)
  await t.rejects(verify(signKeyless(payload), [{ ...ann, trustedRoot: Buffer.from('{}') }]), invalid, 'an empty one vouches for nothing')
})

t.test('the packages are wanted for keyless signatures alone, and named', async (t) => {
  const folder = t.testdir({
    'model.sig': signKeyless(payload),
    'hide.mjs': "import { register } from 'node:module'\nregister('data:text/javascript,' + encodeURIComponent(`export function resolve (name, context, next) { if (name.startsWith('@sigstore/')) throw new Error('hidden'); return next(name, context) }`))\n",
    'verify.mjs': `
      import { readFileSync } from 'node:fs'
      import { verifyStatement } from '${new URL('../../src/model/verify-statement.js', import.meta.url).href}'
      const identities = [{ identity: '${ann.identity}', issuer: '${ann.issuer}', trustedRoot: Buffer.from('{}'), mayClaim: {} }]
      await verifyStatement(readFileSync(process.argv[2]), { keys: [], authorities: [], identities }, 'x').catch(({ message }) => { console.log(message) })
    `
  })
  const { stdout } = await run(process.execPath, ['--import', path.join(folder, 'hide.mjs'), path.join(folder, 'verify.mjs'), path.join(folder, 'model.sig')])
  t.equal(stdout, 'option invalid: keyless signatures need packages of Sigstore: npm install @sigstore/verify @sigstore/bundle @sigstore/protobuf-specs\n')
})
