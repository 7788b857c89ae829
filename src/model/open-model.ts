import { guardError } from '../errors.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { fileSource, unseal } from './cobblestone.ts'
import { openDataKey } from './data-key.ts'
import { partsOfBytes } from './digest.ts'
import { externalLocations } from './external-data.ts'
import { listFiles, readSmallFile, requireExactly, withFile } from './folder.ts'
import { manifestName, readManifest, type Manifest } from './manifest.ts'
import { bundleNames, fileContext, keyContext, modelName, readBundleEnvelope, sealedName, signedFile } from './sealed-bundle.ts'
import { requireLength, requireParts, type SignedFile } from './signed-file.ts'
import { checkSignerClaims } from './signer-claims.ts'
import type { Statement } from './statement.ts'
import type { ModelSigner, Trust, VerifiedStatement } from './trust.ts'
import { maxSignatureBytes, signatureName } from './verify-model.ts'
import { verifyStatement } from './verify-statement.ts'
import { wipe } from './wipe.ts'

export interface OpenModelOptions {
  /** Folder of a sealed bundle. */
  readonly directory: string
  /** Keys that may open its data key; the first it was sealed for is used, the next while that one cannot be reached. */
  readonly keys: readonly KeyProvider[]
  readonly trust: Trust
  /** The name asked for: a genuine bundle of another model is refused. Without it any trusted model is opened. */
  readonly expectName?: string
  /** The statement asked for, `sha256:<hex>`: another is refused before any key is asked for. */
  readonly expectDigest?: string
  /**
   * Looks at the signed manifest before any other file is decrypted, for instance whether this version is old.
   * What it throws refuses the model.
   */
  readonly admit?: ((manifest: Manifest, signer: ModelSigner) => void | Promise<void>) | undefined
}

/** A model whose every byte was signed for, in memory. */
export interface OpenedModel {
  readonly manifest: Manifest
  /** `sha256:<hex>`: what records name the model by. */
  readonly statementDigest: string
  readonly signer: ModelSigner
  /** Plaintext of every signed file, each alone in its memory. A session takes them: they are empty afterwards. */
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>
  /** Names of the files that the graph keeps tensors in. */
  readonly externalData: readonly string[]
  /** Overwrites every file with zeros. */
  zero (): Promise<void>
}

/**
 * Opens a sealed model, wholly into memory: signature and trust first, then the files' names, the data key, the manifest alone, and only
 * then the rest, if its signer may claim what the manifest says. What was decrypted is hashed and held against the signed digests.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED before any key is asked for or file decrypted.
 * @throws FMG_ERR_SIGNER_UNTRUSTED also when the manifest says what its signer may not claim.
 * @throws FMG_ERR_MODEL_TAMPERED when a file is missing, too many, changed, from another model, or not the model asked for.
 * @throws FMG_ERR_KEY_UNAVAILABLE when no key that opens it can be reached.
 */
export async function openModel (options: OpenModelOptions): Promise<OpenedModel> {
  const { directory, keys, trust } = options
  const verified = await verifyStatement(await readSmallFile(directory, signatureName, maxSignatureBytes), trust, signatureName)
  const { statement } = verified
  if (options.expectDigest !== undefined && options.expectDigest !== statement.digest) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: 'another model has taken its place', reason: 'another-model' })
  const opening = { directory, statement, manifest: signedFile(statement, manifestName), graph: signedFile(statement, modelName) }
  requireExactly(await listFiles(directory), bundleNames(statement))
  const dataKey = await openDataKey(await readBundleEnvelope(directory), keys, keyContext(statement.digest))
  try {
    return await openFiles({ ...opening, dataKey, files: new Map() }, verified, options)
  } finally {
    dataKey.fill(0)
  }
}

interface Opening {
  readonly directory: string
  readonly statement: Statement
  readonly manifest: SignedFile
  readonly graph: SignedFile
  readonly dataKey: Uint8Array
  /** What is open so far. */
  readonly files: Map<string, Uint8Array<ArrayBuffer>>
}

async function openFiles (opening: Opening, { signer, mayClaim }: VerifiedStatement, { expectName, admit }: OpenModelOptions): Promise<OpenedModel> {
  const { statement, files } = opening
  const zero = async (): Promise<void> => { await wipe(...files.values()) }
  try {
    const manifest = readManifest(await openFile(opening, opening.manifest))
    requireName(manifest, expectName)
    checkSignerClaims(manifest, mayClaim)
    await admit?.(manifest, signer)
    const externalData = requireExternalData(await openFile(opening, opening.graph), statement)
    for (const file of statement.files) if (!files.has(file.name)) await openFile(opening, file)
    return { manifest, statementDigest: statement.digest, signer, files, externalData, zero }
  } catch (error) {
    await zero()
    throw error
  }
}

async function openFile ({ directory, statement, dataKey, files }: Opening, file: SignedFile): Promise<Uint8Array> {
  const { name } = file
  const sealing = { key: dataKey, context: fileContext(statement.digest, name) }
  const plain = await withFile(directory, sealedName(name), async ({ handle, bytes }) => await unseal(fileSource(sealedName(name), handle, bytes), sealing))
  files.set(name, plain)
  requireLength(file, plain.length)
  requireParts(file, await partsOfBytes(plain, statement))
  return plain
}

function requireName (manifest: Manifest, expected: string | undefined): void {
  if (expected !== undefined && manifest.name !== expected) {
    throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `it is the model ${manifest.name}, not ${expected}`, reason: 'another-model' })
  }
}

function requireExternalData (model: Uint8Array, { files }: Statement): readonly string[] {
  const locations = externalLocations(model)
  const unsigned = locations.find((location) => !files.some(({ name }) => name === location))
  // The runtime would look for it on the disk, and take what lies there.
  if (unsigned !== undefined) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `model.onnx keeps tensors in ${JSON.stringify(unsigned)}, which is not signed for`, reason: 'external-data' })
  return locations
}
