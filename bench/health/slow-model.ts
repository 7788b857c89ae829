import { randomBytes } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { makePrivateFolder } from '../../src/files.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { keyFromFile, signerFromFile } from '../../src/secrets/key-file.ts'
import type { DataFolder } from '../../src/server/data-folder.ts'
import { node, onnx, value, weights } from '../../test/helpers/onnx.ts'

export const slowModelName = 'slow'

/** An inference request as small as its answer: the work is all inside. */
export const slowModelRequest = { inputs: [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [0] }] }

// Eight products of 1024 x 1024 matrices: about 100 ms of two cores.
const size = 1024
const products = 8

/** The mean of (w + x) to the ninth power. That it depends on x keeps the runtime from working it out while it loads. */
function slowModel (): Buffer {
  const names = ['w+x', ...Array.from({ length: products }, (_, index) => `product-${index}`)]
  return onnx({
    nodes: [
      node('Add', ['w', 'x'], ['w+x']),
      ...names.slice(1).map((name, index) => node('MatMul', [names[index] ?? '', 'w+x'], [name])),
      node('ReduceMean', [names.at(-1) ?? ''], ['y'])
    ],
    inputs: [value('x', [1, 1])],
    outputs: [value('y', [1, 1])],
    // All 1/1024, which every product leaves as it is: no number overflows or gets slow by being tiny.
    initializers: [weights('w', [size, size], new Uint8Array(new Float32Array(size * size).fill(1 / size).buffer))]
  })
}

/** Signs and seals the slow model into a data folder, by its own keys. */
export async function addSlowModel (data: DataFolder): Promise<void> {
  const source = path.join(data.root, 'slow.unsealed')
  await makePrivateFolder(source)
  await writeFile(path.join(source, 'model.onnx'), slowModel())
  await writeFile(path.join(source, 'model.json'), JSON.stringify({
    name: slowModelName, version: '1.0.0', task: 'waiting', org: 'acme', environment: 'production', sensitivity: 'public', nonce: randomBytes(32).toString('hex')
  }))
  await signModel({ directory: source, signer: await signerFromFile(data.modelSigningKey) })
  await sealModel({ source, destination: path.join(data.models, slowModelName), recipients: [await keyFromFile(data.modelWrappingKey)] })
  await rm(source, { recursive: true })
}
