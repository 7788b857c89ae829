import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { datasetKind, modelKind, type BundleKind } from './bundle-kind.ts'
import { openDataKey } from './data-key.ts'
import { readSmallFile } from './folder.ts'
import { readEnvelope, maxEnvelopeBytes, type KeyEnvelope } from './key-envelope.ts'
import type { SignedFile } from './signed-file.ts'
import type { Statement } from './statement.ts'

/** The name of the sealed data key in a bundle. */
export const envelopeName = 'key.jwe.json'

/** The name of a signed file in a bundle. */
export function sealedName (name: string): string {
  return `${name}.sealed`
}

/** The kind that a bundle or signed folder is of by the name of its signature; a model where that tells nothing. */
export async function kindIn (directory: string): Promise<BundleKind> {
  return await exists(path.join(directory, datasetKind.signature)) ? datasetKind : modelKind
}

/** Everything there is in the bundle of a signed folder. */
export function bundleNames (kind: BundleKind, statement: Statement): readonly string[] {
  return [kind.signature, envelopeName, ...statement.files.map(({ name }) => sealedName(name))]
}

/** What the data key of a signed folder is bound to. */
export function keyContext ({ binding }: BundleKind, statementDigest: string): Buffer {
  return Buffer.from(`${binding}:${statementDigest}`)
}

/** What a sealed file is bound to: no file opens under another name, in another bundle, nor in one of another kind. */
export function fileContext ({ binding }: BundleKind, statementDigest: string, name: string): Buffer {
  return Buffer.from(`${binding}:${statementDigest}\n${name}`)
}

/**
 * The sealed data key of a bundle, read.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not there or malformed.
 */
export async function readBundleEnvelope (directory: string): Promise<KeyEnvelope> {
  return readEnvelope(await readSmallFile(directory, envelopeName, maxEnvelopeBytes), envelopeName)
}

/**
 * The data key of a bundle, which the caller zeroes.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_MODEL_TAMPERED, FMG_ERR_KEY_UNAVAILABLE as `openDataKey` does.
 */
export async function openBundleKey (kind: BundleKind, directory: string, statement: Statement, keys: readonly KeyProvider[]): Promise<Uint8Array> {
  return await openDataKey(await readBundleEnvelope(directory), keys, keyContext(kind, statement.digest), kind.noun)
}

/**
 * A file that must be signed for.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not.
 */
export function signedFile (statement: Statement, name: string): SignedFile {
  const file = statement.files.find((candidate) => candidate.name === name)
  if (file === undefined) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} is not among the signed files`, reason: 'missing-file' })
  return file
}
