import { guardError } from '../errors.ts'
import { datasetKind } from './bundle-kind.ts'
import type { DatasetManifest } from './dataset-manifest.ts'
import { admitManifest, verifyBundle, type OpenBundleOptions } from './open-bundle.ts'
import { FileOpener } from './open-files.ts'
import type { OnProgress } from './progress.ts'
import { fileContext, openBundleKey, signedFile } from './sealed-bundle.ts'
import type { ModelSigner } from './trust.ts'
import { streamFile, type BlockDigests } from './verified-stream.ts'

export interface OpenDatasetOptions extends OpenBundleOptions<DatasetManifest> {
  /**
   * Is told how far each file is, in bytes of plaintext: about every 16 MiB, and when it is done; of a large file that is read for the first time twice,
   * while it is verified and while it is given. Must not throw.
   */
  readonly onProgress?: OnProgress
}

/** A sealed dataset, of which one file is read at a time. */
export interface OpenedDataset {
  readonly manifest: DatasetManifest
  /** `sha256:<hex>`: what a model's `training_data` names the dataset by. */
  readonly statementDigest: string
  readonly signer: ModelSigner
  /** Names of its files, sorted. */
  readonly files: readonly string[]
  /**
   * One file's plaintext, in pieces of memory that are the caller's. Nothing of a file is given before all of it was held against its signed digest. So a
   * file above 16 MiB is read twice the first time, and once from then on. Takes up to 17 MiB of memory, and as long as the dataset is open 44 characters for every
   * mebibyte of large files that were read. Several files may be read at once.
   * @throws FMG_ERR_MODEL_TAMPERED when the file, or any chunk, is not what was signed and sealed.
   * @throws FMG_ERR_BUNDLE_INVALID for a name that is not signed for, or a file that cannot be read.
   * @throws FMG_ERR_KEY_UNAVAILABLE when the dataset was closed before (reason `closed`).
   */
  read (name: string): AsyncGenerator<Uint8Array, void>
  /** Overwrites the data key with zeros: no further file can be read. Those that are being read go on. */
  close (): void
}

/**
 * Opens a sealed dataset: signature and trust first, then the files' names, the data key, and the manifest alone; its files when they are read.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED before any key is asked for or file decrypted.
 * @throws FMG_ERR_SIGNER_UNTRUSTED also when the manifest says what its signer may not claim.
 * @throws FMG_ERR_MODEL_TAMPERED when a file is missing or too many, the manifest changed, or it is not the dataset asked for.
 * @throws FMG_ERR_KEY_UNAVAILABLE when no key that opens it can be reached.
 */
export async function openDataset (options: OpenDatasetOptions): Promise<OpenedDataset> {
  const { directory, keys, onProgress = () => undefined } = options
  const verified = await verifyBundle(datasetKind, options)
  const { statement, signer } = verified
  const dataKey = await openBundleKey(datasetKind, directory, statement, keys)
  const known = new Map<string, BlockDigests>()
  let isClosed = false

  const close = (): void => {
    isClosed = true
    dataKey.fill(0)
  }

  async function * read (name: string): AsyncGenerator<Uint8Array, void> {
    if (isClosed) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'closed' })
    const file = signedFile(statement, name)
    const sealing = { key: Uint8Array.from(dataKey), context: fileContext(datasetKind, statement.digest, name) }
    try {
      yield * streamFile({ directory, hashing: statement, sealing, verified: known, onProgress }, file)
    } finally {
      sealing.key.fill(0)
    }
  }

  try {
    const opener = new FileOpener({ kind: datasetKind, directory, statement, dataKey, threads: 0, onProgress })
    const manifest = await admitManifest(datasetKind, await opener.openManifest(), verified, options)
    return { manifest, statementDigest: statement.digest, signer, files: statement.files.map(({ name }) => name), read, close }
  } catch (error) {
    close()
    throw error
  }
}
