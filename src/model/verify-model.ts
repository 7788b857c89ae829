import { stat } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { modelKind } from './bundle-kind.ts'
import { manifestName, type Manifest } from './manifest.ts'
import { checkSignerClaims, isLimited } from './signer-claims.ts'
import type { Statement } from './statement.ts'
import type { VerifiedStatement } from './trust.ts'
import { readSignedManifest, relativeName, requireDigests, requireFolder, verifySignature, type VerifyFolderOptions } from './verify-folder.ts'

export interface VerifyModelOptions extends VerifyFolderOptions<Manifest> {
  /** Folder of the model, or its one file; its signature is `model.sig` in the folder, or beside the file. */
  readonly model: string
}

/**
 * Verifies a plaintext model against its signature (OpenSSF Model Signing section 8): the signature, who made it, and that exactly the
 * files it names are there with the digests it names. Holds for the moment of reading: who loads must hash what is loaded.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED as `verifyStatement` does, and when the model says of itself what its
 * signer may not claim, or has no manifest to tell.
 * @throws FMG_ERR_MODEL_TAMPERED naming the first file that differs, is missing, not signed for, or a symbolic link.
 */
export async function verifyModel (options: VerifyModelOptions): Promise<VerifiedStatement> {
  const { folder, file } = await locate(options.model)
  const signature = options.signature ?? path.join(folder, modelKind.signature)
  const verified = await verifySignature(modelKind, signature, options.trust)
  if (file === undefined) await requireFolder(folder, verified.statement, [relativeName(folder, signature), ...options.ignorePaths ?? []])
  else await requireDigests(folder, nameFile(verified.statement, file))
  if (isLimited(verified.mayClaim) || options.admit !== undefined) await admitManifest(folder, verified, options.admit)
  return verified
}

async function admitManifest (folder: string, { statement, signer, mayClaim }: VerifiedStatement, admit: VerifyModelOptions['admit']): Promise<void> {
  if (!statement.files.some(({ name }) => name === manifestName)) throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: `its signer may not claim everything, and it has no ${manifestName}`, reason: 'signer-claims' })
  const manifest = await readSignedManifest(modelKind, folder, statement)
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

// The specification names a model of one file by its base name, the reference tool by a dot: both are read.
function nameFile (statement: Statement, file: string): Statement {
  const [only, ...others] = statement.files
  if (only === undefined || others.length > 0 || (only.name !== '.' && only.name !== file)) {
    throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${file} is not the one file that was signed for`, reason: 'missing-file' })
  }
  return { ...statement, files: [{ ...only, name: file }] }
}
