import { copyFile, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { BundleKind } from '../../src/model/bundle-kind.ts'
import { encodeForSigning } from '../../src/model/bundle.ts'
import type { SealFolderOptions } from '../../src/model/seal-folder.ts'
import type { SignFolderOptions } from '../../src/model/sign-folder.ts'
import { headerBytes, sealedChunkBytes } from '../../src/model/sealed-chunk.ts'
import { readStatement, rootDigest } from '../../src/model/statement.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { signer, writeFiles, type Files } from './models.ts'
import { countingKey, sealByHand } from './sealed-models.ts'

/** A kind of bundle, and what is done with one. */
export interface MutatedKind {
  readonly kind: BundleKind
  /** What it is made of: `a.bin` and `b.bin` of 100 bytes each, which come first, then the manifest. */
  readonly files: Files
  readonly manifestOf: (members: Readonly<Record<string, unknown>>) => string
  readonly sign: (options: SignFolderOptions) => Promise<unknown>
  readonly seal: (options: SealFolderOptions) => Promise<unknown>
  /** Opens all of it, under the name that its manifest has by default. */
  readonly open: (directory: string, keys: readonly KeyProvider[]) => Promise<void>
  /** How much of bundles that did open, or did not, was handed over. */
  readonly handedOver: () => number
}

interface Resource { name: string, algorithm: string, digest: string }

interface Predicate { resources: Resource[], serialization: Record<string, unknown> }

interface Payload { _type: string, subject: { name: string, digest: { sha256: string } }[], predicateType: string, predicate: Predicate }

interface Envelope { payload: string, payloadType: string, signatures: { sig: string }[] }

interface Signature { mediaType: string, verificationMaterial: Record<string, unknown>, dsseEnvelope: Envelope }

export type Change = (directory: string) => Promise<void>

/** What is said of a mutation. */
export type Verdict = readonly [change: Change, code: string, reason: string]

/** A file of a bundle. */
export const at = (name: string): ((directory: string) => string) => (directory) => path.join(directory, name)

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

/** Every way in which a bundle of this kind can be something else than what was signed and sealed, and what is said of it. */
export function testMutations ({ kind, files, manifestOf, sign, seal, open, handedOver }: MutatedKind): void {
  const { noun, signature: signatureName, manifest: manifestName } = kind
  const key = countingKey('k')

  async function bundle (folder: string, more: Files = {}, shardBytes?: number): Promise<string> {
    const source = await writeFiles(`${folder}-source`, { ...files, ...more })
    await sign({ directory: source, signer, ...shardBytes !== undefined && { shardBytes } })
    await seal({ source, destination: folder, recipients: [key] })
    return folder
  }

  const other = (members: Readonly<Record<string, unknown>> = { name: 'other' }): Files => ({ [manifestName]: manifestOf(members) })

  async function readSignature (directory: string): Promise<Signature> {
    return JSON.parse(await readFile(path.join(directory, signatureName), 'utf8')) as Signature
  }

  async function writeSignature (directory: string, signature: Signature): Promise<void> {
    await writeFile(path.join(directory, signatureName), JSON.stringify(signature))
  }

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
    const payload = JSON.parse(Buffer.from(signature.dsseEnvelope.payload, 'base64').toString()) as Payload
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

  function refuses (title: string, keyCalls: 0 | 1, mutations: Readonly<Record<string, Verdict>>, options: { readonly shardBytes?: number } = {}): void {
    t.test(title, async (t: Test) => {
      const folder = t.testdir()
      for (const [index, [name, [change, code, reason]]] of Object.entries(mutations).entries()) {
        const directory = await bundle(path.join(folder, String(index)), {}, options.shardBytes)
        await open(directory, [key])
        const [calls, handed] = [key.calls, handedOver()]
        await change(directory)
        await t.rejects(open(directory, [key]), { code: `FMG_ERR_${code}`, reason }, name)
        t.equal(key.calls - calls, keyCalls, `${name}: calls of a key`)
        t.equal(handedOver(), handed, `${name}: nothing is handed over`)
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
    'another digest': [misSigning(({ resources: [first] }) => { if (first !== undefined) first.digest = 'ab'.repeat(32) }), 'MODEL_TAMPERED', `key-of-another-${noun}`]
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
      await sealByHand(kind, directory, digest, files, key)
    }
  }

  refuses('a folder that is not what was signed for costs no key call', 0, {
    'an extra file': [add('c.bin.sealed'), 'MODEL_TAMPERED', 'extra-file'],
    'an extra file in a folder': [add('more/c.bin.sealed'), 'MODEL_TAMPERED', 'extra-file'],
    'an extra file that git knows': [add('.gitignore'), 'MODEL_TAMPERED', 'extra-file'],
    'a plaintext beside': [add('b.bin'), 'MODEL_TAMPERED', 'extra-file'],
    'a missing file': [async (directory) => { await rm(at('a.bin.sealed')(directory)) }, 'MODEL_TAMPERED', 'missing-file'],
    'a missing sidecar': [async (directory) => { await rm(at('key.jwe.json')(directory)) }, 'MODEL_TAMPERED', 'missing-file'],
    'a link in place of a file': [async (directory) => {
      await rename(at('a.bin.sealed')(directory), `${directory}-elsewhere`)
      await symlink(`${directory}-elsewhere`, at('a.bin.sealed')(directory))
    }, 'MODEL_TAMPERED', 'special-file'],
    'the sidecar of another': [async (directory) => {
      await copyFile(at('key.jwe.json')(await bundle(`${directory}-other`, other())), at('key.jwe.json')(directory))
    }, 'MODEL_TAMPERED', `key-of-another-${noun}`],
    'the sidecar of an older version': [async (directory) => {
      await copyFile(at('key.jwe.json')(await bundle(`${directory}-older`, other({ version: '1.0.0' }))), at('key.jwe.json')(directory))
    }, 'MODEL_TAMPERED', `key-of-another-${noun}`],
    'the signature of another': [async (directory) => {
      await copyFile(at(signatureName)(await bundle(`${directory}-other`, other())), at(signatureName)(directory))
    }, 'MODEL_TAMPERED', `key-of-another-${noun}`]
  })

  refuses('files in one another\'s place do not open', 1, {
    'swapped within a bundle': [swap('a.bin.sealed', 'b.bin.sealed'), 'MODEL_TAMPERED', 'sealed-key'],
    'the manifest in another file\'s place': [swap(`${manifestName}.sealed`, 'b.bin.sealed'), 'MODEL_TAMPERED', 'sealed-key'],
    'swapped between bundles': [async (directory) => {
      await copyFile(at('a.bin.sealed')(await bundle(`${directory}-other`, other())), at('a.bin.sealed')(directory))
    }, 'MODEL_TAMPERED', 'sealed-key'],
    'swapped between two sealings of the same': [async (directory) => {
      await seal({ source: `${directory}-source`, destination: `${directory}-again`, recipients: [key] })
      await copyFile(at('a.bin.sealed')(`${directory}-again`), at('a.bin.sealed')(directory))
    }, 'MODEL_TAMPERED', 'sealed-key'],
    'a whole bundle of another name': [async (directory) => {
      const another = await bundle(`${directory}-other`, other())
      await rm(directory, { recursive: true })
      await rename(another, directory)
    }, 'MODEL_TAMPERED', `another-${noun}`]
  })

  /** A file of three chunks is changed and put right again; each time nothing of it is handed over. */
  function refusesBytes (title: string, mutations: (sealed: Buffer) => Readonly<Record<string, readonly [changed: Uint8Array, reason: string]>>): void {
    t.test(title, async (t: Test) => {
      const directory = await bundle(path.join(t.testdir(), 'bundle'), { 'c.bin': 'c'.repeat(40_000) })
      const file = at('c.bin.sealed')(directory)
      const sealed = await readFile(file)
      for (const [name, [changed, reason]] of Object.entries(mutations(sealed))) {
        const handed = handedOver()
        await writeFile(file, changed)
        await t.rejects(open(directory, [key]), { code: 'FMG_ERR_MODEL_TAMPERED', reason }, name)
        t.equal(handedOver(), handed, `${name}: nothing is handed over`)
      }
      await writeFile(file, sealed)
      await open(directory, [key])
    })
  }

  refusesBytes('a file that is changed in any byte of its header, or on either side of a border, does not open', (sealed) => {
    const flipped = (place: number): Uint8Array => sealed.map((byte, index) => index === place ? byte ^ 1 : byte)
    const header = Array.from({ length: headerBytes }, (_, place) => [`byte ${place} of the header`, [flipped(place), 'sealed-key']] as const)
    const borders = [headerBytes, headerBytes + sealedChunkBytes, headerBytes + 2 * sealedChunkBytes, sealed.length]
    const around = borders.flatMap((border) => [border - 1, border, border + 1]).filter((place) => place >= headerBytes && place < sealed.length)
    return { ...Object.fromEntries<readonly [Uint8Array, string]>(header), ...Object.fromEntries<readonly [Uint8Array, string]>(around.map((place) => [`byte ${place}`, [flipped(place), 'sealed-chunk']])) }
  })

  refusesBytes('a file whose chunks are others, fewer or more does not open', (sealed) => {
    const chunk = (index: number): Buffer => sealed.subarray(headerBytes + index * sealedChunkBytes, headerBytes + (index + 1) * sealedChunkBytes)
    const header = sealed.subarray(0, headerBytes)
    const cut = (bytes: number): Uint8Array => sealed.subarray(0, bytes)
    const border = headerBytes + 2 * sealedChunkBytes
    return {
      'two chunks swapped': [Buffer.concat([header, chunk(1), chunk(0), chunk(2)]), 'sealed-chunk'],
      'one chunk twice': [Buffer.concat([header, chunk(0), chunk(0), chunk(2)]), 'sealed-chunk'],
      'the first dropped': [Buffer.concat([header, chunk(1), chunk(2)]), 'sealed-chunk'],
      'the last dropped': [cut(border), 'sealed-length'],
      'cut one byte after a border': [cut(border + 1), 'sealed-length'],
      'cut one byte before a border': [cut(border - 1), 'sealed-chunk'],
      'cut by one byte': [cut(sealed.length - 1), 'sealed-chunk'],
      'the last chunk twice': [Buffer.concat([sealed, chunk(2)]), 'sealed-chunk'],
      'one appended before the last': [Buffer.concat([header, chunk(0), chunk(1), chunk(1), chunk(2)]), 'sealed-chunk'],
      'one byte appended': [Buffer.concat([sealed, Buffer.alloc(1)]), 'sealed-chunk'],
      'the header alone': [header, 'sealed-length'],
      nothing: [Buffer.alloc(0), 'sealed-length']
    }
  })
}
