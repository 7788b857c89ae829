import { stat } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { partsOfFile } from './digest.ts'
import { listFiles, readSmallFile, requireExactly } from './folder.ts'
import { manifestName, maxManifestBytes, readManifest, type Manifest } from './manifest.ts'
import { checkSignerClaims, isLimited } from './signer-claims.ts'
import { requireParts } from './signed-file.ts'
import type { Statement } from './statement.ts'
import type { ModelSigner, Trust, VerifiedStatement } from './trust.ts'
import { verifyStatement } from './verify-statement.ts'

/** The name of the signature in a model's folder. */
export const signatureName = 'model.sig'

/** More than any list of files is: a signature of ten thousand files has about 3 MB. Whoever forges one makes us read no more. */
export const maxSignatureBytes = 16 * 1024 * 1024

/** Left out of every signature (OpenSSF Model Signing section 6.2), at the top of the folder. */
export const alwaysIgnored: readonly string[] = ['.git', '.gitattributes', '.github', '.gitignore']

export interface VerifyModelOptions {
  /** Folder of the model, or its one file. */
  readonly model: string
  /** Signature file; by default `model.sig` in the model's folder, or beside its file. */
  readonly signature?: string
  readonly trust: Trust
  /** Relative paths that may be there without being signed for, beside those the signer names. None of them may be loaded. */
  readonly ignorePaths?: readonly string[]
  /** Looks at the signed manifest, for instance whether this version is old; a model without one is refused. What it throws refuses the model. */
  readonly admit?: ((manifest: Manifest, signer: ModelSigner) => void | Promise<void>) | undefined
}

/**
 * Verifies a plaintext model against its signature (OpenSSF Model Signing section 8): the signature, who made it, and that exactly the
 * files it names are there with the digests it names. Holds for the moment of reading: who loads must hash what is loaded.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED as `verifyStatement` does, and when the model says of itself what its
 * signer may not claim.
 * @throws FMG_ERR_MODEL_TAMPERED naming the first file that differs, is missing, not signed for, or a symbolic link.
 */
export async function verifyModel (options: VerifyModelOptions): Promise<VerifiedStatement> {
  const { folder, file } = await locate(options.model)
  const signature = options.signature ?? path.join(folder, signatureName)
  const bytes = await readSmallFile(path.dirname(signature), path.basename(signature), maxSignatureBytes)
  const verified = await verifyStatement(bytes, options.trust, path.basename(signature))
  if (file === undefined) {
    await requireListing(folder, verified.statement, [relativeName(folder, signature), ...options.ignorePaths ?? []])
    await requireDigests(folder, verified.statement)
  } else {
    await requireDigests(folder, nameFile(verified.statement, file))
  }
  if (isLimited(verified.mayClaim) || options.admit !== undefined) await admitManifest(folder, verified, options.admit)
  return verified
}

async function admitManifest (folder: string, { statement, signer, mayClaim }: VerifiedStatement, admit: VerifyModelOptions['admit']): Promise<void> {
  if (!statement.files.some(({ name }) => name === manifestName)) throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: `its signer may not claim everything, and it has no ${manifestName}`, reason: 'signer-claims' })
  const manifest = readManifest(await readSmallFile(folder, manifestName, maxManifestBytes))
  checkSignerClaims(manifest, mayClaim)
  await admit?.(manifest, signer)
}

async function locate (model: string): Promise<{ folder: string, file?: string }> {
  try {
    return (await stat(model)).isDirectory() ? { folder: model } : { folder: path.dirname(model), file: path.basename(model) }
  } catch (cause) {
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: 'there is no such model', reason: 'no-model', cause })
  }
}

/** The name of a file as a model's signature would have it. */
export function relativeName (folder: string, file: string): string {
  return path.relative(folder, file).split(path.sep).join('/')
}

/**
 * Demands that a plaintext folder holds exactly what a statement names, what it ignores left aside.
 * @param besides relative paths that may be there as well: the signature's own, and what the caller ignores.
 */
export async function requireListing (folder: string, statement: Statement, besides: readonly string[]): Promise<void> {
  const names = statement.files.map(({ name }) => name)
  // What is named is looked at, even under a path that is ignored.
  const ignored = [...alwaysIgnored, ...statement.ignorePaths, ...besides].filter((name) => !names.some((file) => `${file}/`.startsWith(`${name}/`)))
  requireExactly(await listFiles(folder, new Set(ignored)), names)
}

async function requireDigests (folder: string, statement: Statement): Promise<void> {
  for (const file of statement.files) requireParts(file, await partsOfFile(folder, file.name, statement))
}

// The specification names a model of one file by its base name, the reference tool by a dot: both are read.
function nameFile (statement: Statement, file: string): Statement {
  const [only, ...others] = statement.files
  if (only === undefined || others.length > 0 || (only.name !== '.' && only.name !== file)) {
    throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${file} is not the one file that was signed for`, reason: 'missing-file' })
  }
  return { ...statement, files: [{ ...only, name: file }] }
}
