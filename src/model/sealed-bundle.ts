import { guardError } from '../errors.ts'
import { readSmallFile } from './folder.ts'
import { readEnvelope, maxEnvelopeBytes, type KeyEnvelope } from './key-envelope.ts'
import type { SignedFile } from './signed-file.ts'
import type { Statement } from './statement.ts'
import { signatureName } from './verify-model.ts'

/** The name of the graph in a model's folder. */
export const modelName = 'model.onnx'

/** The name of the sealed data key in a bundle. */
export const envelopeName = 'key.jwe.json'

/** The name of a model's file in a bundle. */
export function sealedName (name: string): string {
  return `${name}.sealed`
}

/** Everything there is in the bundle of a signed model. */
export function bundleNames (statement: Statement): readonly string[] {
  return [signatureName, envelopeName, ...statement.files.map(({ name }) => sealedName(name))]
}

/** What the data key of a signed model is bound to. */
export function keyContext (statementDigest: string): Buffer {
  return Buffer.from(`fastify-model-guard/v1\nstatement:${statementDigest}`)
}

/** What a sealed file of a signed model is bound to: no file opens under another name, nor in another model. */
export function fileContext (statementDigest: string, name: string): Buffer {
  return Buffer.from(`fastify-model-guard/v1\nstatement:${statementDigest}\n${name}`)
}

/**
 * The sealed data key of a bundle, read.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not there or malformed.
 */
export async function readBundleEnvelope (directory: string): Promise<KeyEnvelope> {
  return readEnvelope(await readSmallFile(directory, envelopeName, maxEnvelopeBytes), envelopeName)
}

/**
 * A file that must be signed for.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not.
 */
export function signedFile (statement: Statement, name: string): SignedFile {
  const file = statement.files.find((candidate) => candidate.name === name)
  if (file === undefined) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} is not among the signed files`, reason: 'missing-file' })
  return file
}
