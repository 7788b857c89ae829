import path from 'node:path'
import { writeFileAtomic } from '../files.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { readBundle } from './bundle.ts'
import { openDataKey, sealDataKey } from './data-key.ts'
import { readSmallFile } from './folder.ts'
import { envelopeName, keyContext, readBundleEnvelope } from './sealed-bundle.ts'
import { readStatement } from './statement.ts'
import { maxSignatureBytes, signatureName } from './verify-model.ts'

export interface RewrapModelOptions {
  /** Folder of a sealed bundle. */
  readonly directory: string
  /** Keys, of which one opens it now. */
  readonly keys: readonly KeyProvider[]
  /** Who can open it from now on: the whole new set, 1 to 16 keys of different names. */
  readonly recipients: readonly KeyProvider[]
}

/**
 * Seals a bundle's data key for a new set of recipients. Touches `key.jwe.json` alone, all of it or not at all.
 * Takes nothing back from a recipient who is left out: the data key stays the same, and he may have kept it. Seal anew for that.
 * @throws FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID, FMG_ERR_KEY_UNAVAILABLE when the data key does not open.
 * @throws FMG_ERR_OPTION_INVALID for recipients that cannot be.
 */
export async function rewrapModel ({ directory, keys, recipients }: RewrapModelOptions): Promise<void> {
  const { payload } = readBundle(await readSmallFile(directory, signatureName, maxSignatureBytes), signatureName)
  // Not verified: the data key opens for the statement it was sealed for, and no other.
  const context = keyContext(readStatement(payload, signatureName).digest)
  const dataKey = await openDataKey(await readBundleEnvelope(directory), keys, context)
  try {
    await writeFileAtomic(path.join(directory, envelopeName), await sealDataKey(dataKey, recipients, context), 0o644)
  } finally {
    dataKey.fill(0)
  }
}
