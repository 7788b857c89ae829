import { generateKeyPairSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { signModel } from '../../src/model/sign-model.ts'
import type { Trust } from '../../src/model/trust.ts'
import { addModel } from './onnx.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** The signer of every test model. */
export const signer = localSigner(privateKey)

/** Trust in that signer alone. */
export const trust: Trust = { keys: [publicKey], authorities: [] }

/** A manifest with everything it needs. */
export function manifestOf (members: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    name: 'fraud',
    version: '1.2.0',
    task: 'classification',
    org: 'acme',
    environment: 'production',
    sensitivity: 'high',
    nonce: '00112233445566778899aabbccddeeff',
    ...members
  })
}

export type Files = Readonly<Record<string, string | Uint8Array>>

/** Writes files into a new folder. */
export async function writeFiles (folder: string, files: Files): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, content)
  }
  return folder
}

/** A small model with its signature. */
export async function signedModel (folder: string, files: Files = {}): Promise<string> {
  await writeFiles(folder, { 'model.onnx': addModel(), 'model.json': manifestOf(), ...files })
  await signModel({ directory: folder, signer })
  return folder
}
