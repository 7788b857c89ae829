import { listOf, optional } from '../options.ts'
import { manifestVersion, readDescriptor, readMembers, readName, readNonce, readTime, readWord, type ReadManifest } from './manifest-parts.ts'

/** The name of the manifest in a dataset's folder. */
export const datasetManifestName = 'dataset.json'

const shape = {
  name: readName,
  version: manifestVersion,
  org: readWord,
  sensitivity: readWord,
  licence: readWord,
  created: readTime,
  source: readWord,
  parents: optional(listOf(readDescriptor)),
  nonce: readNonce
}

/** What a dataset says of itself, in its signed `dataset.json`. */
export type DatasetManifest = ReadManifest<typeof shape>

/**
 * Reads `dataset.json`. Only after its signature was verified do its words mean anything.
 * @throws FMG_ERR_BUNDLE_INVALID naming the member that is missing or malformed.
 */
export function readDatasetManifest (bytes: Uint8Array): DatasetManifest {
  return readMembers(shape, bytes, datasetManifestName)
}
