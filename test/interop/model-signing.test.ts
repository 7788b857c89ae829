import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { pythonWith } from '../../scripts/python.js'
import { signDataset } from '../../src/model/sign-dataset.ts'
import { signModel, type SignModelOptions } from '../../src/model/sign-model.ts'
import type { Trust } from '../../src/model/trust.ts'
import { verifyDataset } from '../../src/model/verify-dataset.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { run, type Ended } from '../helpers/command.ts'
import { datasetManifestOf } from '../helpers/datasets.ts'
import { writeFiles } from '../helpers/models.ts'

// pyOpenSSL: model_signing imports it, and has it no more from what it depends on.
const python = pythonWith(['model_signing==1.1.1', 'pyOpenSSL==26.0.0'])
const peer = path.join(import.meta.dirname, '..', '..', '..', 'test', 'interop', 'model_signing_peer.py')
const skip = python === undefined && 'there is no python3 with pip, or no packages to be had'

// In the order of names, and in Python's of folders, these are two different lists.
const files = { 'model.onnx': 'graph', 'model/weights.bin': 'w'.repeat(1000), 'model-card.md': 'words', 'ä \u{1f600}': 'names are UTF-8' }
const curves = ['P-256', 'P-384', 'P-521'] as const

async function told (words: object): Promise<Ended> {
  return await run(String(python), [peer, JSON.stringify({ hash: 'sha256', ...words })])
}

interface Place {
  readonly model: string
  readonly signature: string
  readonly key: string
  readonly publicKey: string
  readonly trust: Trust
  readonly sign: (options?: Partial<SignModelOptions>) => Promise<unknown>
}

