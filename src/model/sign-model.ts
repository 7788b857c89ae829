import type { X509Certificate } from 'node:crypto'
import path from 'node:path'
import { writeFileAtomic } from '../files.ts'
import { optionInvalid } from '../options.ts'
import type { Signer } from '../secrets/signer.ts'
import { bundleMediaType, encodeForSigning, keyHint, payloadType } from './bundle.ts'
import { digestFile } from './digest.ts'
import { listFiles } from './folder.ts'
import { predicateType, readStatement, rootDigest, statementType, type SignedFile, type Statement } from './statement.ts'
import { alwaysIgnored, relativeName, signatureName } from './verify-model.ts'

export interface SignModelOptions {
  /** The model's folder: everything in it is signed for. A single file is not signed: put it in a folder. */
  readonly directory: string
  readonly signer: Signer
  /** Signs in certificate mode: the signer's certificate first, then those that lead to an authority. Without it, in key mode. */
  readonly certificates?: readonly X509Certificate[]
  /** Where the signature goes; by default `model.sig` in the folder. An older one is replaced. */
  readonly signature?: string
  /** Relative paths left out beside git's own. What is left out is not sealed and can not be loaded. */
  readonly ignorePaths?: readonly string[]
}

/**
 * Signs a plaintext model as OpenSSF Model Signing v1.0 does: method `files`, SHA-256, no symbolic links.
 * @returns what was stated, as a verifier will read it.
 * @throws FMG_ERR_MODEL_TAMPERED for a symbolic link in the folder.
 * @throws FMG_ERR_BUNDLE_INVALID for an empty folder, or a file name that no verifier should take.
 * @throws FMG_ERR_OPTION_INVALID when the first certificate is not the signer's.
 */
export async function signModel (options: SignModelOptions): Promise<Statement> {
  const { directory, signer, certificates = [], signature = path.join(directory, signatureName) } = options
  const [leaf] = certificates
  if (leaf !== undefined && !leaf.publicKey.equals(signer.publicKey)) throw optionInvalid('certificates[0]', "the signer's own certificate", leaf)
  const own = relativeName(directory, signature)
  const ignored = [...alwaysIgnored, own, ...options.ignorePaths ?? []].filter((name) => !name.startsWith('../'))
  const files = await hashFiles(directory, new Set(ignored))
  const payload = Buffer.from(JSON.stringify(stateFiles(path.basename(path.resolve(directory)), files, ignored)))
  const statement = readStatement(payload, signatureName)
  const signed = await signer.sign(encodeForSigning(payload))
  await writeFileAtomic(signature, JSON.stringify({
    mediaType: bundleMediaType,
    verificationMaterial: leaf === undefined
      ? { publicKey: { hint: keyHint(signer.publicKey) }, tlogEntries: [] }
      : { x509CertificateChain: { certificates: certificates.map(({ raw }) => ({ rawBytes: raw.toString('base64') })) }, tlogEntries: [] },
    dsseEnvelope: { payload: payload.toString('base64'), payloadType, signatures: [{ sig: Buffer.from(signed).toString('base64') }] }
  }), 0o644)
  return statement
}

async function hashFiles (directory: string, ignored: ReadonlySet<string>): Promise<readonly SignedFile[]> {
  const files: SignedFile[] = []
  for (const name of await listFiles(directory, ignored)) files.push({ name, digest: await digestFile(directory, name, 'sha256') })
  return files
}

function stateFiles (name: string, files: readonly SignedFile[], ignored: readonly string[]): object {
  return {
    _type: statementType,
    subject: [{ name, digest: { sha256: rootDigest(files) } }],
    predicateType,
    predicate: {
      resources: files.map((file) => ({ name: file.name, algorithm: 'sha256', digest: file.digest })),
      serialization: { method: 'files', hash_type: 'sha256', allow_symlinks: false, ignore_paths: ignored }
    }
  }
}
