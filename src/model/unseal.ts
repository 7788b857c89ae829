import { timingSafeEqual } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { deriveKeys, saltBytes, type FileKeys, type SealingKey } from './cobblestone.ts'
import { ownMemory } from './memory.ts'
import { blockChunks, chunkBytes, headerBytes, openChunk, openChunks, sealedChunkBytes } from './sealed-chunk.ts'
import { chunkChanged, countChunks, readExactly, tampered, type SealedSource } from './sealed-source.ts'

/** A sealed file whose header and last chunk were verified: its keys and its length hold, the rest is still to be opened. */
export interface ProvenSource<Source extends SealedSource = SealedSource> {
  readonly source: Source
  /** To be zeroed by whoever asked. */
  readonly keys: FileKeys
  /** Chunks before the last. */
  readonly fullChunks: number
}

/** The same, with memory for all of it. */
export interface ProvenFile<Source extends SealedSource = SealedSource> extends ProvenSource<Source> {
  /** Memory for the plaintext; its last chunk lies there. To be zeroed when anything of it does not open. */
  readonly plain: Uint8Array
}

/**
 * Verifies a file's header, then its last chunk.
 * @param use takes what was proven and the plaintext of the last chunk; when it throws, the keys are zeroed.
 * @throws as `unseal` does.
 */
export async function prove<Source extends SealedSource, T> (source: Source, sealing: SealingKey, use: (proven: ProvenSource<Source>, last: Buffer) => T): Promise<T> {
  const fullChunks = countChunks(source) - 1
  const header = await readExactly(source, Buffer.alloc(headerBytes), 0)
  const keys = deriveKeys(sealing, header.subarray(0, saltBytes))
  try {
    if (!timingSafeEqual(keys.commitment, header.subarray(saltBytes))) {
      throw tampered(source, 'sealed-key', 'was not sealed under this key for this place')
    }
    const offset = headerBytes + fullChunks * sealedChunkBytes
    const last = openChunk(keys, await readExactly(source, Buffer.alloc(source.bytes - offset), offset), fullChunks)
    if (last === undefined) throw chunkChanged(source, fullChunks)
    return use({ source, keys, fullChunks }, last)
  } catch (error) {
    keys.secret.fill(0)
    throw error
  }
}

/**
 * Verifies a file's header, then its last chunk, and only then takes memory: a length is nobody's word before.
 * @param allocate gives memory for so many bytes.
 * @throws as `unseal` does.
 */
export async function proveLength<Source extends SealedSource> (source: Source, sealing: SealingKey, allocate: (bytes: number) => Uint8Array): Promise<ProvenFile<Source>> {
  return await prove(source, sealing, (proven, last) => {
    const plain = allocate(proven.fullChunks * chunkBytes + last.length)
    plain.set(last, proven.fullChunks * chunkBytes)
    last.fill(0)
    return { ...proven, plain }
  })
}

/**
 * Opens what `seal` made, whole or not at all: nothing is given back before the last chunk is verified.
 * Pauses between blocks; takes memory only after the last chunk has proved the length.
 * @param allocate gives memory for so many bytes; by default this thread's own.
 * @throws FMG_ERR_MODEL_TAMPERED, with reason `sealed-length` (cut, or longer than it was), `sealed-key` (another key or context,
 * or a changed header) or `sealed-chunk` (changed, moved, dropped or added chunks).
 * @throws FMG_ERR_MODEL_FAILED when there is not so much memory in one piece.
 * @throws FMG_ERR_OPTION_INVALID for a key that is not 32 bytes.
 */
export async function unseal (source: SealedSource, sealing: SealingKey, allocate = ownMemory): Promise<Uint8Array> {
  const proven = await proveLength(source, sealing, allocate)
  try {
    await openRest(proven)
    return proven.plain
  } finally {
    proven.keys.secret.fill(0)
  }
}

async function openRest ({ source, keys, fullChunks, plain }: ProvenFile): Promise<void> {
  const sealed = Buffer.alloc(Math.min(fullChunks, blockChunks) * sealedChunkBytes)
  try {
    for (let first = 0; first < fullChunks; first += blockChunks) {
      const block = sealed.subarray(0, Math.min(blockChunks, fullChunks - first) * sealedChunkBytes)
      await readExactly(source, block, headerBytes + first * sealedChunkBytes)
      const changed = openChunks(keys, block, first, plain)
      if (changed !== undefined) throw chunkChanged(source, changed)
      await nextTurn()
    }
  } catch (error) {
    plain.fill(0)
    throw error
  }
}

/**
 * Opens a proven file block by block, each in memory of its own, the last chunk left aside. Chunks are verified, the file as a whole is not.
 * @throws as `unseal` does.
 */
export async function * openBlockwise ({ source, keys, fullChunks }: ProvenSource): AsyncGenerator<Uint8Array, void> {
  const sealed = Buffer.alloc(Math.min(fullChunks, blockChunks) * sealedChunkBytes)
  for (let first = 0; first < fullChunks; first += blockChunks) {
    const count = Math.min(blockChunks, fullChunks - first)
    const block = await readExactly(source, sealed.subarray(0, count * sealedChunkBytes), headerBytes + first * sealedChunkBytes)
    const plain = new Uint8Array(count * chunkBytes)
    const changed = openChunks(keys, block, first, plain, first)
    if (changed !== undefined) {
      plain.fill(0)
      throw chunkChanged(source, changed)
    }
    yield plain
    await nextTurn()
  }
}
