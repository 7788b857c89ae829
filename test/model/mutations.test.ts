import { copyFile, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { modelKind } from '../../src/model/bundle-kind.ts'
import { encodeForSigning } from '../../src/model/bundle.ts'
import { openModel } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { readStatement, rootDigest } from '../../src/model/statement.ts'
import { versionFloor } from '../../src/model/version-floor.ts'
import { manifestOf, signer, trust, writeFiles } from '../helpers/models.ts'
import { addModel, externalModel, floats } from '../helpers/onnx.ts'
import { countingKey, sealByHand } from '../helpers/sealed-models.ts'

// Every way in which a bundle can be something else than what was signed and sealed, and what is said of it.

const key = countingKey('k')
const files = { 'a.bin': 'a'.repeat(100), 'b.bin': 'b'.repeat(100), 'model.json': manifestOf(), 'model.onnx': addModel() }

async function bundle (folder: string, more: Readonly<Record<string, string>> = {}, shardBytes?: number): Promise<string> {
  const source = await writeFiles(`${folder}-source`, { ...files, ...more })
  await signModel({ directory: source, signer, ...shardBytes !== undefined && { shardBytes } })
  await sealModel({ source, destination: folder, recipients: [key] })
  return folder
}

interface Resource { name: string, algorithm: string, digest: string }

interface Predicate { resources: Resource[], serialization: Record<string, unknown> }

interface Payload { _type: string, subject: { name: string, digest: { sha256: string } }[], predicateType: string, predicate: Predicate }

interface Envelope { payload: string, payloadType: string, signatures: { sig: string }[] }

interface Signature { mediaType: string, verificationMaterial: Record<string, unknown>, dsseEnvelope: Envelope }

async function readSignature (directory: string): Promise<Signature> {
  return JSON.parse(await readFile(path.join(directory, 'model.sig'), 'utf8')) as Signature
}

const payloadOf = ({ dsseEnvelope }: Signature): Payload => JSON.parse(Buffer.from(dsseEnvelope.payload, 'base64').toString()) as Payload

async function writeSignature (directory: string, signature: Signature): Promise<void> {
  await writeFile(path.join(directory, 'model.sig'), JSON.stringify(signature))
}

type Change = (directory: string) => Promise<void>

/** Changes what is stated; whoever forges it has no key to sign it anew with. */
function forging (change: (predicate: Predicate, payload: Payload) => void): Change {
  return async (directory) => { await restate(directory, change, false) }
}

/** Changes what is stated, by the hand of a trusted signer, or of his tool. */
function misSigning (change: (predicate: Predicate, payload: Payload) => void): Change {
  return async (directory) => { await restate(directory, change, true) }
}

async function restate (directory: string, change: (predicate: Predicate, payload: Payload) => void, isSigned: boolean): Promise<void> {
  const signature = await readSignature(directory)
  const payload = payloadOf(signature)
  change(payload.predicate, payload)
  for (const subject of payload.subject) subject.digest.sha256 = rootDigest(payload.predicate.resources)
  const bytes = Buffer.from(JSON.stringify(payload))
  const signatures = isSigned ? [{ sig: Buffer.from(await signer.sign(encodeForSigning(bytes))).toString('base64') }] : signature.dsseEnvelope.signatures
  await writeSignature(directory, { ...signature, dsseEnvelope: { ...signature.dsseEnvelope, payload: bytes.toString('base64'), signatures } })
}

function enveloping (change: (envelope: Envelope, signature: Signature) => void): Change {
  return async (directory) => {
    const signature = await readSignature(directory)
    change(signature.dsseEnvelope, signature)
    await writeSignature(directory, signature)
  }
}

const at = (name: string): ((directory: string) => string) => (directory) => path.join(directory, name)
const add = (name: string): Change => async (directory) => { await writeFiles(directory, { [name]: 'x' }) }

function swap (one: string, other: string): Change {
  return async (directory) => {
    await rename(at(one)(directory), at('aside')(directory))
    await rename(at(other)(directory), at(one)(directory))
    await rename(at('aside')(directory), at(other)(directory))
  }
}

const renamed = (name: string, to: string) => ({ resources }: Predicate): void => {
  for (const resource of resources) if (resource.name === name) resource.name = to
}

/** How often the runtime would have been given a model. */
let handedOver = 0

async function attempt (directory: string): Promise<void> {
  const opened = await openModel({ directory, keys: [key], trust, expectName: 'fraud' })
  handedOver++
  await opened.zero()
}

/** What is said of a mutation, and whether it costs a call of a key. */
type Verdict = readonly [change: Change, code: string, reason: string]

function refuses (title: string, keyCalls: 0 | 1, mutations: Readonly<Record<string, Verdict>>, options: { readonly shardBytes?: number } = {}): void {
  t.test(title, async (t: Test) => {
    const folder = t.testdir()
    for (const [index, [name, [change, code, reason]]] of Object.entries(mutations).entries()) {
      const directory = await bundle(path.join(folder, String(index)), {}, options.shardBytes)
      await attempt(directory)
      const [calls, handed] = [key.calls, handedOver]
      await change(directory)
      await t.rejects(attempt(directory), { code: `FMG_ERR_${code}`, reason }, name)
      t.equal(key.calls - calls, keyCalls, `${name}: calls of a key`)
      t.equal(handedOver, handed, `${name}: the runtime is not called`)
    }
  })
}

refuses('a forged statement costs no key call and no decryption', 0, {
  'a changed digest': [forging(({ resources: [first] }) => { if (first !== undefined) first.digest = 'ab'.repeat(32) }), 'SIGNATURE_INVALID', 'signature'],
  'a file more': [forging(({ resources }) => { resources.push({ name: 'z', algorithm: 'sha256', digest: 'ab'.repeat(32) }) }), 'SIGNATURE_INVALID', 'signature'],
  'a file fewer': [forging(({ resources }) => { resources.shift() }), 'SIGNATURE_INVALID', 'signature'],
  'resources in another order': [forging(({ resources }) => { resources.reverse() }), 'SIGNATURE_INVALID', 'signature'],
  'an ignored path more': [forging(({ serialization }) => { serialization.ignore_paths = ['b.bin'] }), 'SIGNATURE_INVALID', 'signature'],
  'links allowed': [forging(({ serialization }) => { serialization.allow_symlinks = true }), 'SIGNATURE_INVALID', 'signature'],
  'another predicate': [forging((_predicate, payload) => { payload.predicateType = 'https://slsa.dev/provenance/v1' }), 'SIGNATURE_INVALID', 'signature'],
  'no signature': [enveloping((envelope) => { envelope.signatures = [] }), 'BUNDLE_INVALID', 'signature-count'],
  'two signatures': [enveloping((envelope) => { envelope.signatures.push(...envelope.signatures) }), 'BUNDLE_INVALID', 'signature-count'],
  'a signature of nothing': [enveloping((envelope) => { envelope.signatures = [{ sig: 'AA==' }] }), 'SIGNATURE_INVALID', 'signature'],
  'another payload type': [enveloping((envelope) => { envelope.payloadType = 'application/json' }), 'BUNDLE_INVALID', 'payload-type'],
  'another media type': [enveloping((_envelope, signature) => { signature.mediaType = 'application/json' }), 'BUNDLE_INVALID', 'malformed'],
  'a key and a chain': [enveloping((_envelope, { verificationMaterial }) => { verificationMaterial.x509CertificateChain = { certificates: [] } }), 'BUNDLE_INVALID', 'verification-material']
})

refuses('a statement that a trusted signer should not have signed costs no key call either', 0, {
  'a name with ../': [misSigning(renamed('a.bin', '../a.bin')), 'BUNDLE_INVALID', 'file-name'],
  'an absolute name': [misSigning(renamed('a.bin', '/a.bin')), 'BUNDLE_INVALID', 'file-name'],
  'a name of another system': [misSigning(renamed('a.bin', 'a\\..\\..\\b')), 'BUNDLE_INVALID', 'file-name'],
  'a file twice': [misSigning(({ resources }) => { resources.splice(1, 0, ...resources.slice(0, 1)) }), 'BUNDLE_INVALID', 'duplicate-file'],
  'a file twice, with another digest': [misSigning(({ resources }) => { resources.splice(1, 0, { name: 'a.bin', algorithm: 'sha256', digest: 'ab'.repeat(32) }) }), 'BUNDLE_INVALID', 'duplicate-file'],
  'resources in another order': [misSigning(({ resources }) => { resources.reverse() }), 'BUNDLE_INVALID', 'order'],
  'links allowed': [misSigning(({ serialization }) => { serialization.allow_symlinks = true }), 'BUNDLE_INVALID', 'symbolic-links'],
  'another hash': [misSigning(({ serialization }) => { serialization.hash_type = 'blake3' }), 'BUNDLE_INVALID', 'hash'],
  'another serialization': [misSigning(({ serialization }) => { serialization.method = 'tensors' }), 'BUNDLE_INVALID', 'serialization'],
  'shards of whole files': [misSigning(({ serialization }) => { Object.assign(serialization, { method: 'shards', shard_size: 10 }) }), 'BUNDLE_INVALID', 'shard'],
  'another predicate': [misSigning((_predicate, payload) => { payload.predicateType = 'https://slsa.dev/provenance/v1' }), 'BUNDLE_INVALID', 'predicate-type'],
  'two subjects': [misSigning((_predicate, { subject }) => { subject.push(...structuredClone(subject)) }), 'BUNDLE_INVALID', 'subject-count'],
  'no file': [misSigning(({ resources }) => { resources.length = 0 }), 'BUNDLE_INVALID', 'no-file'],
  'no manifest': [misSigning(({ resources }) => { resources.splice(2, 1) }), 'BUNDLE_INVALID', 'missing-file'],
  'a file more': [misSigning(({ resources }) => { resources.push({ name: 'z', algorithm: 'sha256', digest: 'ab'.repeat(32) }) }), 'MODEL_TAMPERED', 'missing-file'],
  'a file fewer': [misSigning(({ resources }) => { resources.shift() }), 'MODEL_TAMPERED', 'extra-file'],
  'a file ignored and there': [misSigning(({ resources, serialization }) => {
    resources.splice(1, 1)
    serialization.ignore_paths = ['b.bin', 'b.bin.sealed']
  }), 'MODEL_TAMPERED', 'extra-file'],
  'another digest': [misSigning(({ resources: [first] }) => { if (first !== undefined) first.digest = 'ab'.repeat(32) }), 'MODEL_TAMPERED', 'key-of-another-model']
})

refuses('shards whose borders are off by one cost no key call either', 0, {
  'a border one early': [misSigning((predicate) => {
    renamed('a.bin:0:64', 'a.bin:0:63')(predicate)
    renamed('a.bin:64:100', 'a.bin:63:100')(predicate)
  }), 'BUNDLE_INVALID', 'shard'],
  'a border one late': [misSigning((predicate) => {
    renamed('a.bin:0:64', 'a.bin:0:65')(predicate)
    renamed('a.bin:64:100', 'a.bin:65:100')(predicate)
  }), 'BUNDLE_INVALID', 'shard'],
  'an overlap': [misSigning(renamed('a.bin:64:100', 'a.bin:63:100')), 'BUNDLE_INVALID', 'shard'],
  'a gap': [misSigning(renamed('a.bin:64:100', 'a.bin:65:100')), 'BUNDLE_INVALID', 'shard'],
  'another size than is said': [misSigning(({ serialization }) => { serialization.shard_size = 63 }), 'BUNDLE_INVALID', 'shard'],
  'the first shard missing': [misSigning(({ resources }) => { resources.splice(0, 1) }), 'BUNDLE_INVALID', 'shard']
}, { shardBytes: 64 })

refuses('a file that ends elsewhere than its last shard is not the file', 1, {
  // The data key belongs to the statement: whoever could do this has sealed the model anew.
  'the last border one late': [resealing(renamed('a.bin:64:100', 'a.bin:64:101')), 'MODEL_TAMPERED', 'digest'],
  'the last border one early': [resealing(renamed('a.bin:64:100', 'a.bin:64:99')), 'MODEL_TAMPERED', 'digest'],
  'the last shard missing': [resealing(({ resources }) => { resources.splice(1, 1) }), 'MODEL_TAMPERED', 'digest']
}, { shardBytes: 64 })

/** A trusted signer states something else, and a key holder seals the genuine files for that. */
function resealing (change: (predicate: Predicate) => void): Change {
  return async (directory) => {
    await misSigning(change)(directory)
    const { digest } = readStatement(Buffer.from((await readSignature(directory)).dsseEnvelope.payload, 'base64'), 'x')
    await sealByHand(modelKind, directory, digest, files, key)
  }
}

refuses('a folder that is not what was signed for costs no key call', 0, {
  'an extra file': [add('c.bin.sealed'), 'MODEL_TAMPERED', 'extra-file'],
  'an extra file in a folder': [add('more/c.bin.sealed'), 'MODEL_TAMPERED', 'extra-file'],
  'an extra file that git knows': [add('.gitignore'), 'MODEL_TAMPERED', 'extra-file'],
  'a plaintext beside': [add('model.onnx'), 'MODEL_TAMPERED', 'extra-file'],
  'a missing file': [async (directory) => { await rm(at('a.bin.sealed')(directory)) }, 'MODEL_TAMPERED', 'missing-file'],
  'a missing sidecar': [async (directory) => { await rm(at('key.jwe.json')(directory)) }, 'MODEL_TAMPERED', 'missing-file'],
  'a link in place of a file': [async (directory) => {
    await rename(at('a.bin.sealed')(directory), `${directory}-elsewhere`)
    await symlink(`${directory}-elsewhere`, at('a.bin.sealed')(directory))
  }, 'MODEL_TAMPERED', 'special-file'],
  'the sidecar of another model': [async (directory) => {
    await copyFile(at('key.jwe.json')(await bundle(`${directory}-other`, { 'model.json': manifestOf({ name: 'other' }) })), at('key.jwe.json')(directory))
  }, 'MODEL_TAMPERED', 'key-of-another-model'],
  'the sidecar of an older version': [async (directory) => {
    await copyFile(at('key.jwe.json')(await bundle(`${directory}-older`, { 'model.json': manifestOf({ version: '1.0.0' }) })), at('key.jwe.json')(directory))
  }, 'MODEL_TAMPERED', 'key-of-another-model'],
  'the signature of another model': [async (directory) => {
    await copyFile(at('model.sig')(await bundle(`${directory}-other`, { 'model.json': manifestOf({ name: 'other' }) })), at('model.sig')(directory))
  }, 'MODEL_TAMPERED', 'key-of-another-model']
})

refuses('files in one another\'s place do not open', 1, {
  'swapped within a bundle': [swap('a.bin.sealed', 'b.bin.sealed'), 'MODEL_TAMPERED', 'sealed-key'],
  'the manifest in the graph\'s place': [swap('model.json.sealed', 'model.onnx.sealed'), 'MODEL_TAMPERED', 'sealed-key'],
  'swapped between bundles of other models': [async (directory) => {
    await copyFile(at('a.bin.sealed')(await bundle(`${directory}-other`, { 'model.json': manifestOf({ name: 'other' }) })), at('a.bin.sealed')(directory))
  }, 'MODEL_TAMPERED', 'sealed-key'],
  'swapped between two sealings of the same model': [async (directory) => {
    await sealModel({ source: `${directory}-source`, destination: `${directory}-again`, recipients: [key] })
    await copyFile(at('a.bin.sealed')(`${directory}-again`), at('a.bin.sealed')(directory))
  }, 'MODEL_TAMPERED', 'sealed-key'],
  'a whole bundle of another model': [async (directory) => {
    const other = await bundle(`${directory}-other`, { 'model.json': manifestOf({ name: 'other' }) })
    await rm(directory, { recursive: true })
    await rename(other, directory)
  }, 'MODEL_TAMPERED', 'another-model']
})

t.test('an older version is refused before its graph is decrypted', async (t) => {
  const directory = await bundle(path.join(t.testdir(), 'bundle'))
  const graph = await readFile(at('model.onnx.sealed')(directory))
  graph.writeUInt8(graph.readUInt8(100) ^ 1, 100)
  await writeFile(at('model.onnx.sealed')(directory), graph)
  const open = async (least: string): Promise<unknown> => {
    const floor = versionFloor({ minimum: { fraud: least } })
    return await openModel({ directory, keys: [key], trust, admit: (manifest) => { floor.check(manifest) } })
  }
  await t.rejects(open('1.2.1'), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-minimum' })
  await t.rejects(open('1.2.0'), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk' })
})

t.test('a path that the signer ignored can not be loaded', async (t) => {
  const folder = t.testdir()
  const source = await writeFiles(path.join(folder, 'source'), { 'model.json': manifestOf(), 'model.onnx': externalModel('cache/w.bin'), 'cache/w.bin': floats(1, 1, 1) })
  await signModel({ directory: source, signer, ignorePaths: ['cache'] })
  const directory = path.join(folder, 'bundle')
  await sealModel({ source, destination: directory, recipients: [key] })
  await t.rejects(attempt(directory), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'external-data' })
  await writeFiles(directory, { 'cache/w.bin': floats(9, 9, 9) })
  await t.rejects(attempt(directory), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'extra-file' }, 'not even when it is there')
})
