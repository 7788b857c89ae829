import { createPublicKey, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { readBundle } from '../../src/model/bundle.ts'
import { signModel, type SignModelOptions } from '../../src/model/sign-model.ts'
import { readStatement } from '../../src/model/statement.ts'
import type { Trust } from '../../src/model/trust.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { issue } from '../helpers/certificates.ts'
import { signer, writeFiles } from '../helpers/models.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

if (vectorsFolder === undefined) {
  t.comment('model-signing: skipped, no vectors folder')
} else {
  reference(path.join(vectorsFolder, 'oms/reference'))
  specification(path.join(vectorsFolder, 'oms/spec'))
  schemas(path.join(vectorsFolder, 'oms/schemas/v1.0'))
}

function reference (folder: string): void {
  const keys = path.join(folder, 'keys')
  const keyless = { identity: 'stefanb@us.ibm.com', issuer: 'https://sigstore.verify.ibm.com/oauth2', trustedRoot: publicRoot(), mayClaim: {} }
  const trust: Trust = {
    keys: [createPublicKey(readFileSync(path.join(keys, 'signing-key-pub.pem')))],
    authorities: [new X509Certificate(readFileSync(path.join(keys, 'ca-cert.pem')))],
    identities: [keyless],
    clock: () => Date.parse('2026-11-01T00:00:00Z')
  }
  const models = readdirSync(folder).filter((name) => name !== 'keys')
  const methods: Readonly<Record<string, string>> = { key: 'key', certificate: 'certificate', sigstore: 'keyless' }
  for (const name of models) {
    const model = path.join(folder, name)
    t.test(`${name}: verifies, and only for its signer`, async (t) => {
      // The reference tool was told to ignore this one; its older bundles do not record that.
      const options = { model: isSingleFile(model) ? path.join(model, 'signme-1') : model, ignorePaths: ['ignore-me'] }
      const { signer } = await verifyModel({ ...options, trust })
      t.equal(signer.method, methods[String(name.split('-').at(-1))])
      await t.rejects(verifyModel({ ...options, trust: { ...trust, keys: [], authorities: [], identities: [] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
      for (const other of [{ identity: 'bob@us.ibm.com' }, { issuer: 'https://accounts.google.com' }]) {
        await t.rejects(verifyModel({ ...options, trust: { keys: [], authorities: [], identities: [{ ...keyless, ...other }] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
      }
    })
  }
  report('OpenSSF Model Signing, reference tool', models.length, '0')
}

/** The root of Sigstore's public instance, as a package of theirs ships it. */
function publicRoot (): Buffer {
  const seeds = readVectors(fileURLToPath(import.meta.resolve('@sigstore/tuf/seeds.json'))) as Readonly<Record<string, { readonly targets: Readonly<Record<string, string>> }>>
  return Buffer.from(String(seeds['https://tuf-repo-cdn.sigstore.dev']?.targets['trusted_root.json']), 'base64')
}

function isSingleFile (model: string): boolean {
  const { payload } = readBundle(readFileSync(path.join(model, 'model.sig')), 'model.sig')
  return readStatement(payload, 'model.sig').files.some(({ name }) => name === '.')
}

function specification (folder: string): void {
  const bundles = (kind: string): readonly string[] => readdirSync(path.join(folder, kind)).map((name) => path.join(folder, kind, name))
  const parse = (file: string): unknown => readStatement(readBundle(readFileSync(file), 'model.sig').payload, 'model.sig')
  const valid = bundles('valid')
  const invalid = [...bundles('invalid'), ...bundles('invalid-payload')]
  for (const file of valid) t.test(`${path.basename(file)} parses`, async (t) => { t.match(parse(file), { hash: 'sha256', name: String }) })
  for (const file of invalid) t.test(`${path.basename(file)} is refused`, async (t) => { t.throws(() => parse(file), { code: 'FMG_ERR_BUNDLE_INVALID' }) })
  report('OpenSSF Model Signing, specification', valid.length + invalid.length, '0')
}

/** Section 11.3: what is written here is as the published schemas have it, in each of its forms. */
function schemas (folder: string): void {
  t.test('the bundles that are written fit the published schemas', async (t) => {
    const ajv = new Ajv2020({ strict: false, schemas: readdirSync(folder).map((name) => readVectors(path.join(folder, name)) as object) })
    const fits = (schema: string, value: unknown): boolean => ajv.validate(`https://model_signing/${schema}/v1.0/schema`, value)
    const authority = issue({ subject: 'authority', isAuthority: true })
    const leaf = issue({ subject: 'leaf', issuer: authority, usage: KeyUsageFlags.digitalSignature })
    const directory = await writeFiles(t.testdir(), { 'a.bin': 'a'.repeat(100), 'b/c.bin': 'c' })
    const forms: readonly Omit<SignModelOptions, 'directory'>[] = [
      { signer }, { signer, hash: 'blake2b', ignorePaths: ['cache'] }, { signer, shardBytes: 64 },
      { signer: localSigner(leaf.privateKey), certificates: [leaf.certificate, authority.certificate], clock: () => Date.parse('2026-06-01') }
    ]
    for (const form of forms) {
      await signModel({ directory, ...form })
      const bundle = readVectors(path.join(directory, 'model.sig')) as { readonly dsseEnvelope: { readonly payload: string } }
      t.ok(fits('bundle', bundle) && fits('envelope', bundle.dsseEnvelope), ajv.errorsText())
      const statement = JSON.parse(Buffer.from(bundle.dsseEnvelope.payload, 'base64').toString()) as { readonly predicate: object }
      t.ok(fits('statement', statement) && fits('predicate', statement.predicate), ajv.errorsText())
      t.notOk(fits('statement', { ...statement, predicateType: 'https://slsa.dev/provenance/v1' }), 'a schema that could not refuse would show nothing')
    }
  })
}

function report (suite: string, run: number, skipped: string): void {
  t.teardown(() => { process.stderr.write(`${suite}: ${run} run, ${skipped} skipped\n`) })
}
