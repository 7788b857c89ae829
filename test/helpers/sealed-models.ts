import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import { localKey } from '../../src/secrets/local-key.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signedModel, type Files } from './models.ts'

/** A key-encryption key of this name that counts how often it was asked to unwrap. */
export function countingKey (keyId: string, key: KeyObject = createSecretKey(randomBytes(32))): KeyProvider & { readonly calls: number } {
  const provider = localKey({ keyId, algorithm: 'A256KW', key })
  let calls = 0
  return {
    ...provider,
    get calls () { return calls },
    unwrap: async (wrapped, associatedData) => {
      calls++
      return await provider.unwrap(wrapped, associatedData)
    }
  }
}

/** A small model, signed and sealed. */
export async function sealedModel (folder: string, recipients: readonly KeyProvider[], files: Files = {}): Promise<string> {
  const source = await signedModel(`${folder}-source`, files)
  await sealModel({ source, destination: folder, recipients })
  return folder
}
