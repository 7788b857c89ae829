import path from 'node:path'
import { guardError } from '../errors.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { modelKind } from './bundle-kind.ts'
import type { Manifest } from './manifest.ts'
import { checkSignerClaims } from './signer-claims.ts'
import { findSigned, openManifest } from './signed-folders.ts'
import { traceData, type TracedData } from './trace-data.ts'
import type { ModelSigner, Trust } from './trust.ts'
import { verifySignature } from './verify-folder.ts'

export interface TraceModelOptions {
  /** What a record names the model by: `sha256:<hex>` of its statement. */
  readonly digest: string
  /** Folders of models, sealed or plain, or of such folders. */
  readonly models: readonly string[]
  /** Folders of signed training data, sealed or plain, or of such folders. Default none. */
  readonly datasets?: readonly string[] | undefined
  /** Who may have signed the model, and models it was trained from. */
  readonly trust: Trust
  /** Who may have signed datasets. Default: who may have signed models. */
  readonly datasetTrust?: Trust | undefined
  /** Open the manifests of what is sealed. Default none. */
  readonly keys?: readonly KeyProvider[] | undefined
}

/** Where a model comes from. */
export interface ModelTrace {
  readonly directory: string
  readonly signer: ModelSigner
  /** What it says of itself: who trained it, when, from which code. */
  readonly manifest: Manifest
  /** What it was trained on, and then what that was made from. */
  readonly trainingData: readonly TracedData[]
}

/**
 * Walks from what a record of the audit log names a model by to the model, who signed it, what it says of its training, the data that names, who signed that, what it says of
 * itself, and the data it was made from. All of plain data is read and held against its signature; of sealed data the signature is verified, and the manifest opened where
 * a key does.
 * @throws FMG_ERR_MODEL_UNKNOWN when no folder holds this model.
 * @throws FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED, FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID for what is found and does not hold.
 * @throws FMG_ERR_KEY_UNAVAILABLE when no key opens the manifest.
 */
export async function traceModel ({ digest, models, datasets = [], trust, datasetTrust = trust, keys = [] }: TraceModelOptions): Promise<ModelTrace> {
  const found = await findSigned(models, [modelKind], (statement) => statement.digest === digest)
  if (found === undefined) throw guardError('FMG_ERR_MODEL_UNKNOWN', { reason: 'model-unknown' })
  const { directory } = found
  const { statement, signer, mayClaim } = await verifySignature(modelKind, path.join(directory, modelKind.signature), trust)
  const manifest = await openManifest(modelKind, directory, statement, keys)
  checkSignerClaims(manifest, mayClaim)
  const trainingData = await traceData(manifest.training_data ?? [], `${manifest.name} ${manifest.version}`, { datasets, trust, datasetTrust, keys })
  return { directory, signer, manifest, trainingData }
}
