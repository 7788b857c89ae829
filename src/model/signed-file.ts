import { guardError } from '../errors.ts'

/** A run of a file's bytes that has a digest of its own. */
export interface SignedPart {
  readonly start: number
  /** The first byte that is not in it; left out where it is the whole file, however long that is. */
  readonly end?: number
  /** Hexadecimal. */
  readonly digest: string
}

/** One file that is signed for. */
export interface SignedFile {
  readonly name: string
  /** In the order of the bytes, without gap or overlap: one that is the whole file, or the shards of it. */
  readonly parts: readonly SignedPart[]
}

/**
 * Demands that a file has the length that was signed for, where one was: bytes after the last shard are in no digest.
 * @throws FMG_ERR_MODEL_TAMPERED
 */
export function requireLength ({ name, parts }: SignedFile, bytes: number): void {
  const end = parts.at(-1)?.end
  if (end !== undefined && end !== bytes) throw changed(name)
}

/** A part as it is; a digest that nobody gave is that of nothing. */
export type FoundPart = Omit<SignedPart, 'digest'> & { readonly digest: string | undefined }

/**
 * Holds the parts of a file as it is against those that were signed for. Whoever hashes them in another order, or side by side, gives them in
 * the order of the bytes, and checks the length first.
 * @throws FMG_ERR_MODEL_TAMPERED
 */
export function requireParts ({ name, parts }: SignedFile, found: readonly FoundPart[]): void {
  const isSame = ({ start, end, digest }: SignedPart, index: number): boolean => {
    const other = found[index]
    return other?.start === start && other.end === end && other.digest === digest
  }
  if (found.length !== parts.length || !parts.every(isSame)) throw changed(name)
}

/** The error for a file that is not the one that was signed for. */
export function changed (name: string): Error {
  return guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${name} is not the file that was signed for`, reason: 'digest' })
}
