import { createHash } from 'node:crypto'
import type { SealingKey } from './cobblestone.ts'
import { partsOfBytes, startParts, type Hashing } from './digest.ts'
import { openFile } from './folder.ts'
import { telling, type OnProgress } from './progress.ts'
import { sealedName } from './sealed-bundle.ts'
import { chunkBytes } from './sealed-chunk.ts'
import { fileSource, tampered, type SealedFileSource } from './sealed-source.ts'
import { requireParts, type SignedFile } from './signed-file.ts'
import { openBlockwise, prove, unseal, type ProvenSource } from './unseal.ts'

/** Sealed files up to this size are opened whole before anything of them is given. */
export const wholeBytes = 16 * 1024 * 1024

/** SHA-256 of every block of a file that was once held against its signature, in their order. */
export type BlockDigests = readonly string[]

/** What a file is streamed with. */
export interface StreamOpening {
  readonly directory: string
  readonly hashing: Hashing
  readonly sealing: SealingKey
  /** By name, the digests of large files that were verified before; taken in by `streamFile`. */
  readonly verified: Map<string, BlockDigests>
  readonly onProgress: OnProgress
}

/**
 * The plaintext of a signed, sealed file, in pieces of memory that are the caller's. Nothing is given before the whole file is known to be the one that
 * was signed for: a small one lies in memory until then; a large one is read once to be verified, which leaves a digest of every mebibyte, and once more
 * to be given, each block held against its digest. From its second time on it is read once.
 * @throws FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID, FMG_ERR_MODEL_FAILED
 */
export async function * streamFile (opening: StreamOpening, file: SignedFile): AsyncGenerator<Uint8Array, void> {
  const { handle, bytes } = await openFile(opening.directory, sealedName(file.name))
  try {
    const source = fileSource(sealedName(file.name), handle, bytes)
    if (bytes <= wholeBytes) yield * openSmall(opening, file, source)
    else yield * streamLarge(opening, file, source)
  } finally {
    await handle.close()
  }
}

async function * openSmall ({ hashing, sealing, onProgress }: StreamOpening, file: SignedFile, source: SealedFileSource): AsyncGenerator<Uint8Array, void> {
  const plain = await unseal(source, sealing)
  try {
    requireParts(file, await partsOfBytes(plain, hashing))
  } catch (error) {
    plain.fill(0)
    throw error
  }
  const { length } = plain
  if (length > 0) yield plain
  onProgress({ name: file.name, bytes: length, totalBytes: length })
}

async function * streamLarge ({ hashing, sealing, verified, onProgress }: StreamOpening, file: SignedFile, source: SealedFileSource): AsyncGenerator<Uint8Array, void> {
  const { name } = file
  const { last, ...proven } = await prove(source, sealing, (proven, last) => ({ ...proven, last }))
  try {
    const totalBytes = proven.fullChunks * chunkBytes + last.length
    const blocks = (): AsyncIterable<Uint8Array> => telling(blocksOf(proven, last), { name, totalBytes }, onProgress)
    let expected = verified.get(name)
    if (expected === undefined) {
      expected = await verifyBlocks(blocks(), file, hashing)
      verified.set(name, expected)
    }
    yield * requireBlocks(blocks(), expected, source)
  } finally {
    last.fill(0)
    proven.keys.secret.fill(0)
  }
}

async function * blocksOf (proven: ProvenSource, last: Buffer): AsyncGenerator<Uint8Array, void> {
  yield * openBlockwise(proven)
  // A copy: what is given is the caller's, and the file may be gone through again.
  if (last.length > 0) yield Uint8Array.from(last)
}

/** The digests of the blocks of a file that is, as a whole, the one that was signed for. */
async function verifyBlocks (blocks: AsyncIterable<Uint8Array>, file: SignedFile, hashing: Hashing): Promise<BlockDigests> {
  const parts = startParts(hashing)
  const digests: string[] = []
  for await (const block of blocks) {
    parts.update(block)
    digests.push(digestOf(block))
    block.fill(0)
  }
  requireParts(file, parts.end())
  return digests
}

// The chunks hold, but whoever has the data key could have sealed others since the file was verified.
async function * requireBlocks (blocks: AsyncIterable<Uint8Array>, expected: BlockDigests, source: SealedFileSource): AsyncGenerator<Uint8Array, void> {
  let index = 0
  for await (const block of blocks) {
    if (digestOf(block) !== expected[index++]) {
      block.fill(0)
      throw tampered(source, 'digest', 'was changed after it was verified')
    }
    yield block
  }
  if (index !== expected.length) throw tampered(source, 'digest', 'became shorter after it was verified')
}

function digestOf (block: Uint8Array): string {
  return createHash('sha256').update(block).digest('base64')
}
