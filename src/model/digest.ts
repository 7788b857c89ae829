import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { withFile } from './folder.ts'

/** Names of file hashes in a model signature (OpenSSF Model Signing, algorithm registry). BLAKE3 is not among those read here. */
export type FileHash = 'sha256' | 'blake2b'

const nodeNames = { sha256: 'sha256', blake2b: 'blake2b512' } as const
const blockBytes = 1024 * 1024

/** Hexadecimal digits of a digest of this kind. */
export const digestLength = { sha256: 64, blake2b: 128 } as const

/**
 * The digest of a file of a model, in hexadecimal.
 * @throws FMG_ERR_BUNDLE_INVALID when it cannot be read.
 */
export async function digestFile (folder: string, name: string, hash: FileHash): Promise<string> {
  return await withFile(folder, name, async ({ handle }) => {
    const digest = startDigest(hash)
    for await (const block of readBlocks(handle)) digest.update(block)
    return digest.digest('hex')
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

/** The digest of bytes in memory, in hexadecimal, with a pause after each mebibyte. */
export async function digestBytes (bytes: Uint8Array, hash: FileHash): Promise<string> {
  const digest = startDigest(hash)
  for (let offset = 0; offset < bytes.length; offset += blockBytes) {
    digest.update(bytes.subarray(offset, offset + blockBytes))
    await nextTurn()
  }
  return digest.digest('hex')
}

/** Passes blocks on, and into a digest on their way. */
export async function * digesting (blocks: AsyncIterable<Uint8Array>, digest: Hash): AsyncGenerator<Uint8Array> {
  for await (const block of blocks) {
    digest.update(block)
    yield block
  }
}
