import path from 'node:path'
import { datasetKind } from './bundle-kind.ts'
import type { DatasetManifest } from './dataset-manifest.ts'
import { checkSignerClaims } from './signer-claims.ts'
import type { VerifiedStatement } from './trust.ts'
import { readSignedManifest, relativeName, requireFolder, verifySignature, type VerifyFolderOptions } from './verify-folder.ts'

export interface VerifyDatasetOptions extends VerifyFolderOptions<DatasetManifest> {
  /** The dataset's folder, with `dataset.json` and `dataset.sig`. */
  readonly directory: string
}

/** A plaintext dataset that somebody trusted has signed. */
export interface VerifiedDataset extends VerifiedStatement {
  readonly manifest: DatasetManifest
}

/**
 * Verifies a plaintext dataset against its signature: the signature, who made it, that exactly the files it names are there with the digests it
 * names, and that its signer may say what `dataset.json` says. Holds for the moment of reading: who trains on it later must see to it that nobody
 * writes there, or seal it.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED as `verifyStatement` does; when there is no usable `dataset.json`
 * among the signed files, or it says what its signer may not claim.
 * @throws FMG_ERR_MODEL_TAMPERED naming the first file that differs, is missing, not signed for, or a symbolic link.
 */
export async function verifyDataset (options: VerifyDatasetOptions): Promise<VerifiedDataset> {
  const { directory, signature = path.join(directory, datasetKind.signature), trust, admit, ignorePaths = [] } = options
  const verified = await verifySignature(datasetKind, signature, trust)
  await requireFolder(directory, verified.statement, [relativeName(directory, signature), ...ignorePaths])
  const manifest = await readSignedManifest(datasetKind, directory, verified.statement)
  checkSignerClaims(manifest, verified.mayClaim)
  await admit?.(manifest, verified.signer)
  return { ...verified, manifest }
}
