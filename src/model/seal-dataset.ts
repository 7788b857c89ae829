import { datasetKind } from './bundle-kind.ts'
import { sealFolder, type SealFolderOptions } from './seal-folder.ts'
import type { Statement } from './statement.ts'

export type SealDatasetOptions = SealFolderOptions

/**
 * Seals a signed dataset: a new folder with `dataset.sig` in the clear, every signed file as Cobblestone-256 under one fresh data key, and
 * that key sealed for the recipients. The folder is there whole or not at all. What the signer ignored is left out.
 * @returns what is signed and sealed.
 * @throws FMG_ERR_FILE when the destination exists or cannot be written.
 * @throws FMG_ERR_BUNDLE_INVALID when there is no signature, or no usable `dataset.json` among the signed files.
 * @throws FMG_ERR_MODEL_TAMPERED when the files are not those that were signed for.
 */
export async function sealDataset (options: SealDatasetOptions): Promise<Statement> {
  return await sealFolder(datasetKind, options)
}
