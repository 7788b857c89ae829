import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { wipeAndFree } from './wipe.ts'

// Cobblestone-256: c2sp.org/chunked-encryption with AES-256-GCM. Chunks alone: threads that open them load little else.

/** Bytes of plaintext in every chunk but the last. */
export const chunkBytes = 16_384
export const tagBytes = 16
export const sealedChunkBytes = chunkBytes + tagBytes
/** Before the first chunk: salt and commitment. */
export const headerBytes = 56
/** Chunks that are read, and opened or sealed, at a time: about 1 MiB, so a millisecond or two. */
export const blockChunks = 64
export const blockBytes = blockChunks * chunkBytes

/** What the chunks of one file are sealed with. */
export interface ChunkKeys {
  /** 32 bytes. For many chunks a `KeyObject`: with bare bytes each cipher costs Node 24 more than a chunk's decryption. */
  readonly key: Uint8Array | KeyObject
  /** 12 bytes. */
  readonly baseNonce: Uint8Array
}

/** One chunk, as the pieces of it. */
export function sealChunk ({ key, baseNonce }: ChunkKeys, plain: Uint8Array, index: number): readonly Buffer[] {
  const cipher = createCipheriv('aes-256-gcm', key, nonceOf(baseNonce, index))
  return [cipher.update(plain), cipher.final(), cipher.getAuthTag()]
}

/** The plaintext of one chunk; `undefined` when it is not the chunk that was sealed in this place. */
export function openChunk ({ key, baseNonce }: ChunkKeys, sealed: Uint8Array, index: number): Buffer | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(baseNonce, index), { authTagLength: tagBytes })
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  const plain = decipher.update(sealed.subarray(0, sealed.length - tagBytes))
  try {
    decipher.final()
    return plain
  } catch {
    plain.fill(0)
    return undefined
  }
}

/**
 * Opens full chunks that lie one after the other into their places in a file's plaintext.
 * @param first number of the first of them.
 * @param origin number of the chunk that the plaintext begins with; by default that of the file.
 * @returns the number of the chunk that is not what was sealed there, where one is not.
 */
export function openChunks (keys: ChunkKeys, sealed: Uint8Array, first: number, plain: Uint8Array, origin = 0): number | undefined {
  for (let offset = 0, index = first; offset < sealed.length; offset += sealedChunkBytes, index++) {
    const opened = openChunk(keys, sealed.subarray(offset, offset + sealedChunkBytes), index)
    if (opened === undefined) return index
    plain.set(opened, (index - origin) * chunkBytes)
    wipeAndFree(opened)
  }
  return undefined
}

/** The base nonce with the chunk's number, as a big-endian integer of its width, added without carry. */
function nonceOf (baseNonce: Uint8Array, index: number): Buffer {
  const nonce = Buffer.from(baseNonce)
  nonce.writeUInt8(nonce.readUInt8(7) ^ Math.floor(index / 2 ** 32), 7)
  // >>> 0: the bit operators of this language give signed numbers.
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ (index >>> 0)) >>> 0, 8)
  return nonce
}