/** A model, and a key to sign it with. */
async function place (t: Test, namedCurve: string = 'P-256'): Promise<Place> {
  const folder = t.testdir()
  const at = (name: string): string => path.join(folder, name)
  const model = await writeFiles(at('model'), files)
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve })
  await writeFile(at('key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await writeFile(at('key.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
  return {
    model,
    signature: path.join(model, 'model.sig'),
    key: at('key.pem'),
    publicKey: at('key.pub'),
    trust: { keys: [publicKey], authorities: [] },
    sign: async (options) => await signModel({ directory: model, signer: localSigner(privateKey), ...options })
  }
}

t.test('signed by Python\'s model_signing and verified here, with a key', { skip }, async (t) => {
  for (const curve of curves) {
    const { model, signature, key, trust } = await place(t, curve)
    t.match(await told({ do: 'sign', model, signature, key }), { status: 0 }, curve)
    t.match(await verifyModel({ model, trust }), { signer: { method: 'key' }, statement: { hash: 'sha256' } }, curve)
    await appendFile(path.join(model, 'model.onnx'), 'x')
    await t.rejects(verifyModel({ model, trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' }, curve)
  }
})

t.test('signed by Python in shards, and with BLAKE2b, and verified here', { skip }, async (t) => {
  for (const hashing of [{ hash: 'blake2' }, { hash: 'sha256', shard_size: 64 }, { hash: 'blake2', shard_size: 1000 }, { hash: 'sha256', shard_size: 999 }]) {
    const { model, signature, key, trust } = await place(t)
    t.match(await told({ do: 'sign', model, signature, key, ...hashing }), { status: 0 })
    const { statement } = await verifyModel({ model, trust })
    t.match(statement, { hash: hashing.hash === 'blake2' ? 'blake2b' : 'sha256', shardBytes: hashing.shard_size })
    await appendFile(path.join(model, 'model/weights.bin'), 'x')
    await t.rejects(verifyModel({ model, trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' })
  }
})

t.test('signed here and verified by Python, with a key', { skip }, async (t) => {
  for (const curve of curves) {
    for (const hash of ['sha256', 'blake2b'] as const) {
      const { model, signature, publicKey, sign } = await place(t, curve)
      await writeFile(path.join(model, 'ignored'), 'x')
      await sign({ hash, ignorePaths: ['ignored'] })
      const verify = async (): Promise<Ended> => await told({ do: 'verify', model, signature, key: publicKey, hash: hash === 'blake2b' ? 'blake2' : hash, ignored: ['ignored'] })
      t.match(await verify(), { status: 0 }, `${curve}, ${hash}`)
      await appendFile(path.join(model, 'model.onnx'), 'x')
      t.match(await verify(), { status: 1, stderr: /Hash mismatch for \W+model\.onnx/ })
    }
  }
})

t.test('what Python does not find in a signature by shards is what the standard does not write', { skip }, async (t) => {
  const { model, signature, publicKey, sign } = await place(t)
  await sign({ shardBytes: 64 })
  // The standard names the digests `sha256` (section 6.3.2), Python `sha256-sharded-64`: if this passes one day, docs/model-signatures.md is to say so.
  t.match(await told({ do: 'verify', model, signature, key: publicKey, shard_size: 64 }), { status: 1, stderr: /Hash mismatch for \W+model\.onnx:0:5.*sha256-sharded-64/s })
})

t.test('signed under a certificate, by either for the other', { skip }, async (t) => {
  const { model, signature, key } = await place(t)
  const at = (name: string): string => path.join(path.dirname(model), name)
  const openssl = async (...words: readonly string[]): Promise<void> => { t.match(await run('openssl', words), { status: 0 }) }
  await writeFile(at('extensions'), 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n')
  await openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-nodes', '-keyout', at('ca.key'), '-out', at('ca.pem'), '-subj', '/CN=authority', '-days', '2')
  await openssl('req', '-new', '-key', key, '-out', at('leaf.csr'), '-subj', '/CN=ann')
  await openssl('x509', '-req', '-in', at('leaf.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2', '-extfile', at('extensions'), '-out', at('leaf.pem'))
  const [leaf, authority] = [new X509Certificate(await readFile(at('leaf.pem'))), new X509Certificate(await readFile(at('ca.pem')))]
  const trust: Trust = { keys: [], authorities: [authority] }

  t.match(await told({ do: 'sign', model, signature, key, certificate: at('leaf.pem'), chain: [at('ca.pem')] }), { status: 0 })
  t.match(await verifyModel({ model, trust }), { signer: { method: 'certificate', fingerprint: leaf.fingerprint256 } })

  await signModel({ directory: model, signer: localSigner(createPrivateKey(await readFile(key))), certificates: [leaf] })
  t.match(await told({ do: 'verify', model, signature, chain: [at('ca.pem')] }), { status: 0 })
  await appendFile(path.join(model, 'model.onnx'), 'x')
  t.match(await told({ do: 'verify', model, signature, chain: [at('ca.pem')] }), { status: 1, stderr: /Hash mismatch/ })
})

t.test('a dataset is signed by either and verified by the other', { skip }, async (t) => {
  const { model, key, publicKey, trust } = await place(t)
  const directory = await writeFiles(model, { 'dataset.json': datasetManifestOf(), 'rows/1.csv': '1,2,3' })
  const signature = path.join(directory, 'dataset.sig')
  t.match(await told({ do: 'sign', model: directory, signature, key }), { status: 0 })
  t.match(await verifyDataset({ directory, trust }), { manifest: { name: 'payments' }, signer: { method: 'key' } })
  await appendFile(path.join(directory, 'rows', '1.csv'), 'x')
  await t.rejects(verifyDataset({ directory, trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' })

  await signDataset({ directory, signer: localSigner(createPrivateKey(await readFile(key))) })
  t.match(await told({ do: 'verify', model: directory, signature, key: publicKey }), { status: 0 })
  await appendFile(path.join(directory, 'rows', '1.csv'), 'x')
  t.match(await told({ do: 'verify', model: directory, signature, key: publicKey }), { status: 1, stderr: /Hash mismatch for \W+rows\/1\.csv/ })
})
