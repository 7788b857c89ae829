import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import type { BundleKind, SignedManifest } from './bundle-kind.ts'
import { readBundle } from './bundle.ts'
import { readSmallFile } from './folder.ts'
import { FileOpener } from './open-files.ts'
import { envelopeName, openBundleKey } from './sealed-bundle.ts'
import { readStatement, type Statement } from './statement.ts'
import { readSignedManifest } from './verify-folder.ts'

/** A folder, sealed or plain, with a signature that is believed in nothing yet. */
export interface FoundFolder {
  readonly directory: string
  readonly kind: BundleKind['noun']
}

/**
 * The first of these folders, or of those in them, about which this is stated; whoever stated it.
 * @throws FMG_ERR_FILE for a folder that cannot be read.
 */
export async function findSigned (folders: readonly string[], kinds: readonly BundleKind[], isWanted: (statement: Statement) => boolean): Promise<FoundFolder | undefined> {
  for (const folder of folders) {
    for (const directory of [folder, ...await foldersIn(folder)]) {
      for (const kind of kinds) {
        if (await exists(path.join(directory, kind.signature)) && isWanted(await statementIn(kind, directory))) return { directory, kind: kind.noun }
      }
    }
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

async function statementIn ({ signature, maxSignatureBytes }: BundleKind, directory: string): Promise<Statement> {
  return readStatement(readBundle(await readSmallFile(directory, signature, maxSignatureBytes), signature).payload, signature)
}

/** Whether a signed folder is a sealed bundle. */
export async function isSealed (directory: string): Promise<boolean> {
  return await exists(path.join(directory, envelopeName))
}

/**
 * The manifest of a signed folder, sealed or plain, held against its signed digest.
 * @throws FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID, FMG_ERR_KEY_UNAVAILABLE
 */
export async function openManifest<M extends SignedManifest> (kind: BundleKind<M>, directory: string, statement: Statement, keys: readonly KeyProvider[]): Promise<M> {
  if (!await isSealed(directory)) return await readSignedManifest(kind, directory, statement)
  const dataKey = await openBundleKey(kind, directory, statement, keys)
  try {
    return kind.read(await new FileOpener({ kind, directory, statement, dataKey, threads: 0, onProgress: () => undefined }).openManifest())
  } finally {
    dataKey.fill(0)
  }
}
