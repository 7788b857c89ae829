import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { withFile } from './folder.ts'
import type { SignedPart } from './signed-file.ts'

/** Names of file hashes in a model signature (OpenSSF Model Signing, algorithm registry). BLAKE3 is not among those read here. */
export type FileHash = 'sha256' | 'blake2b'

/** How the files of a model are hashed. */
export interface Hashing {
  readonly hash: FileHash
  /** Each run of so many bytes of a file, the last may be shorter, has a digest of its own; left out, each file has one. */
  readonly shardBytes?: number | undefined
}

/** What Node calls them. */
export const nodeNames = { sha256: 'sha256', blake2b: 'blake2b512' } as const
const blockBytes = 1024 * 1024

/** Hexadecimal digits of a digest of this kind. */
export const digestLength = { sha256: 64, blake2b: 128 } as const

/** Digests of a file's parts, fed with its bytes in their order. */
export interface PartDigests {
  update (block: Uint8Array): void
  /** The parts; none of an empty file in shards (OpenSSF Model Signing section 6.3.2). */
  end (): readonly SignedPart[]
}

/** Begins the digests of a file's parts. */
export function startParts ({ hash, shardBytes }: Hashing): PartDigests {
  const parts: SignedPart[] = []
  let digest = startDigest(hash)
  let start = 0
  let position = 0
  const endShard = (): void => {
    parts.push({ start, end: position, digest: digest.digest('hex') })
    digest = startDigest(hash)
    start = position
  }
  return {
    update (block) {
      for (let taken = 0; taken < block.length;) {
        const piece = block.subarray(taken, taken + (shardBytes ?? Infinity) - (position - start))
        digest.update(piece)
        taken += piece.length
        position += piece.length
        if (position - start === shardBytes) endShard()
      }
    },
    end () {
      if (shardBytes === undefined) parts.push({ start: 0, digest: digest.digest('hex') })
      else if (position > start) endShard()
      return parts
    }
  }
}

/**
 * The parts of a file of a model.
 * @throws FMG_ERR_BUNDLE_INVALID when it cannot be read.
 */
export async function partsOfFile (folder: string, name: string, hashing: Hashing): Promise<readonly SignedPart[]> {
  return await withFile(folder, name, async ({ handle }) => {
    const digests = startParts(hashing)
    for await (const block of readBlocks(handle)) digests.update(block)
    return digests.end()
  })
}

/** A digest to be fed block by block. */
export function startDigest (hash: FileHash): Hash {
  return createHash(nodeNames[hash])
}

/** A file from its beginning, a mebibyte at a time; it stays open. */
export function readBlocks (handle: FileHandle): AsyncIterable<Uint8Array> {
  return handle.createReadStream({ start: 0, autoClose: false, highWaterMark: blockBytes })
}

/** The parts of a file that is in memory, with a pause after each mebibyte. */
export async function partsOfBytes (bytes: Uint8Array, hashing: Hashing): Promise<readonly SignedPart[]> {
  const digests = startParts(hashing)
  for (let offset = 0; offset < bytes.length; offset += blockBytes) {
    digests.update(bytes.subarray(offset, offset + blockBytes))
    await nextTurn()
  }
  return digests.end()
}

/** Passes blocks on, and into digests on their way. */
export async function * digesting (blocks: AsyncIterable<Uint8Array>, digests: PartDigests): AsyncGenerator<Uint8Array> {
  for await (const block of blocks) {
    digests.update(block)
    yield block
  }
}
