import { stat } from 'node:fs/promises'
import path from 'node:path'
import { exists } from '../files.ts'
import { modelKind } from './bundle-kind.ts'
import { readBundle, type VerificationMaterial } from './bundle.ts'
import { listFiles, readSmallFile } from './folder.ts'
import { envelopeName, readBundleEnvelope } from './sealed-bundle.ts'
import { readStatement, type Statement } from './statement.ts'

/** What can be said of a model without a key. None of it is verified. */
export interface ModelInspection {
  readonly statement: Statement
  /** Who claims to have signed: a key's hint, or the fingerprints of certificates. */
  readonly claimedSigner: { readonly method: VerificationMaterial['method'], readonly names: readonly string[] }
  /** Who it is said to be sealed for; `undefined` for a plaintext model. */
  readonly recipients?: readonly { readonly keyId: string, readonly algorithm: string }[]
  /** Every file there is, as it lies on the disk. */
  readonly files: readonly { readonly name: string, readonly bytes: number }[]
}

/**
 * Reads what a signed model, sealed or plaintext, says about itself.
 * @throws FMG_ERR_BUNDLE_INVALID when its signature or its sealed key is malformed.
 * @throws FMG_ERR_MODEL_TAMPERED for a symbolic link in its folder.
 */
export async function inspectModel (directory: string): Promise<ModelInspection> {
  const { material, payload } = readBundle(await readSmallFile(directory, modelKind.signature, modelKind.maxSignatureBytes), modelKind.signature)
  const inspection = { statement: readStatement(payload, modelKind.signature), claimedSigner: claimedSigner(material), files: await measure(directory) }
  if (!await exists(path.join(directory, envelopeName))) return inspection
  const { recipients } = await readBundleEnvelope(directory)
  return { ...inspection, recipients: recipients.map(({ keyId, algorithm }) => ({ keyId, algorithm })) }
}

function claimedSigner (material: VerificationMaterial): ModelInspection['claimedSigner'] {
  if (material.method === 'key') return { method: 'key', names: [material.hint] }
  if (material.method === 'certificate') return { method: 'certificate', names: material.chain.map(({ fingerprint256 }) => fingerprint256) }
  return { method: 'keyless', names: [material.certificate.fingerprint256] }
}

async function measure (directory: string): Promise<ModelInspection['files']> {
  const names = await listFiles(directory)
  return await Promise.all(names.map(async (name) => ({ name, bytes: (await stat(path.join(directory, name))).size })))
}
