import { generateKeyPairSync } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate } from '@peculiar/asn1-x509'
import fc from 'fast-check'
import t from 'tap'
import { encodeForSigning, readBundle } from '../../src/model/bundle.ts'
import { byCodePoint } from '../../src/model/folder.ts'
import { readStatement, rootDigest } from '../../src/model/statement.ts'
import { issue } from '../helpers/certificates.ts'

const hex = 'ab'.repeat(32)
const keyMaterial = { publicKey: { hint: hex } }

interface Resource { readonly name: unknown, readonly digest?: unknown, readonly algorithm?: unknown }

function statement (resources: readonly Resource[], changes: Readonly<Record<string, unknown>> = {}, serialization: Readonly<Record<string, unknown>> = {}): Buffer {
  const whole = resources.map((resource) => ({ algorithm: 'sha256', digest: hex, ...resource }))
  return Buffer.from(JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'model', digest: { sha256: rootDigest(whole.map(({ digest }) => ({ digest: String(digest) }))) } }],
    predicateType: 'https://model_signing/signature/v1.0',
    predicate: { resources: whole, serialization: { method: 'files', hash_type: 'sha256', allow_symlinks: false, ...serialization } },
    ...changes
  }))
}

function bundle (changes: Readonly<Record<string, unknown>> = {}, envelope: Readonly<Record<string, unknown>> = {}): Buffer {
  return Buffer.from(JSON.stringify({
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: keyMaterial,
    dsseEnvelope: { payload: 'e30=', payloadType: 'application/vnd.in-toto+json', signatures: [{ sig: 'c2ln' }], ...envelope },
    ...changes
  }))
}

t.test('the encoding that is signed counts bytes', async (t) => {
  t.equal(encodeForSigning(Buffer.from('ä')).toString(), 'DSSEv1 28 application/vnd.in-toto+json 2 ä')
})

t.test('a statement gives its files, and the digest of its very bytes', async (t) => {
  const payload = statement([{ name: 'a/b.bin' }, { name: 'model.json' }], {}, { ignore_paths: ['cache'] })
  const read = readStatement(payload, 'model.sig')
  t.match(read, { name: 'model', hash: 'sha256', files: [{ name: 'a/b.bin', parts: [{ start: 0, digest: hex }] }, { name: 'model.json', parts: [{ start: 0, digest: hex }] }], ignorePaths: ['cache'] })
  t.match(read.digest, /^sha256:[0-9a-f]{64}$/)
  t.not(readStatement(Buffer.concat([payload, Buffer.from(' ')]), 'model.sig').digest, read.digest)
  t.match(readStatement(statement([{ name: 'a', extra: 1 } as Resource]), 'x'), { files: [{ name: 'a', parts: [{ start: 0, digest: hex }] }], ignorePaths: [] }, 'unknown members of a resource are ignored, as in-toto has it')
})

t.test('BLAKE2b digests are read, with a root digest of SHA-256', async (t) => {
  const digest = 'cd'.repeat(64)
  t.match(readStatement(statement([{ name: 'a', algorithm: 'blake2b', digest }], {}, { hash_type: 'blake2b' }), 'x'), { hash: 'blake2b', files: [{ name: 'a', parts: [{ start: 0, digest }] }] })
})

