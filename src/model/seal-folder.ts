import { randomBytes } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists, syncFolder, writeFileAtomic } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import type { BundleKind } from './bundle-kind.ts'
import { readBundle } from './bundle.ts'
import { seal, type SealingKey } from './cobblestone.ts'
import { sealDataKey } from './data-key.ts'
import { digesting, readBlocks, startParts, type Hashing } from './digest.ts'
import { readSmallFile, withFile } from './folder.ts'
import { telling, type OnProgress } from './progress.ts'
import { envelopeName, fileContext, keyContext, sealedName, signedFile } from './sealed-bundle.ts'
import { checkSignerClaims } from './signer-claims.ts'
import { requireParts, type SignedFile } from './signed-file.ts'
import { readStatement, type Statement } from './statement.ts'
import type { Trust } from './trust.ts'
import { readSignedManifest, requireListing } from './verify-folder.ts'
import { verifyStatement } from './verify-statement.ts'
import { writeFolder } from './write-folder.ts'

export interface SealFolderOptions {
  /** Plaintext folder with its signature. */
  readonly source: string
  /** The bundle's folder: must not exist, its parent must. */
  readonly destination: string
  /** Who can open it: 1 to 16 keys of different names. */
  readonly recipients: readonly KeyProvider[]
  /** Checks the signature and its signer too. Without it that is left to whoever opens; that the files are those signed for never is. */
  readonly trust?: Trust
  /** Is told how far each file is, in bytes of plaintext that are read and sealed: about every 16 MiB, and when it is done. Must not throw. */
  readonly onProgress?: OnProgress
}

/**
 * Seals a signed folder: a new folder with the signature in the clear, every signed file as Cobblestone-256 under one fresh data key, and
 * that key sealed for the recipients. The folder is there whole or not at all. What the signer ignored is left out.
 * @returns what is signed and sealed.
 * @throws FMG_ERR_FILE when the destination exists or cannot be written.
 * @throws FMG_ERR_BUNDLE_INVALID when there is no signature, or a file that the kind needs is not among the signed ones or not usable.
 * @throws FMG_ERR_MODEL_TAMPERED when the files are not those that were signed for.
 */
export async function sealFolder (kind: BundleKind, options: SealFolderOptions): Promise<Statement> {
  const { source, trust } = options
  const destination = path.resolve(options.destination)
  const signature = await readSmallFile(source, kind.signature, kind.maxSignatureBytes)
  const statement = readStatement(readBundle(signature, kind.signature).payload, kind.signature)
  const mayClaim = trust === undefined ? [{}] : (await verifyStatement(signature, trust, kind.signature)).mayClaim
  for (const name of kind.required) signedFile(statement, name)
  await requireListing(source, statement, [kind.signature])
  checkSignerClaims(await readSignedManifest(kind, source, statement), mayClaim)
  if (await exists(destination)) throw guardError('FMG_ERR_FILE', { detail: `the destination of a sealed ${kind.noun} must not exist`, reason: 'destination' })
  await writeFolder(destination, `the sealed ${kind.noun}`, async (folder) => {
    await writeSealed(kind, folder, statement, options)
    await writeFileAtomic(path.join(folder, kind.signature), signature, 0o644)
  })
  return statement
}

async function writeSealed (kind: BundleKind, folder: string, statement: Statement, options: SealFolderOptions): Promise<void> {
  const key = randomBytes(32)
  try {
    await writeFileAtomic(path.join(folder, envelopeName), await sealDataKey(key, options.recipients, keyContext(kind, statement.digest)), 0o644)
    for (const file of statement.files) await sealFile(path.join(folder, sealedName(file.name)), file, statement, { key, context: fileContext(kind, statement.digest, file.name) }, options)
    for (const parent of parentsOf(statement.files)) await syncFolder(path.join(folder, parent))
  } finally {
    key.fill(0)
  }
}

/** Every folder that files stand in, or that a folder of files stands in. */
function parentsOf (files: readonly SignedFile[]): ReadonlySet<string> {
  return new Set(files.flatMap(({ name }) => name.split('/').map((_part, index, parts) => parts.slice(0, index).join('/'))))
}

async function sealFile (target: string, file: SignedFile, hashing: Hashing, sealing: SealingKey, { source, onProgress = () => undefined }: SealFolderOptions): Promise<void> {
  const { name } = file
  await mkdir(path.dirname(target), { recursive: true })
  await withFile(source, name, async ({ handle, bytes }) => {
    const digests = startParts(hashing)
    const out = await open(target, 'wx', 0o644)
    try {
      const plain = telling(digesting(readBlocks(handle), digests), { name, totalBytes: bytes }, onProgress)
      for await (const block of seal(plain, sealing)) await out.writeFile(block)
      await out.datasync()
    } finally {
      await out.close()
    }
    // The very bytes that were sealed: a file that changes meanwhile is not sealed by mistake.
    requireParts(file, digests.end())
  })
}
