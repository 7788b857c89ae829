import { createHash } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import { anyThat, boolean, integer, listOf, object, oneOf, optional, string, type Read } from '../options.ts'
import type { FileHash, Hashing } from './digest.ts'
import { openObject, parseJson, readPart } from './read-part.ts'
import { readResources } from './resources.ts'
import { safePath } from './safe-path.ts'
import type { SignedFile } from './signed-file.ts'

/** What a signer states: these files, with these digests, are this model. */
export interface Statement extends Hashing {
  /** `sha256:<hex>` over the payload's bytes: names the model in records, and is what its seal is bound to. */
  readonly digest: string
  /** SHA-256 over the digests of its files (section 6.5), in hexadecimal: what others name the model by. */
  readonly root: string
  /** The signer's name for the model: informational. */
  readonly name: string
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
    shard_size: optional(integer({ min: 1 })),
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
 * @throws FMG_ERR_BUNDLE_INVALID when it is malformed, of another or a deprecated kind, unsorted, names a file twice or outside of the
 * model, cuts one into shards that leave a doubt, or uses what is not read here: BLAKE3, followed symbolic links.
 */
export function readStatement (payload: Uint8Array, path: string): Statement {
  const { subject, predicateType: type, predicate } = readPart(readPayload, parseJson(payload, path), path)
  requirePredicateType(type, path)
  const [model, ...others] = subject
  if (model === undefined || others.length > 0) throw invalid(`${path} must be about one subject`, 'subject-count')
  const { resources, serialization } = readPart(readPredicate, predicate, `${path}.predicate`)
  const hashing = requireHashing(serialization, path)
  const files = readResources(resources, hashing, path)
  if (rootDigest(resources) !== model.digest.sha256) throw invalid(`the root digest of ${path} is not that of its files`, 'root-digest')
  return { digest: `sha256:${createHash('sha256').update(payload).digest('hex')}`, root: model.digest.sha256, name: model.name, ...hashing, files, ignorePaths: serialization.ignore_paths ?? [] }
}

function requirePredicateType (type: string, path: string): void {
  if (type === 'https://model_signing/Digests/v0.1') throw invalid(`${path} is of the deprecated kind Digests/v0.1: sign the model anew`, 'predicate-type')
  if (type !== predicateType) throw invalid(`${path} is not a model signature of version 1.0`, 'predicate-type')
}

function requireHashing (serialization: Read<typeof readPredicate>['serialization'], path: string): Hashing {
  const { method, hash_type: hash, shard_size: shardBytes, allow_symlinks: links } = serialization
  if (method !== 'files' && method !== 'shards') throw invalid(`${path} is serialized by ${JSON.stringify(method)}; only files and shards are read here`, 'serialization')
  // Section 5.2.2: the size is there with shards, and only with them.
  if ((method === 'shards') !== (shardBytes !== undefined)) throw invalid(`${path} is serialized by ${method} ${shardBytes === undefined ? 'without' : 'with'} a shard size`, 'serialization')
  if (links) throw invalid(`${path} allows symbolic links, which are not followed here`, 'symbolic-links')
  return { hash: requireHash(hash, path), shardBytes }
}

function requireHash (hash: string, path: string): FileHash {
  if (hash !== 'sha256' && hash !== 'blake2b') throw invalid(`${path} uses the hash ${JSON.stringify(hash)}; only sha256 and blake2b are read here`, 'hash')
  return hash
}

/** SHA-256 over the raw digests in order, whatever hash they are of (section 6.5). */
export function rootDigest (resources: readonly { readonly digest: string }[]): string {
  const hash = createHash('sha256')
  for (const { digest } of resources) hash.update(digest, 'hex')
  return hash.digest('hex')
}

function invalid (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail, reason })
}
