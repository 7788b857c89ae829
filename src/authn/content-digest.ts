import { createHash, type Hash } from 'node:crypto'
import { parseDictionary, serializeDictionary, type Dictionary } from 'structured-headers'
import { badUpload } from './bad-upload.ts'
import { fieldLines } from './signature-components.ts'

/** RFC 9530 section 5: those that are not broken. */
const hashes = { 'sha-256': 'sha256', 'sha-512': 'sha512' } as const

/** Digests of a content, by the algorithms of RFC 9530 that count here. */
export interface ContentDigest {
  readonly algorithm: keyof typeof hashes
  readonly digest: Buffer
}

const names: readonly ContentDigest['algorithm'][] = ['sha-256', 'sha-512']

/**
 * Reads `Content-Digest` (RFC 9530 section 2). Digests by other algorithms are left out.
 * @throws FMG_ERR_UPLOAD_INVALID where there is none by SHA-256 or SHA-512.
 */
export function readContentDigest (fields: readonly string[]): readonly ContentDigest[] {
  const members = dictionaryOf(fieldLines(fields, 'content-digest').join(', '))
  const digests = names.flatMap((algorithm) => {
    const [value] = members.get(algorithm) ?? []
    return value === undefined ? [] : [{ algorithm, digest: bytesOf(value) }]
  })
  if (digests.length === 0) throw badUpload('content-digest-missing', 'Content-Digest by sha-256 or sha-512 is missing')
  return digests
}

function dictionaryOf (text: string): Dictionary {
  try {
    return parseDictionary(text)
  } catch {
    throw badUpload('content-digest-malformed')
  }
}

function bytesOf (value: unknown): Buffer {
  if (!(value instanceof ArrayBuffer)) throw badUpload('content-digest-malformed')
  return Buffer.from(value)
}

/** The value of `Content-Digest`. */
export function contentDigestField ({ algorithm, digest }: ContentDigest): string {
  return serializeDictionary(new Map([[algorithm, [digest, new Map()]]]))
}

/** Holds a content against its digests while it passes. */
export interface DigestCheck {
  update (bytes: Uint8Array): void
  /** Whether all that has passed is what every one of the digests says. */
  isMatch (): boolean
}

/** Begins to hold a content against these digests: against all, since who would change it might choose the weaker. */
export function digestCheck (digests: readonly ContentDigest[]): DigestCheck {
  const running: readonly (readonly [Hash, Buffer])[] = digests.map(({ algorithm, digest }) => [createHash(hashes[algorithm]), digest])
  return {
    update (bytes) { for (const [hash] of running) hash.update(bytes) },
    isMatch: () => running.every(([hash, digest]) => hash.digest().equals(digest))
  }
}
