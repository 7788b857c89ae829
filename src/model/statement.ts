import { createHash } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import { anyThat, boolean, listOf, object, oneOf, optional, string, type Read } from '../options.ts'
import { digestLength, type FileHash } from './digest.ts'
import { byCodePoint } from './folder.ts'
import { openObject, parseJson, readPart } from './read-part.ts'
import { safePath } from './safe-path.ts'

/** One file that is signed for. */
export interface SignedFile {
  readonly name: string
  /** Hexadecimal. */
  readonly digest: string
}

/** What a signer states: these files, with these digests, are this model. */
export interface Statement {
  /** `sha256:<hex>` over the payload's bytes: names the model in records, and is what its seal is bound to. */
  readonly digest: string
  /** The signer's name for the model: informational. */
  readonly name: string
  readonly hash: FileHash
  /** Sorted by name. A model that is a single file may be named `.`, and is then alone. */
  readonly files: readonly SignedFile[]
  /** Paths left out of a plaintext folder when it was signed; no file under them may be loaded. */
  readonly ignorePaths: readonly string[]
}

/** The type of an in-toto statement. */
export const statementType = 'https://in-toto.io/Statement/v1'

/** The type of an OpenSSF Model Signing v1.0 predicate. */
export const predicateType = 'https://model_signing/signature/v1.0'

const hexDigits = string(/^[0-9a-f]+$/, 'lower-case hexadecimal digits')

const readPredicate = object({
  resources: listOf(openObject({ name: string(), algorithm: string(), digest: hexDigits })),
  serialization: object({
    method: string(),
    hash_type: string(),
    shard_size: optional(anyThat((value): value is unknown => value !== undefined, 'present')),
    allow_symlinks: boolean,
    ignore_paths: optional(listOf(safePath))
  })
})

const readPayload = object({
  _type: oneOf(statementType),
  subject: listOf(openObject({ name: string(), digest: openObject({ sha256: string(/^[0-9a-f]{64}$/, 'a SHA-256 digest') }) })),
  predicateType: string(),
  predicate: anyThat((value): value is unknown => value !== undefined, 'present')
})

/**
 * Reads the payload of a model signature (OpenSSF Model Signing v1.0 sections 5 and 8.3) and checks its root digest.
 * Call it on bytes whose signature holds.
 * @throws FMG_ERR_BUNDLE_INVALID when it is malformed, of another or a deprecated kind, unsorted, names a file twice or outside the
 * model, or uses what is not read here: shards, BLAKE3, followed symbolic links.
 */
export function readStatement (payload: Uint8Array, path: string): Statement {
  const { subject, predicateType: type, predicate } = readPart(readPayload, parseJson(payload, path), path)
  requirePredicateType(type, path)
  const [model, ...others] = subject
  if (model === undefined || others.length > 0) throw invalid(`${path} must be about one subject`, 'subject-count')
  const { resources, serialization } = readPart(readPredicate, predicate, `${path}.predicate`)
  const hash = requireHash(serialization, path)
  const files = resources.map(({ name, algorithm, digest }) => {
    if (algorithm !== hash || digest.length !== digestLength[hash]) throw invalid(`${path} has no ${hash} digest of ${JSON.stringify(name)}`, 'digest-form')
    return { name, digest }
  })
  requireNames(files, path)
  if (rootDigest(files) !== model.digest.sha256) throw invalid(`the root digest of ${path} is not that of its files`, 'root-digest')
  return { digest: `sha256:${createHash('sha256').update(payload).digest('hex')}`, name: model.name, hash, files, ignorePaths: serialization.ignore_paths ?? [] }
}

function requirePredicateType (type: string, path: string): void {
  if (type === 'https://model_signing/Digests/v0.1') throw invalid(`${path} is of the deprecated kind Digests/v0.1: sign the model anew`, 'predicate-type')
  if (type !== predicateType) throw invalid(`${path} is not a model signature of version 1.0`, 'predicate-type')
}

function requireHash (serialization: Read<typeof readPredicate>['serialization'], path: string): FileHash {
  const { method, hash_type: hash, shard_size: shardSize, allow_symlinks: links } = serialization
  // Section 6.3.2: who does not read shards must refuse them and say so.
  if (method !== 'files' || shardSize !== undefined) throw invalid(`${path} is serialized by ${JSON.stringify(method)}; only whole files are read here`, 'serialization')
  if (hash !== 'sha256' && hash !== 'blake2b') throw invalid(`${path} uses the hash ${JSON.stringify(hash)}; only sha256 and blake2b are read here`, 'hash')
  if (links) throw invalid(`${path} allows symbolic links, which are not followed here`, 'symbolic-links')
  return hash
}

function requireNames (files: readonly SignedFile[], path: string): void {
  if (files.length === 0) throw invalid(`${path} names no file`, 'no-file')
  if (files.length === 1 && files[0]?.name === '.') return
  for (const [index, { name }] of files.entries()) {
    readPart(safePath, name, `${path}.predicate.resources[${index}].name`)
    const before = files[index - 1]
    if (before !== undefined && byCodePoint(before.name, name) >= 0) throw invalid(`${path} names ${JSON.stringify(name)} twice or out of order`, 'order')
  }
}

/** SHA-256 over the raw digests in order, whatever hash they are of (section 6.5). */
export function rootDigest (files: readonly SignedFile[]): string {
  const hash = createHash('sha256')
  for (const { digest } of files) hash.update(digest, 'hex')
  return hash.digest('hex')
}

function invalid (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail, reason })
}