t.test('a statement that leaves a doubt is refused', async (t) => {
  const one = [{ name: 'a' }]
  const valid = { name: 'm', digest: { sha256: hex } }
  const cases: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
    'not JSON': [Buffer.from('{'), /x is not JSON/],
    'not UTF-8': [Buffer.from([0x22, 0xff, 0x22]), /x is not JSON/],
    'another type': [statement(one, { _type: 'https://in-toto.io/Statement/v0.1' }), /_type must be one of/],
    'another predicate': [statement(one, { predicateType: 'https://slsa.dev/provenance/v1' }), /not a model signature/],
    'the deprecated predicate': [statement(one, { predicateType: 'https://model_signing/Digests/v0.1' }), /deprecated kind/],
    'no predicate': [statement(one, { predicate: undefined }), /predicate must be present/],
    'an unknown member': [statement(one, { also: 1 }), /also is not an option/],
    'no subject': [statement(one, { subject: [] }), /one subject/],
    'two subjects': [statement(one, { subject: [valid, valid] }), /one subject/],
    'a wrong root digest': [statement(one, { subject: [valid] }), /root digest/],
    'a root digest that is none': [statement(one, { subject: [{ name: 'm', digest: { sha256: 'AB' } }] }), /SHA-256 digest/],
    'no file': [statement([]), /names no file/],
    'a file twice': [statement([{ name: 'a' }, { name: 'a' }]), /"a" twice/],
    'files out of order': [statement([{ name: 'b' }, { name: 'a' }]), /"a" out of order/],
    'files in the order of UTF-16': [statement([{ name: '\u{1f600}' }, { name: '\uffee' }]), /out of order/],
    'a dot among others': [statement([{ name: '.' }, { name: 'a' }]), /relative path/],
    'a digest of another hash': [statement([{ name: 'a', algorithm: 'blake2b' }]), /no sha256 digest/],
    'a digest as the reference tool names those of shards': [statement([{ name: 'a', algorithm: 'sha256-sharded-undefined' }]), /no sha256 digest/],
    'a digest of another length': [statement([{ name: 'a', digest: 'abcd' }]), /no sha256 digest/],
    'a digest in capitals': [statement([{ name: 'a', digest: hex.toUpperCase() }]), /hexadecimal/],
    'a name that is no string': [statement([{ name: 1 }]), /name must be/],
    'another serialization': [statement(one, {}, { method: 'tensors' }), /serialized by "tensors"; only files and shards/],
    'shards without a size': [statement([{ name: 'a:0:9' }], {}, { method: 'shards' }), /shards without a shard size/],
    'a shard size of nothing': [statement([{ name: 'a:0:9' }], {}, { method: 'shards', shard_size: 0 }), /shard_size must be a whole number/],
    'whole files with a shard size': [statement(one, {}, { shard_size: 1000 }), /files with a shard size/],
    'folders out of either order': [statement([{ name: 'b/a' }, { name: 'b.c' }, { name: 'b' }]), /"b.c" out of order/],
    'a file twice, in the order of folders': [statement([{ name: 'b/a' }, { name: 'b/a' }, { name: 'b.c' }]), /"b\/a" twice/],
    BLAKE3: [statement(one, {}, { hash_type: 'blake3' }), /the hash "blake3"/],
    'symbolic links': [statement(one, {}, { allow_symlinks: true }), /allows symbolic links/],
    'an unknown serialization': [statement(one, {}, { fold_case: true }), /fold_case is not an option/],
    'an ignored path that is none': [statement(one, {}, { ignore_paths: ['../x'] }), /relative path/]
  }
  for (const [name, [payload, message]] of Object.entries(cases)) t.throws(() => readStatement(payload, 'x'), { code: 'FMG_ERR_BUNDLE_INVALID', message }, name)
  t.ok(readStatement(statement([{ name: '\uffee' }, { name: '\u{1f600}' }]), 'x'), 'code points order names')
  t.ok(readStatement(statement([{ name: '.' }]), 'x'), 'a single file may be a dot')
})

t.test('a path that leads out of the model, or elsewhere on another system, is refused', async (t) => {
  for (const name of ['', '/etc/passwd', '../x', 'a/../x', 'a/..', '..', './a', 'a//b', 'a/', 'a\\b', '..\\x', 'C:x', 'c:/x', 'a\nb', 'a\0b', '\ud800']) {
    t.throws(() => readStatement(statement([{ name }]), 'x'), { code: 'FMG_ERR_BUNDLE_INVALID' }, JSON.stringify(name))
  }
  for (const name of ['a', 'a/b/c', '...', '.hidden', 'ab:c', 'ä', '__proto__', '-', 'model.onnx.data']) t.ok(readStatement(statement([{ name }]), 'x'), name)
})

t.test('names are ordered as their UTF-8 bytes are', async (t) => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) =>
    Math.sign(byCodePoint(a, b)) === Math.sign(Buffer.from(a).compare(Buffer.from(b))) && byCodePoint(a, a) === 0))
})

