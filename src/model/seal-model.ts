import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { exists, syncFolder, writeFileAtomic } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { readBundle } from './bundle.ts'
import { seal } from './cobblestone.ts'
import { sealDataKey } from './data-key.ts'
import { digesting, readBlocks, startParts } from './digest.ts'
import { readSmallFile, withFile } from './folder.ts'
import { manifestName, maxManifestBytes, readManifest } from './manifest.ts'
import { telling, type OnProgress } from './progress.ts'
import { envelopeName, fileContext, keyContext, modelName, sealedName, signedFile } from './sealed-bundle.ts'
import { checkSignerClaims } from './signer-claims.ts'
import { requireParts, type SignedFile } from './signed-file.ts'
import { readStatement, type Statement } from './statement.ts'
import type { Trust } from './trust.ts'
import { maxSignatureBytes, requireListing, signatureName } from './verify-model.ts'
import { verifyStatement } from './verify-statement.ts'

export interface SealModelOptions {
  /** Folder of a plaintext model with its `model.sig`. */
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
 * Seals a signed model: a new folder with the signature in the clear, every signed file as Cobblestone-256 under one fresh data key, and
 * that key sealed for the recipients. The folder is there whole or not at all. What the signer ignored is left out.
 * @returns what is signed and sealed.
 * @throws FMG_ERR_FILE when the destination exists or cannot be written.
 * @throws FMG_ERR_BUNDLE_INVALID when there is no signature, or no usable `model.json` and `model.onnx` among the signed files.
 * @throws FMG_ERR_MODEL_TAMPERED when the files are not those that were signed for.
 */
export async function sealModel (options: SealModelOptions): Promise<Statement> {
  const { source, trust } = options
  const destination = path.resolve(options.destination)
  const signature = await readSmallFile(source, signatureName, maxSignatureBytes)
  const statement = readStatement(readBundle(signature, signatureName).payload, signatureName)
  const mayClaim = trust === undefined ? [{}] : (await verifyStatement(signature, trust, signatureName)).mayClaim
  for (const name of [manifestName, modelName]) signedFile(statement, name)
  await requireListing(source, statement, [signatureName])
  checkSignerClaims(readManifest(await readSmallFile(source, manifestName, maxManifestBytes)), mayClaim)
  if (await exists(destination)) throw guardError('FMG_ERR_FILE', { detail: 'the destination of a sealed model must not exist', reason: 'destination' })
  await writeFolder(destination, async (folder) => {
    await writeSealed(folder, statement, options)
    await writeFileAtomic(path.join(folder, signatureName), signature, 0o644)
  })
  return statement
}

/** Fills a folder beside the destination and moves it there when it is whole. */
async function writeFolder (destination: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const temporary = `${destination}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await mkdir(temporary)
    await fill(temporary)
    await rename(temporary, destination)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error instanceof Error && 'syscall' in error ? guardError('FMG_ERR_FILE', { detail: 'the sealed model cannot be written', cause: error }) : error
  }
  await syncFolder(path.dirname(destination))
}

async function writeSealed (folder: string, statement: Statement, options: SealModelOptions): Promise<void> {
  const key = randomBytes(32)
  try {
    await writeFileAtomic(path.join(folder, envelopeName), await sealDataKey(key, options.recipients, keyContext(statement.digest)), 0o644)
    for (const file of statement.files) await sealFile(folder, file, statement, key, options)
    for (const parent of parentsOf(statement.files)) await syncFolder(path.join(folder, parent))
  } finally {
    key.fill(0)
  }
}

/** Every folder that files stand in, or that a folder of files stands in. */
function parentsOf (files: readonly SignedFile[]): ReadonlySet<string> {
  return new Set(files.flatMap(({ name }) => name.split('/').map((_part, index, parts) => parts.slice(0, index).join('/'))))
}

async function sealFile (folder: string, file: SignedFile, statement: Statement, key: Uint8Array, { source, onProgress = () => undefined }: SealModelOptions): Promise<void> {
  const { name } = file
  const target = path.join(folder, sealedName(name))
  await mkdir(path.dirname(target), { recursive: true })
  await withFile(source, name, async ({ handle, bytes }) => {
    const digests = startParts(statement)
    const out = await open(target, 'wx', 0o644)
    try {
      const plain = telling(digesting(readBlocks(handle), digests), { name, totalBytes: bytes }, onProgress)
      for await (const block of seal(plain, { key, context: fileContext(statement.digest, name) })) await out.writeFile(block)
      await out.datasync()
    } finally {
      await out.close()
    }
    // The very bytes that were sealed: a file that changes meanwhile is not sealed by mistake.
    requireParts(file, digests.end())
  })
}
