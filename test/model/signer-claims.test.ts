import { createSecretKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { models } from '../../src/plugins/models.ts'
import { openModel } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import type { SignerClaims } from '../../src/model/signer-claims.ts'
import type { Trust } from '../../src/model/trust.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { issue } from '../helpers/certificates.ts'
import { manifestOf, writeFiles } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'

const wrapping = localKey({ keyId: 'k', algorithm: 'A256KW', key: createSecretKey(randomBytes(32)) })
const [staging, production] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
const only = (key: KeyObject, mayClaim: SignerClaims): Trust => ({ keys: [{ key, mayClaim }, production.publicKey], authorities: [] })
const refused = { code: 'FMG_ERR_SIGNER_UNTRUSTED', reason: 'signer-claims' }

/** A model that says this of itself, signed by this key: its folder, and that of its sealed bundle. */
async function modelOf (t: Test, manifest: object, privateKey: KeyObject = staging.privateKey): Promise<{ readonly plain: string, readonly sealed: string }> {
  const folder = t.testdir({ plain: {} })
  const plain = path.join(folder, 'plain')
  await writeFiles(plain, { 'model.onnx': addModel(), 'model.json': manifestOf({ ...manifest }) })
  await signModel({ directory: plain, signer: localSigner(privateKey) })
  const sealed = path.join(folder, 'sealed')
  await sealModel({ source: plain, destination: sealed, recipients: [wrapping] })
  return { plain, sealed }
}

async function isTaken (t: Test, manifest: object, mayClaim: SignerClaims): Promise<boolean> {
  const { plain, sealed } = await modelOf(t, manifest)
  const trust = only(staging.publicKey, mayClaim)
  const [verified, opened] = await Promise.allSettled([verifyModel({ model: plain, trust }), openModel({ directory: sealed, keys: [wrapping], trust })])
  if (verified.status === 'rejected') t.match(verified.reason, refused)
  if (opened.status === 'rejected') t.match(opened.reason, refused)
  else await opened.value.zero()
  t.equal(verified.status, opened.status, 'in the clear and sealed alike')
  return opened.status === 'fulfilled'
}

t.test('attack: a signer for staging labels a model of production as staging, or the reverse', async (t) => {
  const stagingOnly = { environment: ['staging'], name: ['fraud-*', 'churn'] }
  t.equal(await isTaken(t, { environment: 'staging', name: 'fraud-eu' }, stagingOnly), true)
  t.equal(await isTaken(t, { environment: 'production', name: 'fraud-eu' }, stagingOnly), false)
  t.equal(await isTaken(t, { environment: 'staging', name: 'prices' }, stagingOnly), false, 'the model of production, under a label of staging')
  t.equal(await isTaken(t, { environment: 'staging', name: 'fraud' }, stagingOnly), false)
  t.equal(await isTaken(t, { environment: 'staging-*', name: 'churn' }, { environment: ['staging'] }), false, 'a star in a manifest is a letter')
  const { sealed } = await modelOf(t, { environment: 'production', name: 'prices' }, production.privateKey)
  const opened = await openModel({ directory: sealed, keys: [wrapping], trust: only(staging.publicKey, stagingOnly) })
  t.equal(opened.manifest.environment, 'production', 'who is not limited may say anything')
  await opened.zero()
})

t.test('what a signer may claim is said of free attributes too, lists are taken member by member', async (t) => {
  const purposes = { purpose: ['fraud', 'test-*'] }
  t.equal(await isTaken(t, { purpose: 'fraud' }, purposes), true)
  t.equal(await isTaken(t, { purpose: ['fraud', 'test-a'] }, purposes), true)
  for (const purpose of [undefined, 'churn', ['fraud', 'churn'], [], [['fraud']], 3, null, { fraud: true }]) t.equal(await isTaken(t, { purpose }, purposes), false, JSON.stringify(purpose))
  t.equal(await isTaken(t, {}, { constructor: ['*'] }), false, 'a name from a prototype is no member')
  t.equal(await isTaken(t, {}, { environment: [] }), false, 'of nothing it may be nothing')
  t.equal(await isTaken(t, {}, {}), true)
})

t.test('an authority limits whom it has certified', async (t) => {
  const authority = issue({ subject: 'authority', isAuthority: true, usage: KeyUsageFlags.keyCertSign })
  const leaf = issue({ subject: 'signer', issuer: authority, usage: KeyUsageFlags.digitalSignature })
  const folder = t.testdir()
  await writeFiles(folder, { 'model.onnx': addModel(), 'model.json': manifestOf() })
  await signModel({ directory: folder, signer: localSigner(leaf.privateKey), certificates: [leaf.certificate] })
  const trusting = (mayClaim?: SignerClaims): Trust => ({ keys: [], authorities: [mayClaim === undefined ? authority.certificate : { certificate: authority.certificate, mayClaim }] })
  t.match(await verifyModel({ model: folder, trust: trusting() }), { signer: { method: 'certificate' } })
  t.match(await verifyModel({ model: folder, trust: trusting({ org: ['acme'] }) }), { signer: { method: 'certificate' } })
  await t.rejects(verifyModel({ model: folder, trust: trusting({ org: ['globex'] }) }), { ...refused, message: 'signer not trusted: its signer may not claim this org' })
})

t.test('a model that says nothing of itself claims nothing for a limited signer', async (t) => {
  const file = path.join(t.testdir(), 'model.onnx')
  await writeFile(file, addModel())
  await signModel({ directory: path.dirname(file), signer: localSigner(staging.privateKey) })
  await t.rejects(verifyModel({ model: path.dirname(file), trust: only(staging.publicKey, { environment: ['staging'] }) }), { ...refused, message: /it has no model\.json/ })
  t.ok(await verifyModel({ model: path.dirname(file), trust: only(staging.publicKey, {}) }))
})

t.test('nor is it sealed where the trust is told', async (t) => {
  const { plain } = await modelOf(t, { environment: 'production' })
  const seal = async (environment: string): Promise<unknown> =>
    await sealModel({ source: plain, destination: path.join(path.dirname(plain), environment), recipients: [wrapping], trust: only(staging.publicKey, { environment: [environment] }) })
  await t.rejects(seal('staging'), refused)
  t.ok(await seal('production'))
})

t.test('a server does not start with such a model', async (t) => {
  const { sealed } = await modelOf(t, { environment: 'production' })
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => { await app.register(models, { models: { fraud: { directory: sealed } }, keys: [wrapping], trust: only(staging.publicKey, { environment: ['staging'] }) }) }, refused)
})
