import type { BundleNoun } from './data-key.ts'
import { datasetManifestName, readDatasetManifest, type DatasetManifest } from './dataset-manifest.ts'
import { manifestName, readManifest, type Manifest } from './manifest.ts'

/** What every signed manifest says, whatever it is of. */
export interface SignedManifest {
  readonly name: string
  readonly version: string
  /** Every member that is not known. */
  readonly attributes: Readonly<Record<string, unknown>>
}

/** What tells the folders and bundles of one kind from those of another. */
export interface BundleKind<M extends SignedManifest = SignedManifest> {
  /** What one of them is called in errors. */
  readonly noun: BundleNoun
  /** The name of the signature in its folder. */
  readonly signature: string
  /** More than any list of files is. Whoever forges a signature makes us read no more. */
  readonly maxSignatureBytes: number
  /** The name of the manifest in its folder. */
  readonly manifest: string
  /** Files without which it is none; the manifest is among them. */
  readonly required: readonly string[]
  /** Stands before the statement's digest in all that is sealed for it: nothing that was sealed for one kind opens as another. */
  readonly binding: string
  /** @throws FMG_ERR_BUNDLE_INVALID naming the member that is missing or malformed. */
  readonly read: (bytes: Uint8Array) => M
}

/** The name of the graph in a model's folder. */
export const modelName = 'model.onnx'

const mebibyte = 1024 * 1024

/** Models. A signature of ten thousand files has about 3 MB. */
export const modelKind: BundleKind<Manifest> = {
  noun: 'model',
  signature: 'model.sig',
  maxSignatureBytes: 16 * mebibyte,
  manifest: manifestName,
  required: [manifestName, modelName],
  binding: 'fastify-model-guard/v1\nstatement',
  read: readManifest
}

/** Training data: of many more files than a model has. */
export const datasetKind: BundleKind<DatasetManifest> = {
  noun: 'dataset',
  signature: 'dataset.sig',
  maxSignatureBytes: 64 * mebibyte,
  manifest: datasetManifestName,
  required: [datasetManifestName],
  binding: 'fastify-model-guard/v1\ndataset-statement',
  read: readDatasetManifest
}
