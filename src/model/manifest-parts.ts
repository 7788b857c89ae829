import { object, string, type Reader, type ReadShape } from '../options.ts'
import { openObject, otherMembers, parseJson, readPart } from './read-part.ts'

/** A manifest is read by people: a larger one is not a manifest. */
export const maxManifestBytes = 1024 * 1024

/** A short text. */
export const readWord = string(/^[^\p{Cc}]{1,256}$/u, 'a string of 1 to 256 characters')

/** What a model or dataset is called. */
export const readName = string(/^[a-z0-9][a-z0-9._-]{0,127}$/, 'a name of a-z, 0-9, dot, underscore and dash')

/** Reads a version. */
export const manifestVersion = string(/^[0-9A-Za-z][0-9A-Za-z._+-]{0,63}$/, 'a version of letters, digits, dot, underscore, plus and dash')

/** Reads a time, and leaves it as it is written. */
export const readTime = string(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/, 'a time as RFC 3339 writes it')

/** in-toto's ResourceDescriptor, as far as it is needed: what, and its digest. */
export const readDescriptor = object({ name: readWord, digest: object({ sha256: string(/^[0-9a-f]{64}$/, '64 hexadecimal digits') }) })

/** Random, so that nobody can tell which of a few likely manifests stands behind a digest. */
export const readNonce = string(/^([0-9a-f]{2}){16,64}$/, 'at least 16 random bytes in hexadecimal')

/** What a manifest says in the members of a shape, and every other member. */
export type ReadManifest<S extends Readonly<Record<string, Reader<unknown>>>> = ReadShape<S> & {
  /** Every other member: free attributes, for policies to match. */
  readonly attributes: Readonly<Record<string, unknown>>
}

/**
 * Reads a manifest of this shape.
 * @param name of its file, for the message.
 * @throws FMG_ERR_BUNDLE_INVALID naming the member that is missing or malformed.
 */
export function readMembers<S extends Readonly<Record<string, Reader<unknown>>>> (shape: S, bytes: Uint8Array, name: string): ReadManifest<S> {
  const value = parseJson(bytes, name)
  const known = readPart(openObject(shape), value, name)
  const manifest: ReadManifest<S> = { ...known, attributes: readPart(otherMembers(shape), value, name) }
  Object.freeze(manifest)
  return manifest
}
