import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { optionInvalid } from '../options.ts'
import { blockBytes, blockChunks, chunkBytes, headerBytes, sealChunk, tagBytes, type ChunkKeys } from './sealed-chunk.ts'

// c2sp.org/chunked-encryption: the instance with AES-256-GCM, and HKDF-Expand over SHA-512.
const label = 'c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0'

export const saltBytes = 24

/** What a file is sealed with: 32 uniformly random bytes, and the bytes that say what the file is. */
export interface SealingKey {
  readonly key: Uint8Array
  /** Not secret, not stored: whoever opens must know it. */
  readonly context: Uint8Array
}

/** How many bytes a plaintext of this many becomes. */
export function sealedBytes (plainBytes: number): number {
  return headerBytes + plainBytes + (Math.floor(plainBytes / chunkBytes) + 1) * tagBytes
}

/**
 * Seals a stream as Cobblestone-256 under a fresh salt, block by block, with a pause between blocks.
 * @throws FMG_ERR_OPTION_INVALID for a key that is not 32 bytes.
 */
export async function * seal (plain: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, sealing: SealingKey): AsyncGenerator<Uint8Array> {
  const salt = randomBytes(saltBytes)
  const keys = deriveKeys(sealing, salt)
  const chunkKeys = { baseNonce: keys.baseNonce, key: createSecretKey(keys.key) }
  const block = Buffer.alloc(blockBytes)
  let filled = 0
  let index = 0
  try {
    yield Buffer.concat([salt, keys.commitment])
    for await (const piece of plain) {
      for (let taken = 0; taken < piece.length;) {
        const part = piece.subarray(taken, taken + block.length - filled)
        block.set(part, filled)
        taken += part.length
        filled += part.length
        if (filled < block.length) continue
        yield sealChunks(chunkKeys, block, index, blockChunks)
        await nextTurn()
        index += blockChunks
        filled = 0
      }
    }
    // The final chunk is always short, if need be empty: this is what a cut file lacks.
    yield sealChunks(chunkKeys, block.subarray(0, filled), index, Math.floor(filled / chunkBytes) + 1)
  } finally {
    block.fill(0)
    keys.secret.fill(0)
  }
}

function sealChunks (keys: ChunkKeys, plain: Uint8Array, firstIndex: number, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => sealChunk(keys, plain.subarray(i * chunkBytes, (i + 1) * chunkBytes), firstIndex + i)).flat())
}

/** What is derived for one file. */
export interface FileKeys extends ChunkKeys {
  readonly key: Uint8Array
  /** Key, base nonce and commitment in one piece of memory. */
  readonly secret: Buffer
  /** Stands in the header: another key or context gives another. */
  readonly commitment: Buffer
}

/**
 * The keys of the file that has this salt.
 * @throws FMG_ERR_OPTION_INVALID for a key that is not 32 bytes.
 */
export function deriveKeys ({ key, context }: SealingKey, salt: Uint8Array): FileKeys {
  if (key.length !== 32) throw optionInvalid('key', '32 bytes', key)
  // RFC 5869 section 2.3, the input key as PRK; the hash is not named in the label, so SHA-512 is fixed here.
  const info = Buffer.concat([Buffer.from(label), salt, context])
  const first = createHmac('sha512', key).update(info).update('\x01').digest()
  const second = createHmac('sha512', key).update(first).update(info).update('\x02').digest()
  const secret = Buffer.concat([first, second])
  first.fill(0)
  second.fill(0)
  return { secret, key: secret.subarray(0, 32), baseNonce: secret.subarray(32, 44), commitment: secret.subarray(44, 76) }
}
