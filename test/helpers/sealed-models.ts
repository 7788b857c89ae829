import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import { seal } from '../../src/model/cobblestone.ts'
import { sealDataKey } from '../../src/model/data-key.ts'
import type { BundleKind } from '../../src/model/bundle-kind.ts'
import { fileContext, keyContext } from '../../src/model/sealed-bundle.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { collect } from './bytes-source.ts'
import { signedModel, writeFiles, type Files } from './models.ts'

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

/** Seals what a key holder likes for somebody else's statement, always under one data key: nothing is checked. */
export async function sealByHand (kind: BundleKind, folder: string, digest: string, files: Files, key: KeyProvider): Promise<string> {
  const dataKey = Buffer.alloc(32, 7)
  const sealed = await Promise.all(Object.entries(files).map(async ([name, content]) => [`${name}.sealed`, await collect(seal([Buffer.from(content)], { key: dataKey, context: fileContext(kind, digest, name) }))] as const))
  return await writeFiles(folder, { 'key.jwe.json': await sealDataKey(dataKey, [key], keyContext(kind, digest)), ...Object.fromEntries(sealed) })
}
