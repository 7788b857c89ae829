import type { X509Certificate } from 'node:crypto'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { writeFileAtomic } from '../files.ts'
import { integer, object, oneOf, optional, optionInvalid, withDefault } from '../options.ts'
import type { Signer } from '../secrets/signer.ts'
import type { BundleKind } from './bundle-kind.ts'
import { bundleMediaType, encodeForSigning, keyHint, maxChain, payloadType } from './bundle.ts'
import { partsOfFile, type FileHash, type Hashing } from './digest.ts'
import { byCodePoint, listFiles } from './folder.ts'
import type { SignedFile } from './signed-file.ts'
import { predicateType, readStatement, rootDigest, statementType, type Statement } from './statement.ts'
import { alwaysIgnored, relativeName } from './verify-folder.ts'

export interface SignFolderOptions {
  /** The folder: everything in it is signed for. A single file is not signed: put it in a folder. */
  readonly directory: string
  readonly signer: Signer
  /** Signs in certificate mode: the signer's certificate first, then those that lead to an authority. Without it, in key mode. */
  readonly certificates?: readonly X509Certificate[]
  /** When the certificates must be valid: milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: () => number
  /** Where the signature goes; by default in the folder (`model.sig`, `dataset.sig`). An older one is replaced. */
  readonly signature?: string
  /** Relative paths left out beside git's own. What is left out is not sealed and can not be loaded. */
  readonly ignorePaths?: readonly string[]
  /** How files are hashed. Default `sha256`. */
  readonly hash?: FileHash
  /**
   * Signs for each run of so many bytes of a file alone, so that a large file can be hashed by several threads; 1,000,000,000 is what others
   * use. Default: each file as a whole.
   */
  readonly shardBytes?: number
}

const readHashing = object({ hash: withDefault(oneOf<FileHash>('sha256', 'blake2b'), 'sha256'), shardBytes: optional(integer({ min: 1 })) })

/**
 * Signs a plaintext folder as OpenSSF Model Signing v1.0 does: method `files` or `shards`, no symbolic links.
 * @returns what was stated, as a verifier will read it.
 * @throws FMG_ERR_MODEL_TAMPERED for a symbolic link in the folder.
 * @throws FMG_ERR_BUNDLE_INVALID for an empty folder, a file name that no verifier should take, an empty file in shards, or a signature larger
 * than a verifier reads.
 * @throws FMG_ERR_SIGNER_UNTRUSTED when the first certificate is not for signing, not valid now, or one did not issue the one before it.
 * @throws FMG_ERR_OPTION_INVALID when the first certificate is not the signer's, for an ignored path that is a pattern, or another hash.
 */
export async function signFolder (kind: BundleKind, options: SignFolderOptions): Promise<Statement> {
  const { directory, signer, certificates = [], signature = path.join(directory, kind.signature), ignorePaths = [] } = options
  const hashing = readHashing({ hash: options.hash, shardBytes: options.shardBytes }, 'sign')
  await requireCertificates(certificates, signer, options.clock ?? Date.now)
  // Section 6.2.1: other tools must find the very same files, and some of them read patterns.
  if (ignorePaths.some((name) => /[*?[]/.test(name))) throw optionInvalid('ignorePaths', 'paths without *, ? and [', ignorePaths)
  const own = relativeName(directory, signature)
  const ignored = [...alwaysIgnored, own, ...ignorePaths].filter((name) => !name.startsWith('../'))
  const files = await hashFiles(directory, new Set(ignored), hashing)
  const payload = Buffer.from(JSON.stringify(stateFiles(path.basename(path.resolve(directory)), files, ignored, hashing)))
  const statement = readStatement(payload, kind.signature)
  const bundle = await signPayload(payload, signer, certificates)
  if (bundle.length > kind.maxSignatureBytes) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `its signature would be larger than ${kind.maxSignatureBytes} bytes: use larger shards, or fewer files`, reason: 'too-large' })
  await writeFileAtomic(signature, bundle, 0o644)
  return statement
}

// A signature that no verifier would believe is not made.
async function requireCertificates ([leaf, ...others]: readonly X509Certificate[], signer: Signer, clock: () => number): Promise<void> {
  if (leaf === undefined) return
  if (!leaf.publicKey.equals(signer.publicKey)) throw optionInvalid('certificates[0]', "the signer's own certificate", leaf)
  if (others.length >= maxChain) throw optionInvalid('certificates', `at most ${maxChain}`, others)
  const { requireChain } = await import('./certificate-chain.ts')
  requireChain([leaf, ...others], clock())
}

async function signPayload (payload: Uint8Array, signer: Signer, certificates: readonly X509Certificate[]): Promise<Buffer> {
  const signed = await signer.sign(encodeForSigning(payload))
  return Buffer.from(JSON.stringify({
    mediaType: bundleMediaType,
    verificationMaterial: certificates.length === 0
      ? { publicKey: { hint: keyHint(signer.publicKey) }, tlogEntries: [] }
      : { x509CertificateChain: { certificates: certificates.map(({ raw }) => ({ rawBytes: raw.toString('base64') })) }, tlogEntries: [] },
    dsseEnvelope: { payload: Buffer.from(payload).toString('base64'), payloadType, signatures: [{ sig: Buffer.from(signed).toString('base64') }] }
  }))
}

async function hashFiles (directory: string, ignored: ReadonlySet<string>, hashing: Hashing): Promise<readonly SignedFile[]> {
  const files: SignedFile[] = []
  for (const name of await listFiles(directory, ignored)) {
    const parts = await partsOfFile(directory, name, hashing)
    // It would be in no digest, so anybody could add or remove it, and a sealed bundle would lack it.
    if (parts.length === 0) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} is empty, and shards do not sign for an empty file: ignore it, or sign whole files`, reason: 'empty-file' })
    files.push({ name, parts })
  }
  return files
}

function stateFiles (name: string, files: readonly SignedFile[], ignored: readonly string[], { hash, shardBytes }: Hashing): object {
  const resources = files.flatMap((file) => file.parts.map(({ start, end, digest }) => (
    { name: end === undefined ? file.name : `${file.name}:${start}:${end}`, algorithm: hash, digest }
  ))).sort((a, b) => byCodePoint(a.name, b.name))
  return {
    _type: statementType,
    subject: [{ name, digest: { sha256: rootDigest(resources) } }],
    predicateType,
    predicate: {
      resources,
      serialization: { method: shardBytes === undefined ? 'files' : 'shards', hash_type: hash, shard_size: shardBytes, allow_symlinks: false, ignore_paths: ignored }
    }
  }
}
