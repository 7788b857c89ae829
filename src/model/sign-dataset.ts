import { datasetKind } from './bundle-kind.ts'
import { readSmallFile } from './folder.ts'
import { maxManifestBytes } from './manifest-parts.ts'
import { signFolder, type SignFolderOptions } from './sign-folder.ts'
import type { Statement } from './statement.ts'

export type SignDatasetOptions = SignFolderOptions

/**
 * Signs a plaintext dataset as a model is signed (OpenSSF Model Signing v1.0), in `dataset.sig`. Its folder holds a `dataset.json`, and else any
 * files.
 * @returns what was stated, as a verifier will read it.
 * @throws FMG_ERR_BUNDLE_INVALID when there is no usable `dataset.json`.
 * @throws what `signFolder` throws.
 */
export async function signDataset (options: SignDatasetOptions): Promise<Statement> {
  datasetKind.read(await readSmallFile(options.directory, datasetKind.manifest, maxManifestBytes))
  return await signFolder(datasetKind, options)
}
