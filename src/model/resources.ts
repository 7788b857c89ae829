import { guardError, type GuardError } from '../errors.ts'
import { digestLength, type Hashing } from './digest.ts'
import { byCodePoint } from './folder.ts'
import { isSafePath } from './safe-path.ts'
import type { SignedFile, SignedPart } from './signed-file.ts'

/** A resource of a model signature, as it is written. */
export interface Resource {
  readonly name: string
  readonly algorithm: string
  readonly digest: string
}

interface NamedPart {
  readonly name: string
  readonly file: string
  readonly part: SignedPart
}

// The last two numbers only: a file's own name may have colons in it (section 6.3.2).
const shardName = /^(?<file>.+):(?<start>0|[1-9]\d{0,14}):(?<end>[1-9]\d{0,14})$/su

/**
 * Gathers the files of a model signature from its resources (OpenSSF Model Signing v1.0 sections 5.2.1 and 6.3).
 * @returns sorted by name.
 * @throws FMG_ERR_BUNDLE_INVALID when there is none, when one is named twice, out of order or outside of the model, when a digest is of
 * another kind, or when shards leave a gap, overlap or are of another size.
 */
export function readResources (resources: readonly Resource[], hashing: Hashing, path: string): readonly SignedFile[] {
  const parts = resources.map((resource) => readResource(resource, hashing, path))
  if (parts.length === 0) throw invalid(`${path} names no file`, 'no-file')
  requireNames(parts, path)
  requireOrder(parts, path)
  const files = gather(parts)
  if (hashing.shardBytes !== undefined) for (const file of files) requireShards(file, hashing.shardBytes, path)
  return files
}

function readResource ({ name, algorithm, digest }: Resource, { hash, shardBytes }: Hashing, path: string): NamedPart {
  // The reference tool writes the shard's size into the name of the algorithm, which the standard does not.
  const isKnown = algorithm === hash || (shardBytes !== undefined && algorithm === `${hash}-sharded-${shardBytes}`)
  if (!isKnown || digest.length !== digestLength[hash]) throw invalid(`${path} has no ${hash} digest of ${JSON.stringify(name)}`, 'digest-form')
  if (shardBytes === undefined) return { name, file: name, part: { start: 0, digest } }
  const { file, start, end } = shardName.exec(name)?.groups ?? {}
  if (file === undefined) throw invalid(`${path} names ${JSON.stringify(name)}, which is no shard of a file`, 'shard')
  return { name, file, part: { start: Number(start), end: Number(end), digest } }
}

function requireNames (parts: readonly NamedPart[], path: string): void {
  // The reference tool names a model that is one file by a dot.
  if (parts.every(({ file }) => file === '.')) return
  const outside = parts.find(({ file }) => !isSafePath(file))
  if (outside !== undefined) throw invalid(`${path} names ${JSON.stringify(outside.file)}, which is no relative path inside the model`, 'file-name')
}

/** By name, as the standard has it, or by folder, file and beginning, as the reference tool does; by the one or the other throughout. */
function requireOrder (parts: readonly NamedPart[], path: string): void {
  const firstWrong = (compare: (a: NamedPart, b: NamedPart) => number): NamedPart | undefined => parts.find((part, index) => {
    const before = parts[index - 1]
    return before !== undefined && compare(before, part) >= 0
  })
  const wrong = firstWrong((a, b) => byCodePoint(a.name, b.name))
  if (wrong === undefined || firstWrong(byFolder) === undefined) return
  const isTwice = parts.filter(({ name }) => name === wrong.name).length > 1
  throw invalid(`${path} names ${JSON.stringify(wrong.name)} ${isTwice ? 'twice' : 'out of order'}`, isTwice ? 'duplicate-file' : 'order')
}

function byFolder (a: NamedPart, b: NamedPart): number {
  // No name has a NUL in it, and nothing sorts before one.
  return byCodePoint(a.file.replaceAll('/', '\0'), b.file.replaceAll('/', '\0')) || a.part.start - b.part.start
}

function gather (parts: readonly NamedPart[]): readonly SignedFile[] {
  const byFile = new Map<string, SignedPart[]>()
  for (const { file, part } of parts) {
    const own = byFile.get(file)
    if (own === undefined) byFile.set(file, [part])
    else own.push(part)
  }
  return [...byFile].map(([name, own]) => ({ name, parts: own.sort((a, b) => a.start - b.start) })).sort((a, b) => byCodePoint(a.name, b.name))
}

function requireShards ({ name, parts }: SignedFile, shardBytes: number, path: string): void {
  for (const [index, { start, end = start }] of parts.entries()) {
    const bytes = end - start
    const isLastShort = index === parts.length - 1 && bytes > 0 && bytes < shardBytes
    if (start !== index * shardBytes || (bytes !== shardBytes && !isLastShort)) {
      throw invalid(`${path} does not cut ${JSON.stringify(name)} into shards of ${shardBytes} bytes`, 'shard')
    }
  }
}

function invalid (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail, reason })
}
