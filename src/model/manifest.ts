import { listOf, object, optional, string, type ReadShape } from '../options.ts'
import { openObject, otherMembers, parseJson, readPart } from './read-part.ts'

/** The name of the manifest in a model's folder. */
export const manifestName = 'model.json'

/** A manifest is read by people: a larger one is not a manifest. */
export const maxManifestBytes = 1024 * 1024

const word = string(/^[^\p{Cc}]{1,256}$/u, 'a string of 1 to 256 characters')

// in-toto's ResourceDescriptor, as far as it is needed: what, and its digest.
const descriptor = object({ name: word, digest: object({ sha256: string(/^[0-9a-f]{64}$/, '64 hexadecimal digits') }) })

/** Reads the version of a model. */
export const manifestVersion = string(/^[0-9A-Za-z][0-9A-Za-z._+-]{0,63}$/, 'a version of letters, digits, dot, underscore, plus and dash')

const shape = {
  name: string(/^[a-z0-9][a-z0-9._-]{0,127}$/, 'a name of a-z, 0-9, dot, underscore and dash'),
  version: manifestVersion,
  task: word,
  org: word,
  environment: word,
  sensitivity: word,
  trained_by: optional(word),
  trained_at: optional(string(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/, 'a time as RFC 3339 writes it')),
  training_data: optional(listOf(descriptor)),
  code: optional(descriptor),
  // Random, so that nobody can tell which of a few likely manifests stands behind a digest.
  nonce: string(/^([0-9a-f]{2}){16,64}$/, 'at least 16 random bytes in hexadecimal')
}

/** What a model says of itself, in its signed `model.json`. */
export interface Manifest extends ReadShape<typeof shape> {
  /** Every other member: free attributes, for policies to match. */
  readonly attributes: Readonly<Record<string, unknown>>
}

/**
 * Reads `model.json`. Only after its signature was verified do its words mean anything.
 * @throws FMG_ERR_BUNDLE_INVALID naming the member that is missing or malformed.
 */
export function readManifest (bytes: Uint8Array): Manifest {
  const value = parseJson(bytes, manifestName)
  const known = readPart(openObject(shape), value, manifestName)
  return Object.freeze({ ...known, attributes: readPart(otherMembers(shape), value, manifestName) })
}
