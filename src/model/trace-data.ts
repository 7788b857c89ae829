import path from 'node:path'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { datasetKind, modelKind } from './bundle-kind.ts'
import type { DatasetManifest } from './dataset-manifest.ts'
import { readBundleEnvelope } from './sealed-bundle.ts'
import { findSigned, isSealed, openManifest } from './signed-folders.ts'
import { checkSignerClaims, isLimited } from './signer-claims.ts'
import type { ModelSigner, Trust } from './trust.ts'
import { verifySignature } from './verify-folder.ts'
import { verifyDataset } from './verify-dataset.ts'
import { verifyModel } from './verify-model.ts'

/** Where training data was found, and what holds of it. */
export interface FoundData {
  readonly directory: string
  readonly signer: ModelSigner
  /** A model where another model is what it was trained from. */
  readonly kind: 'dataset' | 'model'
  /** What a dataset says of itself; `undefined` for a model, and for a sealed dataset that no given key opens. */
  readonly manifest: DatasetManifest | undefined
}

/** Training data that a model names, or data that such data was made from. */
export interface TracedData {
  readonly name: string
  /** SHA-256, in hexadecimal, as it is named: of the statement about the data, or its root digest. */
  readonly digest: string
  /** Name and version of what names it. */
  readonly namedBy: string
  /** `undefined` where it was not found. */
  readonly found: FoundData | undefined
}

/** Where data is looked for, and what it is opened and judged with. */
export interface DataPlaces {
  readonly datasets: readonly string[]
  readonly trust: Trust
  readonly datasetTrust: Trust
  readonly keys: readonly KeyProvider[]
}

/** Data by name and digest, as a manifest names it. */
type Named = NonNullable<DatasetManifest['parents']>[number]

/**
 * Walks from what a manifest names to the data, who signed it, and what that was made from, each once.
 * @throws FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED, FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID for what is found and does not hold.
 */
export async function traceData (named: readonly Named[], namedBy: string, places: DataPlaces): Promise<readonly TracedData[]> {
  const traced: TracedData[] = []
  const waiting = named.map((data) => ({ data, namedBy }))
  const known = new Set(named.map(({ digest }) => digest.sha256))
  for (const { data: { name, digest: { sha256 } }, namedBy } of waiting) {
    const found = await findData(sha256, places)
    traced.push({ name, digest: sha256, namedBy, found })
    for (const parent of parentsOf(found)) {
      if (known.has(parent.data.digest.sha256)) continue
      known.add(parent.data.digest.sha256)
      waiting.push(parent)
    }
  }
  return traced
}

function parentsOf (found: FoundData | undefined): readonly { readonly data: Named, readonly namedBy: string }[] {
  const manifest = found?.manifest
  if (manifest === undefined) return []
  const { name, version, parents = [] } = manifest
  return parents.map((data) => ({ data, namedBy: `${name} ${version}` }))
}

async function findData (digest: string, { datasets, trust, datasetTrust, keys }: DataPlaces): Promise<FoundData | undefined> {
  const found = await findSigned(datasets, [datasetKind, modelKind], (statement) => statement.digest === `sha256:${digest}` || statement.root === digest)
  if (found === undefined) return undefined
  if (found.kind === 'dataset') return { ...found, ...await judgeDataset(found.directory, datasetTrust, keys) }
  return { ...found, signer: await judgeModel(found.directory, trust, keys), manifest: undefined }
}

async function judgeModel (directory: string, trust: Trust, keys: readonly KeyProvider[]): Promise<ModelSigner> {
  if (!await isSealed(directory)) return (await verifyModel({ model: directory, trust })).signer
  const { statement, signer, mayClaim } = await verifySignature(modelKind, path.join(directory, modelKind.signature), trust)
  if (isLimited(mayClaim)) checkSignerClaims(await openManifest(modelKind, directory, statement, keys), mayClaim)
  return signer
}

async function judgeDataset (directory: string, trust: Trust, keys: readonly KeyProvider[]): Promise<Pick<FoundData, 'signer' | 'manifest'>> {
  if (!await isSealed(directory)) return await verifyDataset({ directory, trust }).then(({ signer, manifest }) => ({ signer, manifest }))
  const { statement, signer, mayClaim } = await verifySignature(datasetKind, path.join(directory, datasetKind.signature), trust)
  // Whoever may sign for some names alone is believed only where the name can be read.
  if (!isLimited(mayClaim) && !await opens(directory, keys)) return { signer, manifest: undefined }
  const manifest = await openManifest(datasetKind, directory, statement, keys)
  checkSignerClaims(manifest, mayClaim)
  return { signer, manifest }
}

async function opens (directory: string, keys: readonly KeyProvider[]): Promise<boolean> {
  const { recipients } = await readBundleEnvelope(directory)
  return keys.some((key) => recipients.some(({ keyId }) => keyId === key.keyId))
}
