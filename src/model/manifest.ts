import { listOf, optional } from '../options.ts'
import { manifestVersion, readDescriptor, readMembers, readName, readNonce, readTime, readWord, type ReadManifest } from './manifest-parts.ts'

/** The name of the manifest in a model's folder. */
export const manifestName = 'model.json'

const shape = {
  name: readName,
  version: manifestVersion,
  task: readWord,
  org: readWord,
  environment: readWord,
  sensitivity: readWord,
  trained_by: optional(readWord),
  trained_at: optional(readTime),
  training_data: optional(listOf(readDescriptor)),
  code: optional(readDescriptor),
  nonce: readNonce
}

/** What a model says of itself, in its signed `model.json`. */
export type Manifest = ReadManifest<typeof shape>

/**
 * Reads `model.json`. Only after its signature was verified do its words mean anything.
 * @throws FMG_ERR_BUNDLE_INVALID naming the member that is missing or malformed.
 */
export function readManifest (bytes: Uint8Array): Manifest {
  return readMembers(shape, bytes, manifestName)
}
