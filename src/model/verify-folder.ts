import path from 'node:path'
import type { BundleKind, SignedManifest } from './bundle-kind.ts'
import { partsOfBytes, partsOfFile } from './digest.ts'
import { listFiles, readSmallFile, requireExactly } from './folder.ts'
import { maxManifestBytes } from './manifest-parts.ts'
import { requireParts } from './signed-file.ts'
import type { Statement } from './statement.ts'
import type { ModelSigner, Trust, VerifiedStatement } from './trust.ts'
import { verifyStatement } from './verify-statement.ts'
import { signedFile } from './sealed-bundle.ts'

/** Left out of every signature (OpenSSF Model Signing section 6.2), at the top of the folder. */
export const alwaysIgnored: readonly string[] = ['.git', '.gitattributes', '.github', '.gitignore']

export interface VerifyFolderOptions<M extends SignedManifest> {
  /** Signature file; by default the one in the folder. */
  readonly signature?: string
  readonly trust: Trust
  /** Relative paths that may be there without being signed for, beside those the signer names. None of them may be loaded. */
  readonly ignorePaths?: readonly string[]
  /** Looks at the signed manifest, for instance whether this version is old. What it throws refuses the folder. */
  readonly admit?: ((manifest: M, signer: ModelSigner) => void | Promise<void>) | undefined
}

/** Reads a signature file of this kind, and verifies it and who made it. Says nothing about any file it names. */
export async function verifySignature (kind: BundleKind, signature: string, trust: Trust): Promise<VerifiedStatement> {
  const name = path.basename(signature)
  return await verifyStatement(await readSmallFile(path.dirname(signature), name, kind.maxSignatureBytes), trust, name)
}

/** The name of a file as a signature of this folder would have it. */
export function relativeName (folder: string, file: string): string {
  return path.relative(folder, file).split(path.sep).join('/')
}

/**
 * Demands that a plaintext folder holds exactly what a statement names, what it ignores left aside, with the digests it names.
 * @param besides relative paths that may be there as well: the signature's own, and what the caller ignores.
 * @throws FMG_ERR_MODEL_TAMPERED naming the first file that differs, is missing, not signed for, or a symbolic link.
 */
export async function requireFolder (folder: string, statement: Statement, besides: readonly string[]): Promise<void> {
  await requireListing(folder, statement, besides)
  await requireDigests(folder, statement)
}

/**
 * Demands that a plaintext folder holds exactly what a statement names, what it ignores left aside.
 * @param besides relative paths that may be there as well: the signature's own, and what the caller ignores.
 */
export async function requireListing (folder: string, statement: Statement, besides: readonly string[]): Promise<void> {
  const names = statement.files.map(({ name }) => name)
  // What is named is looked at, even under a path that is ignored.
  const ignored = [...alwaysIgnored, ...statement.ignorePaths, ...besides].filter((name) => !names.some((file) => `${file}/`.startsWith(`${name}/`)))
  requireExactly(await listFiles(folder, new Set(ignored)), names)
}

/** Demands that the files a statement names have the digests it names. */
export async function requireDigests (folder: string, statement: Statement): Promise<void> {
  for (const file of statement.files) requireParts(file, await partsOfFile(folder, file.name, statement))
}

/**
 * The manifest of a plaintext folder, held against its digest as it is read.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not signed for, larger than a manifest is, or malformed; FMG_ERR_MODEL_TAMPERED when it is another.
 */
export async function readSignedManifest<M extends SignedManifest> (kind: BundleKind<M>, folder: string, statement: Statement): Promise<M> {
  const file = signedFile(statement, kind.manifest)
  const bytes = await readSmallFile(folder, kind.manifest, maxManifestBytes)
  requireParts(file, await partsOfBytes(bytes, statement))
  return kind.read(bytes)
}
