import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { modelKind } from './bundle-kind.ts'
import { readBundle } from './bundle.ts'
import { readSmallFile } from './folder.ts'
import type { Manifest } from './manifest.ts'
import { FileOpener } from './open-files.ts'
import { envelopeName, openBundleKey } from './sealed-bundle.ts'
import { readStatement, type Statement } from './statement.ts'
import type { ModelSigner, Trust } from './trust.ts'
import { readSignedManifest, verifySignature } from './verify-folder.ts'
import { verifyModel } from './verify-model.ts'

export interface TraceModelOptions {
  /** What a record names the model by: `sha256:<hex>` of its statement. */
  readonly digest: string
  /** Folders of models, sealed or plain, or of such folders. */
  readonly models: readonly string[]
  /** Folders of signed training data, sealed or plain, or of such folders. Default none. */
  readonly datasets?: readonly string[] | undefined
  /** Who may have signed either. */
  readonly trust: Trust
  /** Open the manifest of a sealed model. Default none. */
  readonly keys?: readonly KeyProvider[] | undefined
}

/** Training data that a model names. */
export interface TracedData {
  readonly name: string
  /** SHA-256, in hexadecimal, as the model gives it: of the statement about the data, or its root digest. */
  readonly digest: string
  /** Where it was found, and who signed it; `undefined` where it was not found. */
  readonly found: { readonly directory: string, readonly signer: ModelSigner } | undefined
}

/** Where a model comes from. */
export interface ModelTrace {
  readonly directory: string
  readonly signer: ModelSigner
  /** What it says of itself: who trained it, when, from which code. */
  readonly manifest: Manifest
  readonly trainingData: readonly TracedData[]
}

/**
 * Walks from what a record of the audit log names a model by to the model, who signed it, what it says of its training, the data that names, and who signed that. All of plain
 * data is read and held against its signature; of sealed data the signature is verified.
 * @throws FMG_ERR_MODEL_UNKNOWN when no folder holds this model.
 * @throws FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED, FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID for what is found and does not hold.
 * @throws FMG_ERR_KEY_UNAVAILABLE when no key opens the manifest.
 */
export async function traceModel ({ digest, models, datasets = [], trust, keys = [] }: TraceModelOptions): Promise<ModelTrace> {
  const directory = await find(models, (statement) => statement.digest === digest)
  if (directory === undefined) throw guardError('FMG_ERR_MODEL_UNKNOWN', { reason: 'model-unknown' })
  const { statement, signer } = await verifySignature(modelKind, path.join(directory, modelKind.signature), trust)
  const manifest = await openManifest(directory, statement, keys)
  const trainingData = await Promise.all((manifest.training_data ?? []).map(async ({ name, digest: { sha256 } }): Promise<TracedData> => ({ name, digest: sha256, found: await findData(sha256, datasets, trust) })))
  return { directory, signer, manifest, trainingData }
}

async function findData (digest: string, datasets: readonly string[], trust: Trust): Promise<TracedData['found']> {
  const directory = await find(datasets, (statement) => statement.digest === `sha256:${digest}` || statement.root === digest)
  if (directory === undefined) return undefined
  const { signer } = await isSealed(directory)
    ? await verifySignature(modelKind, path.join(directory, modelKind.signature), trust)
    : await verifyModel({ model: directory, trust })
  return { directory, signer }
}

/** The first of these folders, or of those in them, about which this is stated; whoever stated it. */
async function find (folders: readonly string[], isWanted: (statement: Statement) => boolean): Promise<string | undefined> {
  for (const folder of folders) {
    for (const candidate of [folder, ...await foldersIn(folder)]) if (await exists(path.join(candidate, modelKind.signature)) && isWanted(await statementIn(candidate))) return candidate
  }
  return undefined
}

async function foldersIn (folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => path.join(folder, name))
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${folder}`, cause })
  }
}

async function statementIn (directory: string): Promise<Statement> {
  return readStatement(readBundle(await readSmallFile(directory, modelKind.signature, modelKind.maxSignatureBytes), modelKind.signature).payload, modelKind.signature)
}

async function isSealed (directory: string): Promise<boolean> {
  return await exists(path.join(directory, envelopeName))
}

async function openManifest (directory: string, statement: Statement, keys: readonly KeyProvider[]): Promise<Manifest> {
  if (!await isSealed(directory)) return await readSignedManifest(modelKind, directory, statement)
  const dataKey = await openBundleKey(modelKind, directory, statement, keys)
  try {
    return modelKind.read(await new FileOpener({ kind: modelKind, directory, statement, dataKey, threads: 0, onProgress: () => undefined }).openManifest())
  } finally {
    dataKey.fill(0)
  }
}
