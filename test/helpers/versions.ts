import path from 'node:path'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { manifestOf } from './models.ts'
import { addModel } from './onnx.ts'
import { sealedModel } from './sealed-models.ts'

/** Seals a version of the model `fraud`, which gives x + 100 times the number it is called by. @returns its folder. */
export async function sealedVersion (folder: string, key: KeyProvider, number: number, manifest: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const w = Array.from({ length: 3 }, () => number * 100)
  return await sealedModel(path.join(folder, `v${number}`), [key], { 'model.onnx': addModel(w), 'model.json': manifestOf({ version: String(number), ...manifest }) })
}
