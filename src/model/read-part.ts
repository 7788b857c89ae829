import { guardError } from '../errors.ts'
import { object, optionInvalid, string, type Reader, type ReadShape } from '../options.ts'

/**
 * Reads a part of a bundle with a strict reader. What does not fit is the bundle's fault, not an option's.
 * @param path where in the bundle the part stands, for the message.
 * @throws FMG_ERR_BUNDLE_INVALID
 */
export function readPart<T> (reader: Reader<T>, value: unknown, path: string): T {
  try {
    return reader(value, path)
  } catch (cause) {
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: String(cause).replace(/^.*?option invalid: /, ''), reason: 'malformed', cause })
  }
}

/**
 * JSON from bytes of a bundle: UTF-8 without exception, and frozen to its last member.
 * @throws FMG_ERR_BUNDLE_INVALID
 */
export function parseJson (bytes: Uint8Array, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes), (_name, value: unknown) => Object.freeze(value))
  } catch (cause) {
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${path} is not JSON`, reason: 'malformed', cause })
  }
}

type Shape = Readonly<Record<string, Reader<unknown>>>

/** An object with at least these members; others are ignored, as in-toto and Sigstore demand of their readers. */
export function openObject<S extends Shape> (shape: S): Reader<ReadShape<S>> {
  const read = object(shape)
  return (value, path) => read(Object.fromEntries(entriesOf(value, path).filter(([name]) => Object.hasOwn(shape, name))), path)
}

/** The members of an object that `openObject` ignores; frozen. */
export function otherMembers (shape: Shape): Reader<Readonly<Record<string, unknown>>> {
  return (value, path) => Object.freeze(Object.fromEntries(entriesOf(value, path).filter(([name]) => !Object.hasOwn(shape, name))))
}

function entriesOf (value: unknown, path: string): readonly (readonly [string, unknown])[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw optionInvalid(path, 'an object', value)
  return Object.entries(value)
}

/** Bytes as base64 (RFC 4648 section 4), in the one way to write them. */
export const base64 = bytesIn('base64')

/** Bytes as base64url without padding (RFC 4648 section 5), in the one way to write them. */
export const base64url = bytesIn('base64url')

function bytesIn (encoding: 'base64' | 'base64url'): Reader<Buffer> {
  const read = string()
  return (value, path) => {
    const text = read(value, path)
    const bytes = Buffer.from(text, encoding)
    // Node reads both alphabets, stops at padding and ignores what it does not know.
    if (bytes.toString(encoding) !== text) throw optionInvalid(path, encoding, value)
    return bytes
  }
}