t.test('a bundle gives its payload, its one signature, and who is said to have made it', async (t) => {
  t.match(readBundle(bundle(), 'x'), { material: { method: 'key', hint: hex }, payload: Buffer.from('{}'), signature: Buffer.from('sig') })
  for (const keyid of ['', null, 'any', undefined]) t.ok(readBundle(bundle({}, { signatures: [{ sig: 'c2ln', keyid }] }), 'x'))
  for (const mediaType of ['application/vnd.dev.sigstore.bundle+json;version=0.1', 'application/vnd.dev.sigstore.bundle+json;version=0.3']) t.ok(readBundle(bundle({ mediaType }), 'x'))
  const { publicKey } = generateKeyPairSync('ed25519')
  const rawBytes = Buffer.from(publicKey.export({ type: 'spki', format: 'pem' })).toString('base64')
  t.match(readBundle(bundle({ verificationMaterial: { publicKey: { rawBytes, keyDetails: 'any' } } }), 'x'), { material: { method: 'key', hint: /^[0-9a-f]{64}$/ } })
})

t.test('a bundle that leaves a doubt is refused', async (t) => {
  const certificate = { rawBytes: issue({ subject: 'x' }).certificate.raw.toString('base64') }
  const parsed = AsnConvert.parse(issue({ subject: 'x' }).certificate.raw, Certificate)
  parsed.tbsCertificate.subjectPublicKeyInfo.algorithm.algorithm = '1.2.3.4'
  const unknownKey = { rawBytes: Buffer.from(AsnConvert.serialize(parsed)).toString('base64') }
  const log = [{ logIndex: '1' }]
  const cases: Readonly<Record<string, Buffer>> = {
    'not JSON': Buffer.from(''),
    'no object': Buffer.from('[]'),
    'another media type': bundle({ mediaType: 'application/vnd.dev.sigstore.bundle.v0.4+json' }),
    'a media type with more': bundle({ mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json; x' }),
    'an unknown member': bundle({ more: 1 }),
    'no envelope': bundle({ dsseEnvelope: undefined }),
    'no material': bundle({ verificationMaterial: {} }),
    'two materials': bundle({ verificationMaterial: { ...keyMaterial, x509CertificateChain: { certificates: [certificate] } } }),
    'a key without a name': bundle({ verificationMaterial: { publicKey: {} } }),
    'a key that is none': bundle({ verificationMaterial: { publicKey: { rawBytes: 'eA==' } } }),
    'an empty chain': bundle({ verificationMaterial: { x509CertificateChain: { certificates: [] } } }),
    'a certificate that is none': bundle({ verificationMaterial: { x509CertificateChain: { certificates: [{ rawBytes: 'eA==' }] } } }),
    'a certificate with an unknown kind of key': bundle({ verificationMaterial: { x509CertificateChain: { certificates: [unknownKey] } } }),
    'keyless without a log entry': bundle({ verificationMaterial: { certificate, tlogEntries: [] } }),
    'keyless without log entries': bundle({ verificationMaterial: { certificate } }),
    'no signature': bundle({}, { signatures: [] }),
    'two signatures': bundle({}, { signatures: [{ sig: 'c2ln' }, { sig: 'c2ln' }] }),
    'a key id that is a number': bundle({}, { signatures: [{ sig: 'c2ln', keyid: 1 }] }),
    'another payload type': bundle({}, { payloadType: 'application/json' }),
    'an empty payload': bundle({}, { payload: '' }),
    'base64 without padding': bundle({}, { payload: 'e30' }),
    'base64 with a line feed': bundle({}, { payload: 'e30=\n' }),
    'base64 with loose bits': bundle({}, { payload: 'e31=' }),
    base64url: bundle({}, { payload: '-_-_' })
  }
  for (const [name, bytes] of Object.entries(cases)) t.throws(() => readBundle(bytes, 'x'), { code: 'FMG_ERR_BUNDLE_INVALID' }, name)
  t.match(readBundle(bundle({ verificationMaterial: { certificate, tlogEntries: log, timestampVerificationData: {} } }), 'x'), { material: { method: 'keyless' } })
  t.match(readBundle(bundle({ verificationMaterial: { x509CertificateChain: { certificates: [certificate] }, tlogEntries: [] } }), 'x'), { material: { method: 'certificate' } })
})
